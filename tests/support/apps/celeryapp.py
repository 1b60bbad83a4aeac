"""What ``celery -A celeryapp:celery worker`` is given: the Celery app of ``jobsapp``."""

from jobsapp import create_app

app = create_app()
celery = app.extensions["celery"]
