"""The name by which Celery's settings know the scheduler: ``flask_nightshift.beat:JobScheduler``."""

from .schedule.scheduler import JobScheduler

__all__ = ["JobScheduler"]
