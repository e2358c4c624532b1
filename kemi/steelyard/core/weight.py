"""
How a destination's weight is made: declared x capacity x errors x slow start x percent.

Pure arithmetic on one tick's numbers; does not know time, Redis or who asks.
Source: the factors and constants follow gRFC A58 and Envoy (caps, neutral value), the SRE book and linkerd (errors),
and this project's own simulations; each constant says which.
"""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CAPACITY_MIN: Final = 0.1  # gRPC static stride and Envoy keep a weight within 0.1 .. 10 of the usual
CAPACITY_MAX: Final = 10.0
RESPONSE_TIME_FLOOR_S: Final = 0.002  # below this, differences are the scheduler's, not the proxy's
NEUTRAL: Final = 1.0

ERROR_PRIOR: Final = 5.0  # requests: one early failure must not look like a broken proxy (Finagle asks for five)
ERROR_FLOOR: Final = 0.05  # a proxy that heals must be found healed: never at zero
FAILURES_FORGIVEN: Final = 2
GROWTH_PER_S: Final = 1.15  # of capacity; slow up, so that a lucky second does not bring a crowd
ERRORS_GROWTH_PER_S: Final = 1.3  # of the error factor: from the floor to 1 in eleven seconds
SHRINK_PER_S: Final = 0.5
LONGEST_TICK_S: Final = 60.0  # a machine that slept for hours must not overflow a power
SLOW_START_MIN: Final = 0.1  # Envoy's min_weight_percent

HOLD_MARGIN: Final = 0.1  # how much worse than the best a proxy must fail before failures hold their slots
HOLD_QUIET: Final = 0.02


@dataclass(frozen=True, slots=True)
class Factors:
    """What a weight is the product of; each is dimensionless and 1 where it changes nothing."""

    declared: float
    capacity: float = NEUTRAL
    errors: float = NEUTRAL
    slow_start: float = NEUTRAL
    percent: float = NEUTRAL  # what its agent leaves of the declared weight, as a part

    @property
    def weight(self) -> float:
        """The product; comparable only within one set."""
        return self.declared * self.capacity * self.errors * self.slow_start * self.percent


def capacity_factors(estimates: Mapping[str, float | None]) -> dict[str, float]:
    """
    Scale capacity estimates to factors around 1.

    Args:
        estimates: destination -> estimate > 0 in any common unit, or None where nothing is known.

    Returns:
        destination -> estimate over the median of the known ones, within CAPACITY_MIN .. CAPACITY_MAX;
        NEUTRAL where nothing is known, so that a newcomer is tried like a median proxy (gRFC A58's rule).
    """
    median = median_of(estimates)
    return {
        uri: NEUTRAL if estimate is None else min(max(estimate / median, CAPACITY_MIN), CAPACITY_MAX)
        for uri, estimate in estimates.items()
    }


def median_of(estimates: Mapping[str, float | None]) -> float:
    """Return the median of the known ones, 1 where nothing is known."""
    known = [estimate for estimate in estimates.values() if estimate is not None]
    return statistics.median(known) if known else 1.0


def error_rate(successes: float, failures: float) -> float:
    """Return failures as a part of all outcomes, 0..1, leaning to 0 while there are few of them."""
    return failures / (successes + failures + ERROR_PRIOR)


def error_factor(rate: float, failed_in_a_row: int) -> float:
    """
    Return the factor for a destination's failures, ERROR_FLOOR..1.

    Its rate squared hurts a proxy that fails half its calls by three quarters; but a rate is slow, and slower still
    once the failures themselves keep calls away. So a row of failures counts too: each after the first halves the
    factor, once there are more than FAILURES_FORGIVEN.

    Args:
        rate: part of its attempts that failed lately, 0..1.
        failed_in_a_row: calls that failed since the last one that did not.
    """
    of_row = 0.5 ** (failed_in_a_row - 1) if failed_in_a_row > FAILURES_FORGIVEN else 1.0
    return max(ERROR_FLOOR, min((1.0 - rate) ** 2, of_row))


def holding(outcomes: Mapping[str, tuple[float, float]]) -> set[str]:
    """
    Say at which destinations a failed request keeps its place among the in-flight ones for a while.

    A proxy that answers 503 in a millisecond would otherwise look idle and attract every call. Where all fail alike,
    held places would only hide the real load, so a destination holds while it is worse than the best other one, or
    while that one hardly fails at all. Whoever has had few calls of late is taken to fail like the whole set: failing
    less because it is asked less, it would make all others look bad.

    Args:
        outcomes: destination -> successes and failures of late, >= 0.

    Source: SRE book, chapter 20 (errors count as active requests); the relative test is this project's.
    """
    succeeded, failed = sum(s for s, _ in outcomes.values()), sum(f for _, f in outcomes.values())
    usual = ERROR_PRIOR * error_rate(succeeded, failed)
    rates = {uri: (f + usual) / (s + f + ERROR_PRIOR) for uri, (s, f) in outcomes.items()}
    lowest_two = sorted(rates.values())[:2]
    held = set()
    for uri, rate in rates.items():
        others = lowest_two[1:] if rate == lowest_two[0] else lowest_two[:1]
        best_other = others[0] if others else 0.0
        if best_other <= HOLD_QUIET or rate >= best_other + HOLD_MARGIN:
            held.add(uri)
    return held


def slow_start_factor(age_s: float | None, duration_s: float) -> float:
    """
    Return the ramp from SLOW_START_MIN to 1, linear in the time since joining or returning.

    Args:
        age_s: seconds since then; None for a destination that never has to ramp (present at start-up).
        duration_s: length of the ramp; 0 for none.
    """
    if age_s is None or duration_s <= 0 or age_s >= duration_s:
        return 1.0
    return max(SLOW_START_MIN, age_s / duration_s)


def limit_change(factor: float, previous: float, elapsed_s: float, *, growth_per_s: float = GROWTH_PER_S) -> float:
    """
    Keep a learned factor from moving faster than SHRINK_PER_S down and `growth_per_s` up.

    Args:
        factor: what it ought to be now, > 0.
        previous: what is in force, > 0.
        elapsed_s: seconds since `previous` was in force, >= 0.
        growth_per_s: the factor it may grow by in a second, > 1.
    """
    elapsed_s = min(elapsed_s, LONGEST_TICK_S)
    return min(max(factor, previous * math.pow(SHRINK_PER_S, elapsed_s)), previous * math.pow(growth_per_s, elapsed_s))


def shares(weights: Mapping[str, float]) -> dict[str, float]:
    """Return each weight in percent of their sum; all 0 when the sum is 0."""
    total = sum(weights.values())
    return {uri: 100.0 * weight / total if total > 0 else 0.0 for uri, weight in weights.items()}
