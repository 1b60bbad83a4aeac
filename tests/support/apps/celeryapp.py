"""The Celery app of ``jobsapp``, for ``celery -A celeryapp:celery worker``."""

from jobsapp import create_app

app = create_app()
celery = app.extensions["celery"]
