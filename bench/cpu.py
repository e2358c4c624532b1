"""
What a call costs: CPU time of all processes of the balancer, Steelyard and Kamailio's dispatcher in turn.

Three proxies that answer at once are offered 300 calls/s, 6,000 calls each time, in the order A B B A, so that what
changes on the machine meanwhile falls on both. What a balancer uses without calls is told apart.
"""

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.parts import Many, SippCaller

from . import options, plots, results, table
from .contenders import ROUND_ROBIN, STEELYARD, Contender, Destination, Scene
from .table import Column, Row

RATE_CPS: Final = 300.0
CALLS: Final = 6000
PROXIES: Final = 3
SETTLE_S: Final = 2.0  # after the start
IDLE_S: Final = 4.0
THRESHOLD_MS: Final = 32_000  # 64 x T1: a call that hears nothing for so long has failed
COLUMNS: Final = (
    Column("balancer", "balancer", "", 28),
    Column("calls/s", "rate_cps", ".0f", 7),
    Column("calls", "calls", "d", 6),
    Column("failed", "failed", "d", 6),
    Column("CPU us/call", "cpu_us", ".0f", 11),
    Column("without idle", "net_us", ".0f", 12),
    Column("idle ms/s", "idle_ms", ".1f", 9),
)


def main() -> int:
    """Run the contenders in turn, then print the medians and their ratio."""
    contenders = options.chosen([STEELYARD, ROUND_ROBIN])
    rows = in_turn([*contenders, *reversed(contenders)], RATE_CPS, min(CALLS, options.calls()))
    plots.bars("cpu", rows, {"cpu_us": "CPU per call"}, "us per call", results.write("cpu", rows).parent)
    return 0


def in_turn(contenders: Sequence[Contender], rate_cps: float, calls: int) -> list[Row]:
    """Measure each contender as often as it is named, print a row each time, and the medians."""
    print(table.heading(COLUMNS))
    rows = []
    for contender in contenders:
        rows.append(_measure(contender, rate_cps, calls))
        print(table.line(COLUMNS, rows[-1]), flush=True)
    medians = medians_us(rows)
    print("medians:", ", ".join(f"{name} {us:.0f} us" for name, us in medians.items()))
    if len(medians) > 1:
        first, *others = medians.values()
        print("ratio of the first to the others:", ", ".join(f"{first / other:.2f}" for other in others))
    return rows


def medians_us(rows: Sequence[Row]) -> dict[str, float]:
    """Return each balancer's median CPU time per call, in microseconds."""
    names = dict.fromkeys(row["balancer"] for row in rows)
    return {name: statistics.median(row["cpu_us"] for row in rows if row["balancer"] == name) for name in names}


def _measure(contender: Contender, rate_cps: float, calls: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        many = stack.enter_context(Many(folder, PROXIES)).run()
        balancer = contender.start(Scene(folder, [Destination(uri, 1.0) for uri in many.uris]), stack)
        time.sleep(SETTLE_S)
        begun_s = balancer.cpu_s()
        time.sleep(IDLE_S)
        idle = (balancer.cpu_s() - begun_s) / IDLE_S
        caller = fast_caller(folder, balancer.port, rate_cps, calls)
        begun_s, cpu_s = time.monotonic(), balancer.cpu_s()
        with caller.start():
            report = caller.finish()
        cpu_s, lasted_s = balancer.cpu_s() - cpu_s, time.monotonic() - begun_s
    return {
        "balancer": contender.name,
        "rate_cps": rate_cps,
        "calls": report.calls,
        "failed": report.failed,
        "cpu_us": 1e6 * cpu_s / max(report.calls, 1),
        "net_us": 1e6 * (cpu_s - idle * lasted_s) / max(report.calls, 1),
        "idle_ms": 1000 * idle,
    }


def fast_caller(folder: Path, port: int, rate_cps: float, calls: int) -> SippCaller:
    """Return a caller of calls without a hold, evenly spaced, not yet started."""
    keys = ("-l", "10000", "-recv_timeout", str(THRESHOLD_MS))
    return SippCaller("uac_call", folder, f"127.0.0.1:{port}", *keys, calls=calls, rate=rate_cps)


if __name__ == "__main__":
    sys.exit(main())
