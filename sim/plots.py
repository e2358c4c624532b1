"""
Plots of one scene: how long callers waited under each rule, and the shares over time under the first.

Does not know how either came about.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")  # no screen

from matplotlib import pyplot as plt

from .run import Outcome
from .scenario import Scenario

MOST_LINES: Final = 20
PARTS: Final = (("mean", "mean_s"), ("median", "p50_s"), ("95 %", "p95_s"), ("99 %", "p99_s"))


def draw(folder: Path, scene: Scenario, names: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Write one PNG; `names` are those of the rules, in the order of `outcomes`."""
    figure, (waits, shares) = plt.subplots(2, 1, figsize=(10, 9), layout="constrained")
    figure.suptitle(scene.name)
    rows = range(len(outcomes))
    for offset, (label, attribute) in enumerate(PARTS):
        times = [getattr(outcome, attribute) * 1000 for outcome in outcomes]
        waits.barh([row + 0.2 * offset - 0.3 for row in rows], times, 0.2, label=label)
    waits.set_yticks(rows, names)
    waits.invert_yaxis()
    waits.set_xscale("log")
    waits.set_xlabel("ms from call to answer")
    waits.legend()
    series = outcomes[0].series
    for number in range(min(len(scene.kinds), MOST_LINES)):
        shares.plot(list(series), [row[number] for row in series.values()], label=f"{number + 1}")
    shares.set_xlabel("s")
    shares.set_ylabel(f"% of the calls by {names[0]}")
    shares.legend(ncols=10, fontsize="small")
    figure.savefig(folder / f"{re.sub('[^a-z0-9]+', '-', scene.name.lower()).strip('-')}.png", dpi=80)
    plt.close(figure)
