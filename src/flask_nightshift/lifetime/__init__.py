"""How long things live: over a fork, in a copy made by ``os.fork()``, and until their app is garbage."""
