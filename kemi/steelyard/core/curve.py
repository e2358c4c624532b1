"""
How a destination's response time goes with the number of requests it has in hand.

A regression line through (in-flight count, response time) of the answers of late. Does not know other destinations.
"""

from .ewma import DecayedSum

_LEAST_VARIANCE = 0.02  # of the in-flight count; below it a slope would be noise
_SLOPE_PRIOR = 50.0  # answers' worth of doubt: a slope is believed by half after as many


class ResponseCurve:
    """Decayed sums of the samples (n, t): n requests in flight, the one that waited t seconds included."""

    __slots__ = ("_n", "_nn", "_nt", "_t", "_w")

    def __init__(self, decay_s: float) -> None:
        """Start without a sample; `decay_s` is the time constant in seconds, > 0."""
        self._w, self._n, self._nn, self._t, self._nt = (DecayedSum(decay_s) for _ in range(5))

    def add(self, in_flight: int, response_time_s: float, *, now_s: float) -> None:
        """Take one answer. Preconditions: in_flight >= 1, response_time_s >= 0, both finite."""
        n, t = float(in_flight), response_time_s
        for total, amount in zip(
            (self._w, self._n, self._nn, self._t, self._nt), (1.0, n, n * n, t, n * t), strict=True
        ):
            total.add(amount, now_s=now_s)

    def evidence(self, now_s: float) -> float:
        """Return how many answers' worth there is, >= 0."""
        return self._w.at(now_s)

    def in_flight_sum(self, now_s: float) -> float:
        """Return the decayed sum of the in-flight counts."""
        return self._n.at(now_s)

    def time_sum(self, now_s: float) -> float:
        """Return the decayed sum of the response times, in seconds."""
        return self._t.at(now_s)

    def mean_time(self, now_s: float) -> float | None:
        """Return the mean response time in seconds, None without a sample."""
        weight = self._w.at(now_s)
        return self._t.at(now_s) / weight if weight > 0 else None

    def slope(self, now_s: float) -> float:
        """Return by how many seconds one more request in flight prolongs an answer; of either sign, 0 when unknown."""
        weight = self._w.at(now_s)
        if weight <= 0:
            return 0.0
        n, t = self._n.at(now_s) / weight, self._t.at(now_s) / weight
        variance = self._nn.at(now_s) / weight - n * n
        if variance <= _LEAST_VARIANCE:
            return 0.0
        covariance = self._nt.at(now_s) / weight - n * t
        return covariance / variance * weight / (weight + _SLOPE_PRIOR)
