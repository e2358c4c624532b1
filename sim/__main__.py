"""
`make sim`: every scene under every rule; one table for each scene, plots and a CSV in sim/results/.

SIM=full adds the long scenes, SIM_ONLY=text takes the scenes whose names hold the text, SIM_SEED (default 1) sets the
calls. Queues that are offered more than they can take are told as they are: their times grow with what is simulated.
"""

import csv
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.reference import central_queue
from lab.figures import percentile

from . import plots, scenario
from .contenders import CONTENDERS
from .downstream import Shape
from .run import Outcome, play
from .scenario import Scenario

RESULTS: Final = Path(__file__).resolve().parent / "results"
MOST_SHARES: Final = 4  # that fit a table
COLUMNS: Final = (
    "rule",
    "told",
    "failed %",
    "mean ms",
    "p99 ms",
    "mean / central",
    "p99 / central",
    "late",
    "shares %",
    "spread",
    "right s",
    "back s",
)


def main() -> int:
    """Play and print."""
    seed = int(os.environ.get("SIM_SEED") or "1")
    only = os.environ.get("SIM_ONLY") or ""
    everything = scenario.full() if os.environ.get("SIM") == "full" else scenario.short()
    scenes = [scene for scene in everything if only in scene.name]
    RESULTS.mkdir(exist_ok=True)
    console = Console(width=max(Console().width, 150))
    with ProcessPoolExecutor() as pool, (RESULTS / "sim.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("scene", *COLUMNS))
        jobs = [
            (
                scene,
                pool.submit(_central, scene.name),
                [pool.submit(_play, scene.name, number, seed) for number in range(len(CONTENDERS))],
            )
            for scene in scenes
        ]
        for scene, central, playing in jobs:
            outcomes = [job.result() for job in playing]
            rows = [_row(number, outcome, central.result()) for number, outcome in enumerate(outcomes)]
            writer.writerows((scene.name, *row) for row in rows)
            console.print(_table(scene, rows))
            plots.draw(RESULTS, scene, [contender.name for contender in CONTENDERS], outcomes)
    console.print(f"seed {seed}; plots and sim.csv: {RESULTS}")
    return 0


def _find(name: str) -> Scenario:
    """Return a scene by its name: what it does to a destination cannot travel between processes."""
    return next(scene for scene in scenario.full() if scene.name == name)


def _play(name: str, number: int, seed: int) -> Outcome:
    return play(_find(name), CONTENDERS[number], seed)


def _central(name: str) -> tuple[float, float] | None:
    """Return mean and 99th percentile of the central queue in seconds, None where it is not the measure."""
    scene = _find(name)
    if scene.shape is not Shape.EXPONENTIAL or scene.fault or scene.joins_s or scene.all_failing:
        return None
    times = central_queue(scene.rate_cps, [(kind.workers, kind.service_s) for kind in scene.kinds])
    return sum(times) / len(times), percentile(times, 0.99)


def _row(number: int, outcome: Outcome, central: tuple[float, float] | None) -> list[str]:
    contender = CONTENDERS[number]
    mean_s, p99_s = central or (None, None)
    shown = outcome.shares[:MOST_SHARES] if len(outcome.shares) <= MOST_SHARES else ()
    return [
        contender.name,
        contender.told,
        f"{100 * outcome.failed / outcome.calls:.2f}",
        f"{outcome.mean_s * 1000:.1f}",
        f"{outcome.p99_s * 1000:.0f}",
        f"{outcome.mean_s / mean_s:.2f}" if mean_s else "",
        f"{outcome.p99_s / p99_s:.2f}" if p99_s else "",
        str(outcome.late),
        " ".join(f"{share:.1f}" for share in shown),
        f"{outcome.spread:.1f}",
        _seconds(outcome.right_s),
        _seconds(outcome.back_s),
    ]


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _table(scene: Scenario, rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=f"{scene.name} ({scene.rate_cps:.0f} calls/s)", title_justify="left")
    for index, name in enumerate(COLUMNS):
        table.add_column(name, justify="left" if index < 2 else "right")
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())
