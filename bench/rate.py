"""
The highest rate of calls without a failure, as RFC 7502 section 6.1 looks for it, and what a call costs at half of it.

BENCH_CALLS calls (default 50,000) over three proxies that answer at once: the rate is doubled until a call fails, then
halved to within 5 %, Steelyard and Kamailio's dispatcher in turn, eight runs each at most. Everything shares the
machine: the figures say what it does together with SIPp and the proxies, so compare them with each other alone.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from lab.parts import Many, SippCaller

from . import cpu, options, plots, results, table
from .contenders import ROUND_ROBIN, STEELYARD, Contender, Destination, Scene
from .search import Search
from .table import Column, Row

START_CPS: Final = 400.0
OFFERED_PART: Final = 0.9  # a caller that makes fewer calls than that is the limit itself
COST_S: Final = 20.0
COLUMNS: Final = (
    Column("balancer", "balancer", "", 28),
    Column("calls/s", "rate_cps", ".0f", 7),
    Column("offered", "offered_cps", ".0f", 7),
    Column("calls", "calls", "d", 6),
    Column("failed", "failed", "d", 6),
    Column("passed", "passed", "", 6),
)
HIGHEST: Final = (
    Column("balancer", "balancer", "", 28),
    Column("calls/s without a failure", "highest_cps", ".0f", 25),
    Column("CPU us/call at half", "cpu_us", ".0f", 19),
)


def main() -> int:
    """Search, then measure the cost."""
    contenders = options.chosen([STEELYARD, ROUND_ROBIN])
    searches = {contender.name: Search(START_CPS) for contender in contenders}
    print(table.heading(COLUMNS))
    runs: list[Row] = []
    while any(search.next_cps() for search in searches.values()):
        for contender in contenders:
            cps = searches[contender.name].next_cps()
            if cps:
                runs.append(_try(contender, cps))
                searches[contender.name].on_run(cps, passed=runs[-1]["passed"] == "yes")
                print(table.line(COLUMNS, runs[-1]), flush=True)
    _finish(contenders, {name: search.passed_cps for name, search in searches.items()}, runs)
    return 0


def _finish(contenders: list[Contender], highest: dict[str, float], runs: list[Row]) -> None:
    """Measure what a call costs at half the lower of the highest rates; print and write what was found."""
    half_cps = min(highest.values()) / 2
    costs: dict[str, float] = {}
    if half_cps:
        print()
        costs = cpu.medians_us(cpu.in_turn(2 * contenders, half_cps, min(options.calls(), int(COST_S * half_cps))))
    rows: list[Row] = [
        {"balancer": name, "highest_cps": cps, "cpu_us": costs.get(name), "half_cps": half_cps}
        for name, cps in highest.items()
    ]
    print(f"\n{table.heading(HIGHEST)}", *(table.line(HIGHEST, row) for row in rows), sep="\n")
    path = results.write("rate", rows, runs=runs)
    plots.bars("rate", rows, {"highest_cps": "highest rate"}, "calls/s without a failure", path.parent)


def _try(contender: Contender, cps: float) -> Row:
    """Make all calls at one rate, or as many as it takes to see one fail."""
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        many = stack.enter_context(Many(folder, cpu.PROXIES)).run()
        balancer = contender.start(Scene(folder, [Destination(uri, 1.0) for uri in many.uris]), stack)
        time.sleep(cpu.SETTLE_S)
        caller = stack.enter_context(cpu.fast_caller(folder, balancer.port, cps, options.calls())).start()
        while caller.is_running() and not int(_last(caller).get("FailedCall(C)") or 0):
            time.sleep(0.5)
        if caller.is_running():
            caller.kill()
        report, offered_cps = caller.finish(), _offered_cps(caller)
    passed = report.successful == options.calls() and offered_cps >= OFFERED_PART * cps
    return {
        "balancer": contender.name,
        "rate_cps": cps,
        "offered_cps": offered_cps,
        "calls": report.calls,
        "failed": report.failed,
        "passed": "yes" if passed else "no",
    }


def _last(caller: SippCaller) -> dict[str, Any]:
    """Return the last row of SIPp's statistics."""
    rows = caller.statistics()
    return dict(rows[-1]) if rows else {}


def _offered_cps(caller: SippCaller) -> float:
    """Return how many calls a second SIPp has begun, until it had begun all."""
    rows = [(_moment_s(row["CurrentTime"]), int(row["TotalCallCreated"])) for row in caller.statistics()]
    if not rows:
        return 0.0
    created = rows[-1][1]
    end_s = next(now_s for now_s, begun in rows if begun == created)
    return created / max(end_s - rows[0][0], 1e-3)


def _moment_s(text: str) -> float:
    """Return SIPp's date, time and Unix time, with tabs between, as the latter."""
    return float(text.rpartition("\t")[2])


if __name__ == "__main__":
    sys.exit(main())
