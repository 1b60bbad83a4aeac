"""Tasks: their class, the protection around their body, and their registration in an app."""
