"""What is going on: the read model, health, doctor, metrics and logs. Nothing here changes a job."""
