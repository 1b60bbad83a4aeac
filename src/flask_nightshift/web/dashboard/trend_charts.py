"""The charts of the overview: how many jobs ended and how, how long they waited and ran. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ...observe.trends import Period, Point, Trend
from . import charts, words
from .charts import Chart, Mark, Shape

LABELS = 5
"""Words below a chart."""
_FORMS = {Period.HOUR: "%H:%M", Period.DAY: "%H:%M", Period.MONTH: "%b %d"}
_EXACT = {Period.HOUR: "%H:%M", Period.DAY: "%a %H:%M", Period.MONTH: "%b %d, %H:%M"}
_LEAST_SECONDS = 0.01


def all_of(trend: Trend) -> tuple[Chart, Chart, Chart]:
    """Throughput, wait and runtime."""
    return (
        throughput(trend),
        spread(trend, "Wait", lambda point: (point.wait_p50, point.wait_p95)),
        spread(trend, "Runtime", lambda point: (point.runtime_p50, point.runtime_p95)),
    )


def throughput(trend: Trend) -> Chart:
    """Ended attempts, by how they ended."""
    points = trend.points
    of = charts.scale([float(point.ended) for point in points], least=4.0)
    layers = (
        ("chart-good", "succeeded", [float(point.succeeded) for point in points]),
        ("chart-quiet", "other", [float(_other(point)) for point in points]),
        ("chart-warn", "retried", [float(point.retried) for point in points]),
        ("chart-bad", "died", [float(point.died) for point in points]),
    )
    paths = charts.stacked([values for _, _, values in layers], of)
    shown = [(kind, path, name) for (kind, name, _), path in zip(layers, paths, strict=True)]
    whole = trend.whole
    return Chart(
        title="Ended jobs",
        summary=f"{whole.ended:,} attempts ended: {whole.succeeded:,} succeeded, {whole.retried:,} were retried, "
        f"{whole.died:,} died.",
        labels=charts.labels(of, words.compact),
        grid=tuple(y for y, _ in of.lines),
        areas=tuple(Shape(*each) for each in shown if each[1] or each[2] in ("succeeded", "died")),
        times=_times(trend),
        hits=charts.hits([f"{_moment(trend, point.at)}: {_ends(point)}" for point in points]),
        marks=_marks(trend),
    )


def spread(trend: Trend, title: str, of_point: Callable[[Point], tuple[float | None, float | None]]) -> Chart:
    """The median and the 95th percentile of a time, on a scale without the outliers; these are marked at its top."""
    pairs = [of_point(point) for point in trend.points]
    highs = [high for _, high in pairs]
    of = charts.scale(charts.ordinary(highs, _LEAST_SECONDS), least=_LEAST_SECONDS)
    half, most = of_point(trend.whole)
    beyond = _beyond(trend, highs, of)
    said = f"{title}: median {words.duration(half)}, 95 % within {words.duration(most)}."
    return Chart(
        title=title,
        summary=f"{said} {words.sentence(beyond.name)}" if beyond else said,
        labels=charts.labels(of, _seconds),
        grid=tuple(y for y, _ in of.lines),
        lines=(
            Shape("chart-line chart-line-soft", charts.line(highs, of), "p95"),
            Shape("chart-line", charts.line([low for low, _ in pairs], of), "p50"),
        ),
        beyond=beyond,
        times=_times(trend),
        hits=charts.hits(
            [
                f"{_moment(trend, point.at)}: p50 {words.duration(low)}, p95 {words.duration(high)}"
                for point, (low, high) in zip(trend.points, pairs, strict=True)
            ]
        ),
        marks=_marks(trend),
    )


def _beyond(trend: Trend, highs: list[float | None], of: charts.Scale) -> Shape | None:
    """The marks of what is higher than the scale; None if nothing is."""
    path = charts.beyond(highs, of)
    if not path:
        return None
    highest, at = max(
        (high, point.at) for high, point in zip(highs, trend.points, strict=True) if high is not None
    )
    return Shape("chart-beyond", path, f"up to {words.duration(highest)} at {_moment(trend, at)}")


def _seconds(value: float) -> str:
    if 0 < value < 1:
        return f"{value * 1000:g} ms"
    return f"{value:g} s" if value < 120 else words.coarse(value)


def _other(point: Point) -> int:
    return max(0, point.ended - point.succeeded - point.retried - point.died)


def _ends(point: Point) -> str:
    said = [f"{point.succeeded:,} succeeded"]
    said += [f"{count:,} {how}" for count, how in ((point.retried, "retried"), (point.died, "died")) if count]
    return ", ".join(said)


def _times(trend: Trend) -> tuple[str, ...]:
    span = trend.until - trend.since
    moments = [trend.since + span * index / (LABELS - 1) for index in range(LABELS)]
    return tuple(moment.strftime(_FORMS[trend.period]) for moment in moments)


def _moment(trend: Trend, at: datetime) -> str:
    return at.strftime(_EXACT[trend.period])


def _marks(trend: Trend) -> tuple[Mark, ...]:
    length = (len(trend.points) * trend.step).total_seconds() or 1.0
    return tuple(
        Mark(
            round(charts.WIDTH * min(1.0, max(0.0, (deploy.at - trend.since).total_seconds() / length)), 2),
            f"{deploy.version} deployed at {_moment(trend, deploy.at)}",
        )
        for deploy in trend.deploys
    )


__all__ = ["all_of", "spread", "throughput"]
