"""
Overload control towards the destinations: what their responses ask of us, and which requests may go to whom.

The client side of RFC 7339 and RFC 7415. Does not pick; says yes or no to a pick.
"""

import re
from collections.abc import Callable, Collection, Iterable
from typing import Final
from urllib.parse import quote

from ..core.feedback import Algorithm, BadFeedback, read_feedback
from ..core.picker import Random
from ..core.snapshot import Entry
from ..core.throttle import Mix, shed_probability
from .kamailio import VIA, Kamailio
from .shared import Facts, Throttles

_CONTROL: Final = re.compile(
    r";\s*oc(?:-validity)?\s*=", re.IGNORECASE
)  # all but one in a thousand responses stop here


class Gate:
    """What one worker lets through to whom."""

    def __init__(
        self,
        throttles: Throttles,
        algorithms: Iterable[Algorithm],
        take_passed: Callable[[], int],
        clock_us: Callable[[], int],
        rng: Random,
    ) -> None:
        """
        Take the shared throttles, the algorithms offered, a count, the monotonic clock in microseconds, randomness.

        `take_passed` returns how many requests within dialogs have passed here uncounted since it was last asked.
        """
        self._throttles = throttles
        self._algorithms = frozenset(algorithms)
        self._take_passed = take_passed
        self._clock_us = clock_us
        self._rng = rng
        self._mix = Mix()
        self._credit: dict[tuple[str, bool], float] = {}  # of destinations, by address and category

    def refresh(self, addresses: Collection[str]) -> None:
        """Forget servers that are no destinations any more."""
        self._credit = {key: credit for key, credit in self._credit.items() if key[0] in addresses}

    def on_request(self, *, priority: bool) -> None:
        """Count a request for the mix of ordinary ones and others."""
        self._mix.on_request(priority=priority, now_us=self._clock_us(), besides=self._take_passed)

    def lets_pass(self, address: str, *, priority: bool) -> bool:
        """Say whether a request may go to a server; one that may not has been shed, and counted."""
        now_us = self._clock_us()
        throttle = self._throttles.in_force(address, now_us)
        if throttle is None:
            return True
        if throttle.algorithm is Algorithm.RATE:
            jitter = self._rng.random() - 0.5
            passes = self._throttles.admits(address, throttle, now_us, jitter, priority=priority)
        else:
            passes = self._is_due(address, throttle.oc, priority=priority)
        if not passes:
            self._throttles.count_shed(address)
        return passes

    def _is_due(self, address: str, oc: int, *, priority: bool) -> bool:
        """
        Let one through whenever the shares let through of those that asked add up to one.

        As many as by lot (RFC 7339 section 5.5), but evenly: a full server's queue is the shorter for it.
        """
        shed = shed_probability(oc, self._mix.ordinary_percent, priority=priority)
        credit = self._credit.get((address, priority), self._rng.random()) + 1.0 - shed
        passes = credit >= 1.0
        self._credit[address, priority] = credit - passes
        return passes

    def is_anybody_in_overload(self) -> bool:
        """
        Say whether any server asks for anything to be kept from it, or did a moment ago.

        What is kept is a part of what would have been sent: picks by the in-flight count, which is low where much was
        shed, would offer ever more to whoever sheds most.
        """
        return self._throttles.is_any_resting(self._clock_us())

    def is_in_overload(self, address: str) -> bool:
        """Say whether a server asks for anything to be kept from it, or did a moment ago."""
        return self._throttles.is_resting(address, self._clock_us())

    def in_overload(self, entries: Iterable[Entry]) -> list[str]:
        """Return the keys of the destinations that cannot take what another one sheds."""
        return [entry.key for entry in entries if self.is_in_overload(entry.address)]

    def on_reply(self, address: str, via: str) -> str:
        """
        Take what a response says of overload.

        Args:
            address: the server it came from, a destination's.
            via: its first Via header, our own Via first.

        Returns:
            What is wrong with it; empty when nothing is.
        """
        if not _CONTROL.search(via):
            return ""
        try:
            feedback = read_feedback(via, self._algorithms)
        except BadFeedback as error:
            return str(error)
        if feedback is not None:
            self._throttles.take(address, feedback, self._clock_us())
        return ""


def heed(sip: Kamailio, gate: Gate, facts: Facts, address: str) -> None:
    """Take what the response at hand says of overload at a destination; what is wrong with it is filed."""
    wrong = gate.on_reply(address, sip.header(VIA))
    if wrong:
        facts.put("feedback", address, quote(wrong))
