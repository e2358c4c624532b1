"""
How much a destination can take: by its own reports and, where there are none, by its answers.

By Little's law a line of n requests, each of which waits t, moves at n / t per second: that is the capacity, where n is
more than can be served at once. Below that, t tells only how fast a free worker is; so each destination is judged by
its own curve, which knows where the one becomes the other. Taking n / t at any n instead lets a fast one win ever more
(simulated: 82 % for one of three at a third of the load), and 1 / t alone takes equal times for equal capacity.
Knows the set's curves of one moment; does not know weights.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .curve import ResponseCurve, Usual
from .weight import RESPONSE_TIME_FLOOR_S

MIN_EVIDENCE: Final = 5.0  # answers' worth below which calls say nothing yet and pings are asked
PRIOR: Final = 5.0  # answers' worth of the set's own average in every estimate: who was starved is tried again


@dataclass(frozen=True, slots=True)
class ByCalls:
    """A destination as its answers show it: seconds while not crowded, and requests per second, both > 0."""

    base_s: float
    capacity: float


def from_calls(curves: Mapping[str, ResponseCurve], now_s: float) -> dict[str, ByCalls]:
    """
    Judge each destination by the answers to its calls, helped by the set's usual where it has few.

    Args:
        curves: destination -> its curve, which is fitted anew.
        now_s: monotonic seconds.

    Returns:
        destination -> its times, comparable within the set; empty when the set has had too few answers.
    """
    answers = sum(curve.evidence(now_s) for curve in curves.values())
    if answers < MIN_EVIDENCE:
        return {}
    usual = Usual(
        base_s=sum(curve.base_sum(now_s) for curve in curves.values()) / answers,
        bend=sum(curve.evidence(now_s) * curve.bend for curve in curves.values()) / answers,
    )
    return {
        uri: ByCalls(*curve.fit(usual, doubt=PRIOR, floor_s=RESPONSE_TIME_FLOOR_S, now_s=now_s))
        for uri, curve in curves.items()
    }


def from_pings(ping_times: Mapping[str, float | None]) -> dict[str, float | None]:
    """
    Estimate capacities from pings alone: whoever answers twice as fast takes twice as much.

    Args:
        ping_times: destination -> mean seconds, None where no ping was answered yet.
    """
    return {
        uri: None if time_s is None else 1.0 / (time_s + RESPONSE_TIME_FLOOR_S) for uri, time_s in ping_times.items()
    }


@dataclass(frozen=True, slots=True)
class ByReports:
    """A destination's capacity by its own reports: requests per second > 0, and how far they count, 0..1."""

    capacity: float
    trust: float


def blend(by_answers: Mapping[str, float | None], by_reports: Mapping[str, ByReports]) -> dict[str, float | None]:
    """
    Put reports before answers, as far as each report counts; what fades gives way to what the answers say.

    Answers tell capacities in no particular unit, so they are brought to that of the reports by the destinations that
    have both.

    Args:
        by_answers: destination -> capacity > 0 in any common unit, or None where nothing is known.
        by_reports: the same for some destinations, in requests per second.

    Returns:
        destination -> capacity in a common unit, None where nothing is known.
    """
    trusted = {uri: report for uri, report in by_reports.items() if report.trust > 0}
    scale = _scale(by_answers, trusted)
    blended: dict[str, float | None] = {}
    for uri, answer in by_answers.items():
        report = trusted.get(uri)
        scaled = None if answer is None else math.log(answer) + scale
        if report is None:
            blended[uri] = None if scaled is None else math.exp(scaled)
        else:
            neutral = math.log(report.capacity) if scaled is None else scaled
            blended[uri] = math.exp(neutral + report.trust * (math.log(report.capacity) - neutral))
    return blended


def _scale(by_answers: Mapping[str, float | None], trusted: Mapping[str, ByReports]) -> float:
    """Return the logarithm of the reports' unit over the answers'; 0 when nothing compares them."""
    ratios = [
        (report.trust, math.log(report.capacity / answer))
        for uri, report in trusted.items()
        if (answer := by_answers[uri]) is not None
    ]
    total = sum(trust for trust, _ in ratios)
    return sum(trust * ratio for trust, ratio in ratios) / total if ratios else 0.0
