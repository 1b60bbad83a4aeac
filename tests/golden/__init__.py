"""Behaviour that must stay while the code moves: each test compares what a user sees with a file in ``files/``.

``pytest tests/golden --update-golden`` writes the files anew; the change then shows in the diff of the commit. What
differs from run to run is replaced by a word that says what stood there (``normal.py``).
"""
