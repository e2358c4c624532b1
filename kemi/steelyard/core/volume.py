"""
The set's volume of calls, and on which side of the operator's threshold it is.

Does not know what happens below or above.
"""

from typing import Final

from .ewma import DecayedSum

DECAY_S: Final = 2.0
HYSTERESIS: Final = 0.9  # a set whose volume hovers at the threshold must not flap


class Volume:
    """Calls per second of late; an attempt at another destination counts as a call."""

    def __init__(self) -> None:
        """Start without a call, above a threshold that is none."""
        self._calls = DecayedSum(DECAY_S)
        self.above = True

    def on_call(self, *, now_s: float) -> None:
        """Count one call."""
        self._calls.add(1.0, now_s=now_s)

    def check(self, threshold_cps: float, *, now_s: float) -> str:
        """
        Look on which side of the threshold the volume is now.

        Args:
            threshold_cps: calls per second; 0 for none.
            now_s: monotonic seconds.

        Returns:
            What changed, in words; empty when nothing did.
        """
        rate = self._calls.at(now_s) / DECAY_S
        limit = threshold_cps * HYSTERESIS if self.above else threshold_cps
        above = threshold_cps <= 0 or rate >= limit
        if above is self.above:
            return ""
        self.above = above
        word = "above: the policy decides" if above else "below: round robin by declared weight"
        return f"{rate:.1f} calls per second, threshold {threshold_cps:g}; {word}"
