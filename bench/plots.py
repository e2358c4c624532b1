"""The results as pictures, PNG files beside the tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .table import Row

mpl.use("Agg")

CAPACITY_SHARES: Final = (14.3, 28.6, 57.1)
QUEUES: Final = ("50/s", "100/s", "200/s")


def compare(rows: Sequence[Row], folder: Path) -> None:
    """Draw one picture for each pass: response times over the central queue's, and shares."""
    for hold_s in dict.fromkeys(row["hold_s"] for row in rows):
        chosen = [row for row in rows if row["hold_s"] == hold_s]
        figure = Figure(figsize=(13, 1.5 + 0.4 * len(chosen)), layout="constrained")
        times, shares = figure.subplots(1, 2, sharey=True)
        _bars(times, chosen, {"mean_over_central": "mean", "p99_over_central": "p99"})
        times.set_xscale("log")
        times.axvline(1.0, color="black", linewidth=0.8)
        times.set_xlabel("times the central queue's")
        _stacks(shares, chosen)
        figure.suptitle(f"calls of {hold_s:g} s" if hold_s else "calls without a hold")
        figure.savefig(folder / f"compare-hold-{hold_s:g}s.png", dpi=120)


def bars(name: str, rows: Sequence[Row], keys: dict[str, str], label: str, folder: Path) -> None:
    """Draw a bar for each row and key, whose value in `keys` is what it is called."""
    figure = Figure(figsize=(9, 1.5 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    _bars(axes, rows, keys)
    axes.set_xlabel(label)
    figure.savefig(folder / f"{name}.png", dpi=120)


def faults(rows: Sequence[Row], series: dict[str, Any], folder: Path) -> None:
    """Draw the broken queue's share over time, one panel for each fault and one line for each balancer."""
    names = list(dict.fromkeys(row["fault"] for row in rows))
    figure = Figure(figsize=(13, 2.6 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
    for axes, fault in zip(panels, names, strict=True):
        for balancer, points in series[fault].items():
            axes.plot([point[0] for point in points], [point[1] for point in points], label=balancer, linewidth=1)
        axes.set_title(f"it {fault}", loc="left")
        axes.set_ylabel("share %")
        axes.set_ylim(bottom=0)
    panels[-1].set_xlabel("s after the fault")
    panels[0].legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(series[names[0]]))
    figure.savefig(folder / "faults.png", dpi=120)


def _bars(axes: Axes, rows: Sequence[Row], keys: dict[str, str]) -> None:
    height = 0.8 / len(keys)
    for number, (key, name) in enumerate(keys.items()):
        axes.barh([y + number * height for y in range(len(rows))], [row[key] for row in rows], height, label=name)
    axes.set_yticks([y + 0.4 - height / 2 for y in range(len(rows))], [row["balancer"] for row in rows])
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    _legend(axes, len(keys))


def _stacks(axes: Axes, rows: Sequence[Row]) -> None:
    left = [0.0] * len(rows)
    for number, queue in enumerate(QUEUES):
        widths = [row["shares"][number] for row in rows]
        axes.barh([y + 0.2 for y in range(len(rows))], widths, 0.8, left=left, label=queue)
        left = [begin + width for begin, width in zip(left, widths, strict=True)]
    for number in range(len(QUEUES) - 1):
        axes.axvline(sum(CAPACITY_SHARES[: number + 1]), color="black", linewidth=0.8, linestyle="dashed")
    axes.set_xlabel("share of the calls, %; dashed: of the capacity")
    _legend(axes, len(QUEUES))


def _legend(axes: Axes, columns: int) -> None:
    """Put the legend above the bars, none of which it hides."""
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
