"""Quantiles of histograms, as Prometheus computes them: within its bucket a value is where its rank is."""

from __future__ import annotations

from collections.abc import Sequence


def quantile(share: float, buckets: Sequence[int], bounds: Sequence[float]) -> float | None:
    """The value below which ``share`` (0 to 1) of all values are; None without values.

    ``buckets`` are not cumulative: bucket ``i`` has the values up to ``bounds[i]`` that exceed the bound before, and
    a last one has the rest, of which no more is known than that they exceed the last bound.
    """
    total = sum(buckets)
    if not total:
        return None
    rank, below, low = share * total, 0, 0.0
    for count, high in zip(buckets, bounds, strict=False):
        if count and below + count >= rank:
            return low + (high - low) * max(0.0, rank - below) / count
        below, low = below + count, high
    return float(bounds[-1])


__all__ = ["quantile"]
