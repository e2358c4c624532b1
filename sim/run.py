"""
One scene played under one rule, and what is to be said of it.

Everything random comes from the scene's seed, so that each rule meets the same calls.
"""

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from lab.figures import percentile

from .calls import Callers, Tally
from .clock import Clock
from .contenders import Contender
from .downstream import Downstream
from .node import Node
from .scenario import WARM_UP_S, Scenario

COLD_S: Final = 20.0
COLD_STEP_S: Final = 1.0
LATE_S: Final = 0.5
BLIND_S: Final = 1.0  # after a fault began: whoever calls later may expect not to notice it
WINDOW_S: Final = 1.0
TOLERANCE_POINTS: Final = 3.0
BACK: Final = 0.8  # of the fair share


@dataclass(frozen=True)
class Outcome:
    """What became of a scene's calls."""

    calls: int
    failed: int
    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    late: int  # callers that waited longer than LATE_S and called later than BLIND_S after the fault began
    shares: Sequence[float]  # percent of the attempts, by destination
    spread: float  # standard deviation of the first destination's share from second to second, in points
    right_s: float | None = None  # after the fault began, until its share stays below the fair one and TOLERANCE_POINTS
    back_s: float | None = None  # after it was mended, until its share is BACK of the fair one
    series: Mapping[float, Sequence[float]] = field(default_factory=dict)  # second -> shares


def play(scenario: Scenario, contender: Contender, seed: int) -> Outcome:
    """Play a scene."""
    clock = Clock()
    base = zlib.crc32(f"{scenario.name} {seed}".encode())
    downstreams = [
        Downstream(clock, random.Random(base + number), kind, scenario.shape)
        for number, kind in enumerate(scenario.kinds)
    ]
    rng = random.Random(base - 1)
    nodes = contender.build(clock, random.Random(base - 2), downstreams, scenario)
    callers = Callers(clock, rng, nodes, downstreams, rate_cps=scenario.rate_cps, hold_s=scenario.hold_s)
    _plan(scenario, clock, downstreams, nodes, contender)
    callers.start()
    clock.run(scenario.end_s)
    return _judge(scenario, callers.tally)


def _plan(
    scenario: Scenario,
    clock: Clock,
    downstreams: Sequence[Downstream],
    nodes: Sequence[Node],
    contender: Contender,
) -> None:
    """Put on the agenda what happens to the destinations."""
    fault = scenario.fault
    if fault is not None:
        clock.after(fault.at_s, fault.harm, downstreams[fault.number])
        clock.after(fault.until_s, fault.mend, downstreams[fault.number])
    for downstream in downstreams:
        downstream.failing = scenario.all_failing
    if scenario.stale:
        for downstream in downstreams:
            clock.after(WARM_UP_S, setattr, downstream, "reporting", False)
    if scenario.joins_s:
        number = len(downstreams) - 1
        clock.after(scenario.joins_s, contender.join, nodes, number, scenario)
        for step in range(int(COLD_S / COLD_STEP_S) + 1):
            slower = 1.0 + (scenario.cold - 1.0) * (1.0 - step * COLD_STEP_S / COLD_S)
            clock.after(scenario.joins_s + step * COLD_STEP_S, setattr, downstreams[number], "slower", slower)


def _judge(scenario: Scenario, tally: Tally) -> Outcome:
    judged = [(began, delay) for began, delay in zip(tally.began_s, tally.delays_s, strict=True) if began >= WARM_UP_S]
    delays = sorted(delay for _, delay in judged)
    failed = sum(began >= WARM_UP_S for began in tally.lost_s)
    series = _series(tally, len(scenario.kinds), scenario.end_s)
    watched = scenario.fault.number if scenario.fault else 0
    column = [shares[watched] for second, shares in series.items() if second >= WARM_UP_S]
    mean = sum(column) / len(column)
    begun_s = scenario.fault.at_s + BLIND_S if scenario.fault else WARM_UP_S
    picks = [0] * len(scenario.kinds)
    for at_s, number in tally.picks:
        if at_s >= WARM_UP_S:
            picks[number] += 1
    return Outcome(
        calls=len(delays) + failed,
        failed=failed,
        mean_s=sum(delays) / len(delays),
        p50_s=percentile(delays, 0.5),
        p95_s=percentile(delays, 0.95),
        p99_s=percentile(delays, 0.99),
        late=sum(delay > LATE_S and began >= begun_s for began, delay in judged),
        shares=[100.0 * count / sum(picks) for count in picks],
        spread=(sum((share - mean) ** 2 for share in column) / len(column)) ** 0.5,
        right_s=_right(scenario, series),
        back_s=_back(scenario, series),
        series=series,
    )


def _series(tally: Tally, size: int, end_s: float) -> dict[float, Sequence[float]]:
    """Return the shares of the attempts, in percent, of each whole window."""
    counts = [[0] * size for _ in range(int(end_s / WINDOW_S) + 1)]
    for at_s, number in tally.picks:
        counts[int(at_s / WINDOW_S)][number] += 1
    return {
        index * WINDOW_S: [100.0 * count / max(sum(row), 1) for count in row] for index, row in enumerate(counts[:-1])
    }


def _right(scenario: Scenario, series: Mapping[float, Sequence[float]]) -> float | None:
    fault = scenario.fault
    if fault is None:
        return None
    settled = None
    for second, shares in series.items():
        if fault.at_s <= second < fault.until_s:
            if shares[fault.number] > fault.fair_percent + TOLERANCE_POINTS:
                settled = None
            elif settled is None:
                settled = second - fault.at_s
    return settled


def _back(scenario: Scenario, series: Mapping[float, Sequence[float]]) -> float | None:
    fault = scenario.fault
    if fault is None:
        return None
    fair = 100.0 * scenario.kinds[fault.number].capacity_cps / sum(kind.capacity_cps for kind in scenario.kinds)
    for second, shares in series.items():
        if second >= fault.until_s and shares[fault.number] >= BACK * fair:
            return second - fault.until_s
    return None
