"""Text for people: without passwords, without control characters, a line for each event of a job."""
