"""Lifetimes: over a fork, in a copy made by ``os.fork()``, and until the app is collected as garbage."""
