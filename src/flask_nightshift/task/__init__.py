"""What a task is here: its class, the protection around its body, and how it comes into an app."""
