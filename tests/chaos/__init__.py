"""Chaos: break workers, brokers, connections and the database under load, and count every job afterwards.

``faults.py`` says what is done and what may follow, ``plan.py`` when, ``inflict.py`` how; ``crew.py`` has the
servers and workers, ``trial.py`` one run; ``ledger.py`` is what the jobs themselves wrote, ``audit.py`` the
verdict on it. ``python -m chaos`` (``make chaos``) prints the table.
"""
