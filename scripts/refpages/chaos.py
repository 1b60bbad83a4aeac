"""The lists of docs/how-to/chaos.md, from the code that injects the faults and judges the trials (``tests/chaos``)."""

from __future__ import annotations

import inspect

from chaos.beat_faults import INJECT
from chaos.beat_places import DATABASES
from chaos.brokers import BROKERS
from chaos.faults import FACTS, IN_EACH_CHANGE, OF_CLUSTERS, Fault, Twice, faults_of, twice
from chaos.parameters import DEFAULTS, MEANINGS, Parameters
from chaos.table import BEAT_MEANINGS
from chaos.table import MEANINGS as COLUMNS
from chaos.trial import CHECKS

from .markdown import code, table

_DATABASES = {"sqlite": "SQLite", "postgres": "PostgreSQL"}


def parameters() -> str:
    """Every parameter of ``make chaos``."""
    given = Parameters()
    rows = (
        (code(name), DEFAULTS.get(name) or str(getattr(given, name.lower())), meaning)
        for name, meaning in MEANINGS.items()
    )
    return table(("parameter", "default", "meaning"), rows)


def brokers() -> str:
    """Every broker, and the database of its Beats."""
    rows = (
        (
            code(name),
            inspect.getdoc(kind) or "",
            _DATABASES[DATABASES[name]] if name in DATABASES else "not run",
        )
        for name, kind in BROKERS.items()
    )
    return table(("broker", "server", "Beats run with"), rows)


def faults() -> str:
    """Every fault, with what may run twice."""
    rows = ((code(fault.value), *_facts(fault)) for fault in Fault)
    return table(("fault", "action", "jobs that may run twice", "why", "CI runs it"), rows)


def _facts(fault: Fault) -> tuple[str, ...]:
    facts = FACTS[fault]
    only = "Redis Cluster: " if fault in OF_CLUSTERS else ""
    allowed = facts.twice.value
    if "rabbitmq" in (name for name in BROKERS if fault in faults_of(name)):
        allowed += _difference(twice(fault, "rabbitmq"), facts.twice)
    often = "for each change" if fault in IN_EACH_CHANGE else "each night"
    return f"{only}{facts.what}", allowed, facts.why, often


def _difference(there: Twice, elsewhere: Twice) -> str:
    return f". RabbitMQ: {there.value}" if there is not elsewhere else ""


def checks() -> str:
    """Everything that breaks a guarantee."""
    return table(("reported as", "what happened"), CHECKS.items())


def columns() -> str:
    """The columns of the table of trials."""
    return table(("column", "meaning"), COLUMNS.items())


def beat_faults() -> str:
    """Every fault of Beats."""
    rows = ((code(fault.value), inspect.getdoc(inject) or "") for fault, inject in INJECT.items())
    return table(("fault", "action"), rows)


def beat_columns() -> str:
    """The columns of the table of Beats."""
    return table(("column", "meaning"), BEAT_MEANINGS.items())


__all__ = ["beat_columns", "beat_faults", "brokers", "checks", "columns", "faults", "parameters"]
