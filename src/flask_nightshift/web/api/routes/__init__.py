"""The routes of the API by subject; each function calls ``operations`` or ``observe``, and returns plain values."""
