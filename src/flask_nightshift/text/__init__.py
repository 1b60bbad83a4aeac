"""Text for people: it hides passwords and control characters, and gives each event of a job one line."""
