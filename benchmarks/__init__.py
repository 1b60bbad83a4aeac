"""Compares Nightshift, stock Celery and other libraries on one server with the same jobs."""
