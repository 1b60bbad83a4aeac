"""``memory://``: a broker inside this process, for tests. Other processes cannot reach it, and it keeps no jobs."""
