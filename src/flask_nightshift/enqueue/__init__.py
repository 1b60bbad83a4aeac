"""Enqueueing: from a call of ``delay()`` to a message in the broker."""
