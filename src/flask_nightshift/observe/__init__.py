"""Read the state of the system: overview, health, doctor, metrics. Nothing here changes a job."""
