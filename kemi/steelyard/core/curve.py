"""
How a destination's response time goes with the number of requests it has in hand.

Flat while it has workers to spare, and in proportion to the number once all of them are busy: t = max(base, n /
capacity), by Little's law. Where the one becomes the other is the bend, base x capacity. It is found by itself: answers
up to the bend as it was last seen tell the base, those beyond it the capacity, and both together the next bend; below
the true one that is drawn up, above it down. A destination that never had more in hand than its workers can serve at
once is taken to have as many as have been seen: nothing is known of what more would do.
Does not know other destinations.
"""

from dataclasses import dataclass
from typing import Final

from .ewma import DecayedSum

LEAST_BEND: Final = 1.0


@dataclass(frozen=True, slots=True)
class Usual:
    """What a destination is taken for that has not shown itself: a time in seconds, a bend in requests, both >= 0."""

    base_s: float
    bend: float


class ResponseCurve:
    """Decayed sums of the samples (n, t): n requests in flight, the one that waited t seconds included."""

    __slots__ = ("_above", "_above_n", "_above_t", "_below", "_below_t", "bend")

    def __init__(self, decay_s: float) -> None:
        """Start without a sample; `decay_s` is the time constant in seconds, > 0."""
        self._below, self._below_t = DecayedSum(decay_s), DecayedSum(decay_s)
        self._above, self._above_n, self._above_t = DecayedSum(decay_s), DecayedSum(decay_s), DecayedSum(decay_s)
        self.bend = LEAST_BEND

    def add(self, in_flight: int, response_time_s: float, *, now_s: float) -> None:
        """Take one answer. Preconditions: in_flight >= 1, response_time_s >= 0, both finite."""
        if in_flight <= self.bend:
            self._below.add(1.0, now_s=now_s)
            self._below_t.add(response_time_s, now_s=now_s)
        else:
            self._above.add(1.0, now_s=now_s)
            self._above_n.add(float(in_flight), now_s=now_s)
            self._above_t.add(response_time_s, now_s=now_s)

    def evidence(self, now_s: float) -> float:
        """Return how many answers' worth there is, >= 0."""
        return self._below.at(now_s) + self._above.at(now_s)

    def mean_time(self, now_s: float) -> float | None:
        """Return the mean response time in seconds, None without a sample."""
        weight = self.evidence(now_s)
        return (self._below_t.at(now_s) + self._above_t.at(now_s)) / weight if weight > 0 else None

    def base_sum(self, now_s: float) -> float:
        """Return the sum of the times in seconds as they would have been without a wait."""
        above_n = self._above_n.at(now_s)
        part = min(self.bend * self._above.at(now_s) / above_n, 1.0) if above_n > 0 else 0.0
        return self._below_t.at(now_s) + self._above_t.at(now_s) * part

    def fit(self, usual: Usual, *, doubt: float, floor_s: float, now_s: float) -> tuple[float, float]:
        """
        Find base time and capacity, and with them the bend.

        Args:
            usual: what it is taken for without answers.
            doubt: answers' worth of that in each of the two, > 0.
            floor_s: added to every time, > 0: differences below it are noise.
            now_s: monotonic seconds.

        Returns:
            (seconds, requests per second), both > 0.
        """
        base_s = (self._below_t.at(now_s) + doubt * usual.base_s) / (self._below.at(now_s) + doubt) + floor_s
        n = self._above_n.at(now_s) + doubt * max(usual.bend, LEAST_BEND)
        t = self._above_t.at(now_s) + self._above.at(now_s) * floor_s + doubt * base_s
        self.bend = max(n / t * base_s, LEAST_BEND)
        return base_s, n / t
