"""Behaviour that must not change while the code moves: each test compares observable output with a file in ``files/``.

``pytest tests/golden --update-golden`` rewrites the files, so that a change shows in the commit's diff. ``normal.py``
replaces values that differ from run to run by a word for their kind.
"""
