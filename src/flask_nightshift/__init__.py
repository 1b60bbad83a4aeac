"""Background jobs for Flask, on Celery, that do not get lost."""
