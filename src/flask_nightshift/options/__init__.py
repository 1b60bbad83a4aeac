"""The options of a task, of a call and of a message: each is checked by name."""
