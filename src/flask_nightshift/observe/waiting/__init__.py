"""Why a job is waiting, in one sentence: a pure decision (``deciding.py``) over facts (``collecting.py``).

``waiting_for`` is all that a front end needs.
"""

from .collecting import waiting_for
from .deciding import why
from .values import Cause, Facts, InOutbox, Pace, Reason, Waiting

__all__ = ["Cause", "Facts", "InOutbox", "Pace", "Reason", "Waiting", "waiting_for", "why"]
