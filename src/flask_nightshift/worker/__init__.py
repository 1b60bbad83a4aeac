"""The worker: how it starts, runs attempts, settles them, reports itself, and stops."""
