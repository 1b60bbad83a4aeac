"""Grafana's dashboard, generated from ``panels.py``: ``make dashboard`` writes grafana/nightshift.json.

Grafana's own library builds it, whose types are generated from the schema of the Grafana that
docker-compose.monitoring.yml starts.
"""

from __future__ import annotations

from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)

from .panels import ROWS, Panel, Query

FILE = Path(__file__).parent / "grafana" / "nightshift.json"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
STAT_WIDTH, CHART_WIDTH, CHARTS_HEIGHT, STAT_HEIGHT = 3, 8, 8, 4
VARIABLES = (
    ("job", "App", "label_values(nightshift_up, job)"),
    ("queue", "Queue", 'label_values(nightshift_queue_depth{job="$job"}, queue)'),
    ("task", "Task", 'label_values(nightshift_jobs_total{job="$job"}, task)'),
)
"""Name, label and query of each of the dashboard's variables."""


def build() -> str:
    """The dashboard as JSON."""
    made = (
        dashboard.Dashboard("Nightshift")
        .uid("nightshift")
        .description("Background jobs: workers, queues, attempts, dead letters.")
        .tags(["nightshift"])
        .readonly()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, label, query in VARIABLES:
        variable = (
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        )
        if name != "job":  # numbers of two apps do not mix
            variable.include_all(True).all_value(".*").multi(True)
        made.with_variable(variable)
    for row in ROWS:
        made.with_row(dashboard.Row(row.title))
        for panel in row.panels:
            made.with_panel(_stat(panel) if panel.stat else _chart(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(made.build()) + "\n"


def _stat(panel: Panel) -> stat.Panel:
    built = (
        stat.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .span(STAT_WIDTH)
        .height(STAT_HEIGHT)
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.AREA)
        .no_value("unknown")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(panel))
    )
    for ref_id, query in zip("ABC", panel.queries, strict=False):
        built.with_target(_target(ref_id, query))
    return built


def _chart(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.text)
        .datasource(SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(CHART_WIDTH)
        .height(CHARTS_HEIGHT)
        .fill_opacity(30 if panel.stacked else 10)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
        .thresholds(_thresholds(panel))
    )
    if panel.stacked:
        built.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for ref_id, query in zip("ABC", panel.queries, strict=False):
        built.with_target(_target(ref_id, query))
    return built


def _target(ref_id: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery().ref_id(ref_id).expr(query.expr).legend_format(query.legend or "__auto").range()
    )


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Green, and red from ``panel.red`` on, or the other way round."""
    colors = ("red", "green") if panel.low_is_bad else ("green", "red")
    steps = [Threshold(value=None, color=colors[0] if panel.red is not None else "green")]
    if panel.red is not None:
        steps.append(Threshold(value=panel.red, color=colors[1]))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


if __name__ == "__main__":
    FILE.write_text(build(), encoding="utf-8")
