"""``memory://``: a broker within this process, for tests. Its jobs end with the process; no other can reach it."""
