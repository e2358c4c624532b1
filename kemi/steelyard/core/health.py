"""
Up or down, by answers and silences in a row, and when to probe next.

Any answer is a sign of life, to a ping or to a call: only what is silent goes down.
Does not know what a probe is made of.
"""

from typing import Final

BACK_OFF_CAP_S: Final = 5.0  # a destination that heals is noticed within this and one round trip


class Health:
    """The health of one destination, taken as up until it proves silent."""

    __slots__ = ("answers", "silences", "up")

    def __init__(self) -> None:
        """Start up: a proxy that was just declared gets the benefit of the doubt, through slow start."""
        self.up = True
        self.answers = 0
        self.silences = 0

    def on_answer(self, *, rise: int) -> bool:
        """Count a sign of life; return True when it brings the destination back up."""
        self.silences = 0
        self.answers += 1
        if self.up or self.answers < rise:
            return False
        self.up = True
        return True

    def on_silence(self, *, fall: int) -> bool:
        """Count a failed probe; return True when it takes the destination down."""
        self.answers = 0
        self.silences += 1
        if not self.up or self.silences < fall:
            return False
        self.up = False
        return True

    def probe_interval(self, interval_s: float, *, fall: int) -> float:
        """
        Return the seconds until the next probe is due.

        A destination that stays down is asked ever less often (RFC 7339 section 5.9 wants a back-off),
        but never less often than BACK_OFF_CAP_S or its own interval, whichever is longer.
        """
        if self.up:
            return interval_s
        doubled = interval_s * 2.0 ** min(max(self.silences - fall, 0), 16)
        return min(doubled, max(interval_s, BACK_OFF_CAP_S))
