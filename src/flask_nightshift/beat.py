"""The public path of the scheduler for Celery's settings: ``flask_nightshift.beat:JobScheduler``."""

from .schedule.scheduler import JobScheduler

__all__ = ["JobScheduler"]
