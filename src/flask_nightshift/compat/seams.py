"""The table of seams: every name in another library that we use although its authors may change it.

Two tests guard it (``tests/unit/test_seams.py``): each seam is unchanged since its last review, and our code uses no
private name that is missing here. After an upgrade, review the changes, then run ``make seams``.
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
