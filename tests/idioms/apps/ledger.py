"""The ledger in which an idiom's jobs record what they did."""

import os

from flask import current_app


def note(*words):
    """One line, with the name of the app in whose context the job runs."""
    with open(os.environ["LEDGER"], "a") as file:
        file.write(" ".join([current_app.config["NAME"], *map(str, words)]) + "\n")
