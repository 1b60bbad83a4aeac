"""Threads that accompany a process: each repeats some work, and survives outages and forks."""
