"""
Unequal queues, Poisson calls, one balancer after the other; prints a row for each as soon as it is done.

Three queues of 50, 100 and 200 calls/s (four workers, exponential service) are offered 280 calls/s, first by calls
that end as soon as they are answered, then by calls that last ten seconds on average. Both passes list the queues in an
order that is drawn from a seed, the same for all contenders: nobody wins by listing the fast one first.
See options.py for the variables that change this.
"""

import contextlib
import itertools
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.figures import percentile
from lab.parts import Phone, Queue, SippCaller

from . import options, plots, results, table
from .contenders import Balancer, Contender, Destination, Scene, all_there
from .reference import central_queue, lower_bound
from .table import Column, Row

WORKERS: Final = 4
SERVICE_MS: Final = (80.0, 40.0, 20.0)  # in this order the shares are printed
RATE_CPS: Final = 280.0
SPREAD_S: Final = 2.0  # of the calls' random waits, which make the stream Poisson
WARM_UP_S: Final = 10.0  # learning, as in README's figures; no longer than the measurement itself
WARM_UP_HOLDS: Final = 3.0  # after so many mean holds 95 % of the calls that will be in progress are
SETTLE_S: Final = 10.0  # three tries of 2 s, and the slowest queue's service; what is not answered then has failed
EDGE_S: Final = 0.1  # how far the measurement's ends may be moved
DELAYED_S: Final = 0.5
COLUMNS: Final = (
    Column("balancer", "balancer", "", 35),
    Column("calls", "calls", "d", 6),
    Column("failed", "failed", "d", 6),
    Column("> 500 ms", "delayed", "d", 8),
    Column("mean ms", "mean_ms", ".1f", 7),
    Column("p50", "p50_ms", ".0f", 4),
    Column("p95", "p95_ms", ".0f", 5),
    Column("p99", "p99_ms", ".0f", 5),
    Column("mean/central", "mean_over_central", ".2f", 12),
    Column("p99/central", "p99_over_central", ".2f", 11),
    Column("mean/bound", "mean_over_bound", ".2f", 10),
    Column("CPU us/call", "cpu_us", ".0f", 11),
    Column("shares %", "shares", ".1f", 14),
)


@dataclass(frozen=True)
class Reference:
    """What the central queue gives and what nobody can beat, in seconds."""

    mean_s: float
    p99_s: float
    bound_s: float


@dataclass(frozen=True)
class Pass:
    """What all contenders of a pass have in common."""

    hold_s: float
    seconds: int
    order: Sequence[int]  # of the queues in the balancers' lists

    @property
    def warm_up_s(self) -> float:
        """How long the calls go on before they are looked at."""
        return max(min(WARM_UP_S, self.seconds), WARM_UP_HOLDS * self.hold_s)


def main() -> int:
    """Run every contender in every pass."""
    seed = options.seed()
    rng = random.Random(seed)  # noqa: S311
    reference = _reference()
    print(f"central queue (simulated): mean {reference.mean_s * 1000:.1f} ms, p99 {reference.p99_s * 1000:.0f} ms; "
          f"bound of the mean {reference.bound_s * 1000:.1f} ms; seed {seed}")  # fmt: skip
    rows: list[Row] = []
    for hold_s in options.holds_s():
        one = Pass(hold_s, options.seconds(), rng.sample(range(len(SERVICE_MS)), len(SERVICE_MS)))
        lasting = f"calls of {hold_s:g} s" if hold_s else "calls without a hold"
        listed = ", ".join(f"{WORKERS * 1000 / SERVICE_MS[n]:.0f}" for n in one.order)
        print(f"\n{lasting}, after {one.warm_up_s:g} s; capacities as listed: {listed}")
        print(table.heading(COLUMNS))
        for contender in options.chosen(all_there()):
            rows.append(measure(contender, one, reference))
            print(table.line(COLUMNS, rows[-1]), flush=True)
    facts = {"seed": seed, "reference_ms": {k: 1000 * v for k, v in vars(reference).items()}}
    plots.compare(rows, results.write("compare", rows, **facts).parent)
    return 0


def _reference() -> Reference:
    queues = [(WORKERS, mean / 1000) for mean in SERVICE_MS]
    times = central_queue(RATE_CPS, queues)
    return Reference(sum(times) / len(times), percentile(times, 0.99), lower_bound(RATE_CPS, queues))


def measure(contender: Contender, one: Pass, reference: Reference) -> Row:
    """Run one contender on fresh queues and return its row."""
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        phone = stack.enter_context(Phone(folder)).run()
        queues = [stack.enter_context(Queue(folder, phone, workers=WORKERS, service_ms=ms)).run() for ms in SERVICE_MS]
        listed = [Destination(queues[n].uri, queues[n].capacity_cps) for n in one.order]
        balancer = contender.start(Scene(folder, listed, one.hold_s), stack)
        return _row(contender.name, one, _call(folder, balancer, queues, one), reference)


@dataclass(frozen=True)
class _Measured:
    calls: int  # that began while it was measured
    times_s: list[float]  # of those of them that were answered, sorted
    cpu_s: float
    served: list[int]


def _call(folder: Path, balancer: Balancer, queues: Sequence[Queue], one: Pass) -> _Measured:
    """Make the calls and look at those that begin after the warm-up."""
    end_s = one.warm_up_s + one.seconds
    target = f"127.0.0.1:{balancer.port}"
    keys = ("-l", "10000", "-set", "spread_ms", f"{SPREAD_S * 1000:.0f}", "-set", "hold_ms", f"{one.hold_s * 1000:.0f}")
    caller = SippCaller("uac_poisson", folder, target, *keys, calls=int(RATE_CPS * (end_s + 1)), rate=RATE_CPS)
    with caller.start():
        begun_s = time.monotonic()
        _sleep_until(begun_s + one.warm_up_s)
        cpu_s, served = balancer.cpu_s(), [queue.served() for queue in queues]
        _sleep_until(begun_s + end_s)
        cpu_s, served = balancer.cpu_s() - cpu_s, [q.served() - n for q, n in zip(queues, served, strict=True)]
        while caller.is_running() and time.monotonic() < begun_s + end_s + SETTLE_S:
            time.sleep(0.1)
        caller.kill()  # lasting calls would go on for a minute
        sent_s, answered = caller.sent_s(), caller.samples("2")
    low_s, high_s = _between(sent_s, one.warm_up_s), _between(sent_s, end_s)
    calls = sum(low_s <= start_s < high_s for start_s in sent_s)
    times_s = sorted(time_s for start_s, time_s in answered if low_s <= start_s < high_s)
    return _Measured(calls, times_s, cpu_s, served)


def _between(sent_s: Sequence[float], edge_s: float) -> float:
    """
    Return a moment near `edge_s` as far from any call's begin as can be had.

    SIPp writes times in six digits, so that what it says of a call's begin differs by up to a millisecond.
    """
    near = [start_s for start_s in sent_s if abs(start_s - edge_s) < EDGE_S]
    gaps = [(after - before, (after + before) / 2) for before, after in itertools.pairwise(near)]
    return max(gaps)[1] if gaps else edge_s


def _row(name: str, one: Pass, measured: _Measured, reference: Reference) -> Row:
    times_s = measured.times_s
    mean_s, p99_s = sum(times_s) / len(times_s) if times_s else math.nan, percentile(times_s, 0.99)
    return {
        "balancer": name,
        "hold_s": one.hold_s,
        "calls": measured.calls,
        "failed": measured.calls - len(times_s),
        "delayed": sum(time_s > DELAYED_S for time_s in times_s),
        "mean_ms": 1000 * mean_s,
        "p50_ms": 1000 * percentile(times_s, 0.5),
        "p95_ms": 1000 * percentile(times_s, 0.95),
        "p99_ms": 1000 * p99_s,
        "mean_over_central": mean_s / reference.mean_s,
        "p99_over_central": p99_s / reference.p99_s,
        "mean_over_bound": mean_s / reference.bound_s,
        "cpu_us": 1e6 * measured.cpu_s / max(len(times_s), 1),
        "shares": [100 * n / max(sum(measured.served), 1) for n in measured.served],
    }


def _sleep_until(moment_s: float) -> None:
    time.sleep(max(0.0, moment_s - time.monotonic()))


if __name__ == "__main__":
    sys.exit(main())
