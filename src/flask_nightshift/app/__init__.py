"""The Celery app of a Flask app: what it publishes goes through ``JobCelery``, and its settings are checked."""
