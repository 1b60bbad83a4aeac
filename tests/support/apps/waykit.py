"""Runs the scenarios of ``waysapp.py`` in the test kit: ``python -m waykit FILE`` writes to the file what is seen."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import waysapp
from flask_nightshift.journal import find_job
from flask_nightshift.services import current
from flask_nightshift.testing import Jobs, in_memory
from waynotes import Noted

QUEUE = "celerys"


def main() -> dict[str, dict[str, Any]]:
    """What is seen of each scenario."""
    app = waysapp.create_app()
    for name in ("ways", "celery.app.trace"):
        logging.getLogger(name).addHandler(Noted())
    logging.getLogger("celery").setLevel(logging.INFO)  # as a worker's
    with app.app_context(), in_memory(app) as kit:
        made = waysapp.scenarios(QUEUE, "kit")
        return {name: _seen(kit, signature) for name, signature in made.items()}


def _seen(kit: Jobs, signature: Any) -> dict[str, Any]:
    ids = waysapp.ids_of(signature.apply_async())
    kit.drain(delayed=True, raise_errors=False)
    services = current()
    found = [find_job(services.store, each) for each in ids]
    letters = {each.id: each.reason for each in kit.dead_letters() if each.id in ids}
    return {
        "history": [each and dataclasses.asdict(each) for each in found],
        "result": [services.celery.backend.get_task_meta(each) for each in ids],
        "letters": [letters.get(each) for each in ids],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(main(), default=repr))
