"""The message of a job: its envelope, headers and body, from the first publish to the dead letter and its replay."""
