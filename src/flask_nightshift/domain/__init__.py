"""The values of a job's life and the decisions on them; standard library only."""
