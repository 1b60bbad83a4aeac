"""Draws drain and enqueue rates: one row of panels per server, with the spread of the rounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from .results import Results

PANELS = (
    ("drain", "drain, jobs/s"),
    ("io", "drain of a 5 ms job, jobs/s"),
    ("far", "drain with 2 ms more per round trip, jobs/s"),
    ("enqueue", "single enqueue, jobs/s"),
)
OURS, LEASE, OTHERS = "#1f5fa8", "#7fa8d6", "#b5b5b5"


def draw(results: Results, file: Path) -> None:
    """Write the plot as SVG."""
    servers = results.servers()
    figure = Figure(figsize=(5 * len(PANELS), 0.6 + 3.6 * len(servers)))
    grid = figure.subplots(len(servers), len(PANELS), squeeze=False)
    for server, row in zip(servers, grid, strict=True):
        for (name, title), axes in zip(PANELS, row, strict=True):
            _panel(axes, results, server, name)
            axes.set_title(f"{results.about['servers'].get(server, server)}: {title}", fontsize=10)
    figure.tight_layout()
    with rc_context({"svg.hashsalt": "nightshift"}):  # the same data give the same file
        figure.savefig(file, format="svg", metadata={"Date": None})


def _panel(axes: Any, results: Results, server: str, name: str) -> None:
    found = [(peer, results.all(server, peer, name)) for peer in results.peers(server)]
    found = [(peer, values) for peer, values in found if values]
    labels = [peer for peer, _ in found]
    medians = [results.median(server, peer, name) or 0.0 for peer in labels]
    spread = [
        [middle - min(values) for middle, (_, values) in zip(medians, found, strict=True)],
        [max(values) - middle for middle, (_, values) in zip(medians, found, strict=True)],
    ]
    axes.barh(
        labels, medians, xerr=spread, color=[_color(peer) for peer in labels], ecolor="#444444", capsize=2
    )
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _color(peer: str) -> str:
    return OURS if peer.startswith("nightshift") else LEASE if peer.startswith("lease-transport") else OTHERS
