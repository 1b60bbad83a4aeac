"""The metrics, from the calls that make them (``observe/metrics.py``)."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from typing import Any

from flask_nightshift.observe import metrics

from .markdown import code, plain
from .markdown import table as table_of

_KINDS = {
    "CounterMetricFamily": "counter",
    "GaugeMetricFamily": "gauge",
    "HistogramMetricFamily": "histogram",
    "_histogram": "histogram",
}
"""By the function that makes one."""


def table() -> str:
    """A row for each metric: name, kind, labels, meaning."""
    return table_of(("name", "kind", "labels", "meaning"), sorted(_rows()))


def _rows() -> Iterator[tuple[str, str, str, str]]:
    for call in ast.walk(ast.parse(inspect.getsource(metrics))):
        if not isinstance(call, ast.Call) or not isinstance(call.args[:1], list):
            continue
        kind = _KINDS.get(ast.unparse(call.func))
        if kind is None or isinstance(
            call.args[0], ast.Name
        ):  # a name: the function that makes histograms itself
            continue
        name, meaning = map(_value, call.args[:2])
        labels = next((_value(each.value) for each in call.keywords if each.arg == "labels"), None)
        if ast.unparse(call.func) == "_histogram":
            labels = ["task", "queue"]
        shown = f"{name}_total" if kind == "counter" else name  # as Prometheus names a counter
        yield code(shown), kind, ", ".join(map(code, labels or ())), plain(meaning)


def _value(node: ast.expr) -> Any:
    """The value of an expression in the module."""
    return eval(compile(ast.Expression(node), metrics.__file__, "eval"), vars(metrics))


__all__ = ["table"]
