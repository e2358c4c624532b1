"""
Means and counts that forget, by time and not by number of samples.

Each takes the monotonic time of its samples; does not know any clock.
Source: the unevenly spaced form that Finagle's and linkerd's EWMA use, weight exp(-dt / decay_s).
"""

import math


class DecayedSum:
    """A sum whose parts fade with exp(-age / decay_s)."""

    __slots__ = ("_at_s", "_decay_s", "_sum")

    def __init__(self, decay_s: float) -> None:
        """Start at nothing; `decay_s` is the time constant in seconds, > 0."""
        self._decay_s = decay_s
        self._sum = 0.0
        self._at_s = 0.0

    def add(self, amount: float, *, now_s: float) -> None:
        """Add `amount` at `now_s`; a time before the last one counts as the last one."""
        self._sum = self.at(now_s) + amount
        self._at_s = max(self._at_s, now_s)

    def at(self, now_s: float) -> float:
        """Return the sum as it stands at `now_s`, without changing it."""
        age_s = now_s - self._at_s
        return self._sum * math.exp(-age_s / self._decay_s) if age_s > 0 else self._sum


class DecayedMean:
    """The mean of samples, each weighing exp(-age / decay_s)."""

    __slots__ = ("_amount", "_count")

    def __init__(self, decay_s: float) -> None:
        """Start without a sample; `decay_s` is the time constant in seconds, > 0."""
        self._amount = DecayedSum(decay_s)
        self._count = DecayedSum(decay_s)

    def add(self, value: float, *, now_s: float) -> None:
        """Take one sample. Precondition: `value` is finite."""
        self._amount.add(value, now_s=now_s)
        self._count.add(1.0, now_s=now_s)

    def evidence(self, now_s: float) -> float:
        """Return how many samples' worth the mean rests on at `now_s`, >= 0."""
        return self._count.at(now_s)

    @property
    def value(self) -> float | None:
        """The mean, or None before the first sample. Fading alone does not move it."""
        # Both parts fade alike, so their ratio can be read at the moment of the last sample.
        count = self._count.at(0.0)
        return self._amount.at(0.0) / count if count > 0 else None
