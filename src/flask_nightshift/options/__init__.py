"""What a user may say of a task, of one call, and of a message: each option is checked by name."""
