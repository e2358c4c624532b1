"""
What callers notice when one of four proxies breaks, and how soon it is used again once it has healed.

Four queues of 100 calls/s are offered half their capacity. One of them stops (SIGSTOP), is killed, answers 503 at once,
or becomes five times slower; it stays so for BROKEN_S and heals. Prints a row for each fault and balancer.
See options.py for BENCH_ONLY and BENCH_RESULTS, and shares.py for how shares are seen.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.figures import percentile
from lab.parts import Phone, Queue, SippCaller

from . import opensips, options, plots, results, shares, table
from .contenders import IN_PROGRESS, OPENSIPS_EQUAL, ROUND_ROBIN, STEELYARD, Contender, Destination, Scene
from .table import Column, Row

WORKERS: Final = 4
QUEUES: Final = 4
SERVICE_MS: Final = 40.0
RATE_CPS: Final = 200.0
WARM_UP_S: Final = 10.0
BROKEN_S: Final = 15.0
HEALED_S: Final = 40.0
SPREAD_S: Final = 2.0  # of the calls' random waits; their rate is steady until the last of them has one
FAIR_PERCENT: Final = 100 / QUEUES
TOLERANCE_POINTS: Final = 3.0
DELAYED_S: Final = 0.5
LATER_S: Final = 1.0  # calls that begin so long after the fault are no longer surprised by it
COLUMNS: Final = (
    Column("it ...", "fault", "", 22),
    Column("balancer", "balancer", "", 34),
    Column("calls", "calls", "d", 6),
    Column("failed", "failed", "d", 6),
    Column("> 500 ms", "delayed", "d", 8),
    Column("of later callers", "delayed_later", "d", 16),
    Column("p99 ms", "p99_ms", ".0f", 6),
    Column("right after s", "right_s", ".1f", 13),
    Column("80 % back s", "back_s", ".1f", 11),
    Column("oscillation", "oscillation", ".1f", 11),
)


@dataclass(frozen=True)
class Fault:
    """A way to break a queue and to mend it, the most it ought to have meanwhile, and whether it cannot be asked."""

    name: str
    break_it: Callable[[Queue], object]
    mend_it: Callable[[Queue], object]
    fair_percent: float = 0.0
    silent: bool = False


FAULTS: Final = (
    Fault("stops (SIGSTOP)", lambda q: q.signal(signal.SIGSTOP), lambda q: q.signal(signal.SIGCONT), silent=True),
    Fault("is killed", lambda q: q.kill(), lambda q: q.run(), silent=True),
    Fault("answers 503 at once", lambda q: q.answer_with(503), lambda q: q.answer_with(200)),
    Fault("is five times slower", lambda q: q.slow_to(5 * SERVICE_MS), lambda q: q.slow_to(SERVICE_MS), 100 / 16),
)


@dataclass(frozen=True)
class _Seen:
    """A run: when each call began, the answered ones' times, and the broken queue's steps in both phases."""

    sent_s: list[float]
    answered: list[tuple[float, float]]
    broken: list[tuple[int, int]]
    healed: list[tuple[int, int]]


def main() -> int:
    """Try every fault on every balancer."""
    contenders = options.chosen(
        [STEELYARD, ROUND_ROBIN, IN_PROGRESS, *([OPENSIPS_EQUAL] if opensips.is_there() else [])]
    )
    print(f"four queues, half load ({RATE_CPS:.0f} calls/s); one of them for {BROKEN_S:.0f} s:")
    print(table.heading(COLUMNS))
    rows: list[Row] = []
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for fault in FAULTS:
        for contender in contenders:
            seen = _try(fault, contender)
            rows.append(_row(fault, contender.name, seen))
            series.setdefault(fault.name, {})[contender.name] = _points(seen)
            print(table.line(COLUMNS, rows[-1]), flush=True)
    plots.faults(rows, series, results.write("faults", rows, series=series).parent)
    return 0


def _try(fault: Fault, contender: Contender) -> _Seen:
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        phone = stack.enter_context(Phone(folder)).run()
        queues = [
            stack.enter_context(Queue(folder, phone, workers=WORKERS, service_ms=SERVICE_MS)).run()
            for _ in range(QUEUES)
        ]
        scene = Scene(folder, [Destination(queue.uri, queue.capacity_cps) for queue in queues])
        balancer = contender.start(scene, stack)
        calls = int(RATE_CPS * (WARM_UP_S + BROKEN_S + HEALED_S))
        keys = ("-l", "10000", "-recv_timeout", "32000", "-set", "spread_ms", f"{SPREAD_S * 1000:.0f}")
        caller = SippCaller("uac_poisson", folder, f"127.0.0.1:{balancer.port}", *keys, calls=calls, rate=RATE_CPS)
        stack.enter_context(caller.start())
        return _watch(fault, queues, caller)


def _watch(fault: Fault, queues: Sequence[Queue], caller: SippCaller) -> _Seen:
    """Break the first queue, mend it, and see what it gets."""
    begun_s = time.monotonic()
    time.sleep(WARM_UP_S)
    fault.break_it(queues[0])
    counts = _counts([] if fault.silent else queues, BROKEN_S)
    fault.mend_it(queues[0])
    mended_s = time.monotonic() - begun_s
    others = _counts(queues[1:], HEALED_S - SPREAD_S)
    caller.finish()
    sent_s, answered = caller.sent_s(), caller.samples("2")
    prompt_s = [start_s for start_s, time_s in answered if time_s <= DELAYED_S]
    if fault.silent:
        broken = shares.from_callers(sent_s, prompt_s, WARM_UP_S, int(BROKEN_S / shares.STEP_S))
    else:
        broken = shares.from_counts(counts)
    return _Seen(sent_s, answered, broken, shares.from_others(others, sent_s, mended_s))


def _counts(queues: Sequence[Queue], seconds: float) -> list[list[int]]:
    """Return what the queues have counted, now and at the end of each step."""
    begun_s = time.monotonic()
    counts = []
    for number in range(int(seconds / shares.STEP_S) + 1):
        time.sleep(max(0.0, begun_s + number * shares.STEP_S - time.monotonic()))
        counts.append([queue.served() for queue in queues])
    return counts


def _row(fault: Fault, balancer: str, seen: _Seen) -> Row:
    times_s = sorted(time_s for _, time_s in seen.answered)
    late_s = [start_s for start_s, time_s in seen.answered if time_s > DELAYED_S]
    return {
        "fault": fault.name,
        "balancer": balancer,
        "calls": len(seen.sent_s),
        "failed": len(seen.sent_s) - len(times_s),
        "delayed": len(late_s),
        "delayed_later": sum(start_s > WARM_UP_S + LATER_S for start_s in late_s),
        "p99_ms": 1000 * percentile(times_s, 0.99),
        "right_s": shares.settled_s(seen.broken, 0.0, fault.fair_percent + TOLERANCE_POINTS),
        "back_s": shares.settled_s(seen.healed, 0.8 * FAIR_PERCENT, 100.0),
        "oscillation": shares.oscillation(seen.broken),
    }


def _points(seen: _Seen) -> list[tuple[float, float]]:
    """Return (seconds after the fault, share in percent) for windows of two seconds, at their ends."""
    steps = [*seen.broken, *seen.healed]
    width = shares.SWING_STEPS
    return [((n + width) * shares.STEP_S, round(share, 1)) for n, share in enumerate(shares.percents(steps, width))]


if __name__ == "__main__":
    sys.exit(main())
