"""
How much a destination can take, learned from its answers when nobody declares or reports it.

By Little's law a line of n requests, each of which waits t, moves at n / t per second: that is the capacity, if n is
the same for all. Destinations carry different n, so each is judged at a number half-way to the set's usual one, with
the help of its own curve: flat while it has workers to spare, proportional once they are all busy. Taking each at its
own n instead lets a fast one win ever more (simulated: 82 % for one of three at a third of the load), and 1 / t alone
takes equal times for equal capacity.
Knows the set's curves of one moment; does not know weights.
"""

from collections.abc import Mapping
from typing import Final

from .curve import ResponseCurve
from .weight import RESPONSE_TIME_FLOOR_S

MIN_EVIDENCE: Final = 5.0  # answers' worth below which calls say nothing yet and pings are asked
PRIOR: Final = 5.0  # answers' worth of the set's own average in every estimate: who was starved is tried again


def from_calls(curves: Mapping[str, ResponseCurve], now_s: float) -> dict[str, float] | None:
    """
    Estimate each destination's capacity from the answers to calls.

    Args:
        curves: destination -> its curve.
        now_s: monotonic seconds.

    Returns:
        destination -> requests per second, > 0, comparable within the set; None when the set has had too few answers.

    Source: this project's simulations of estimators (mean wait within 0.09 of what known capacities give).
    """
    answers = sum(curve.evidence(now_s) for curve in curves.values())
    if answers < MIN_EVIDENCE:
        return None
    usual_n = sum(curve.in_flight_sum(now_s) for curve in curves.values()) / answers
    usual_t = sum(curve.time_sum(now_s) for curve in curves.values()) / answers
    return {uri: _capacity(curve, usual_n, usual_t, now_s) for uri, curve in curves.items()}


def _capacity(curve: ResponseCurve, usual_n: float, usual_t: float, now_s: float) -> float:
    weight = curve.evidence(now_s) + PRIOR
    own_n = (curve.in_flight_sum(now_s) + PRIOR * usual_n) / weight
    own_t = (curve.time_sum(now_s) + PRIOR * usual_t) / weight + RESPONSE_TIME_FLOOR_S
    slope = min(max(curve.slope(now_s), 0.0), own_t / own_n)  # from flat to proportional
    n = (own_n + usual_n) / 2
    return n / (own_t + slope * (n - own_n))


def from_pings(ping_times: Mapping[str, float | None]) -> dict[str, float | None]:
    """
    Estimate capacities from pings alone: whoever answers twice as fast takes twice as much.

    Args:
        ping_times: destination -> mean seconds, None where no ping was answered yet.
    """
    return {
        uri: None if time_s is None else 1.0 / (time_s + RESPONSE_TIME_FLOOR_S) for uri, time_s in ping_times.items()
    }
