"""What a job's message carries, from the first publish to the dead letter and back."""
