"""The values of ``NIGHTSHIFT_HISTORY``: which jobs the history records."""

ALL, FAILURES, OFF = "all", "failures", "off"

__all__ = ["ALL", "FAILURES", "OFF"]
