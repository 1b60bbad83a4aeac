"""The values of a job's life and the decisions on them; nothing but the standard library."""
