"""The table of seams: every name of another library that we use although its authors may change it.

Two tests hold it (``tests/unit/test_seams.py``): each seam is as it was when somebody read it, and no private name is
used that is not in here. After an upgrade read what has changed, then ``make seams``.
"""

from __future__ import annotations

from . import of_celery_app, of_celery_worker, of_kombu, of_others
from .seam import Seam

SEAMS: tuple[Seam, ...] = (
    *of_celery_app.SEAMS,
    *of_celery_worker.SEAMS,
    *of_kombu.SEAMS,
    *of_others.SEAMS,
)

__all__ = ["SEAMS"]
