"""``beatapp`` for Celery's own command: ``celery -A celery_beatapp``."""

from __future__ import annotations

from beatapp import create_app

celery = create_app().extensions["celery"]
