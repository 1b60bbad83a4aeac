"""The Celery app of a Flask app: ``JobCelery`` publishes all its jobs, and we check its settings."""
