"""Jobs in tests: broker, worker and history in the process of the test.

pytest finds the fixture ``nightshift_jobs`` by itself (``flask_nightshift_pytest``); ``in_memory(app)`` does the same
outside of pytest. Serialisation, retries, dead letters and locks are the real ones: the broker is in memory, and
everything else is what runs in production.
"""

from .jobs import DeadJob, EnqueuedJob, RanJob
from .kit import Jobs, in_memory

__all__ = ["DeadJob", "EnqueuedJob", "Jobs", "RanJob", "in_memory"]
