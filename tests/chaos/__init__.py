"""Chaos: break workers, brokers, connections and the database under load, then account for every job.

``faults.py`` lists the faults and their allowed effects, ``plan.py`` schedules them, ``injection.py`` carries them out.
``workers.py`` manages servers and workers, ``trial.py`` one run. ``ledger.py`` reads what the jobs recorded, and
``audit.py`` judges it. ``beat_faults.py`` has the faults of Beats, and ``ticks.py`` accounts for every tick.
``python -m chaos`` (``make chaos``) prints the tables.
"""
