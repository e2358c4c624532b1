"""
The OPTIONS pings that Kamailio's dispatcher sends: which of them leave, when, and what they ask.

Dispatcher walks its whole list once a second, in a timer process that serves nothing else. Each ping passes here
before it is sent: one that is not due is dropped without a word, the others wait their turn, so that a thousand pings
do not leave in one burst. Their answers are filed as facts by whichever worker receives them.
"""

from collections.abc import Callable
from typing import Final

from ..core.balancer import Probe
from ..core.outcome import FIRST_FINAL
from ..core.picker import Random
from ..core.settings import ProbeMethod
from .kamailio import Kamailio
from .probing import Pongs, ProbeTable, complete
from .shared import Board, Facts

ROUND_S: Final = 1.0  # dispatcher's ds_ping_interval
SPREAD_S: Final = 0.8  # of each round; the rest is slack for the walk itself
MAX_GAP_S: Final = 0.2


class Pinger:
    """What happens to a ping before and after it is sent."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        board: Board,
        facts: Facts,
        pongs: Pongs,
        clock_us: Callable[[], int],
        sleep: Callable[[float], None],
        rng: Random,
    ) -> None:
        """Take the adapters, the monotonic clock in microseconds, a sleep in seconds and the jitter's randomness."""
        self._sip = kamailio
        self._table = ProbeTable(board)
        self._facts = facts
        self._pongs = pongs
        self._clock_us = clock_us
        self._sleep = sleep
        self._rng = rng
        self._sent_us: dict[str, int] = {}
        self._round_began_us = 0
        self._in_round = 0

    def on_local_request(self, uri: str) -> bool:
        """Complete or delay the ping that dispatcher is about to send to `uri`; False when it is not to be sent."""
        if self._table.refresh():
            self._sent_us = {uri: sent for uri, sent in self._sent_us.items() if uri in self._table.probes}
        probe = self._table.probes.get(uri)
        if probe is None or not self._is_wanted(uri, probe):
            return False
        self._await_turn()
        complete(self._sip, probe, uri)
        self._sip.arm_probe("ksr_pong", timeout_s=probe.timeout_s)
        now_us = self._clock_us()
        self._sent_us[uri] = now_us
        self._facts.put("ping", self._sip.call_id(), uri, now_us)
        return True

    def on_pong(self) -> None:
        """File the answer to a ping."""
        if self._sip.status() >= FIRST_FINAL:
            self._pongs.file(self._clock_us())

    def _is_wanted(self, uri: str, probe: Probe) -> bool:
        return probe.method is ProbeMethod.OPTIONS and probe.interval_s > 0 and self._is_due(uri, probe.interval_s)

    def _is_due(self, uri: str, interval_s: float) -> bool:
        sent_us = self._sent_us.get(uri)
        # Half a round early is due: the round after would be half a round late.
        return sent_us is None or self._clock_us() - sent_us >= (interval_s - ROUND_S / 2) * 1e6

    def _await_turn(self) -> None:
        """Wait for this ping's place in the round: evenly spaced, each jittered within its gap."""
        now_us = self._clock_us()
        if now_us - self._round_began_us > (ROUND_S + SPREAD_S) / 2 * 1e6:
            self._round_began_us = now_us
            self._in_round = 0
        gap_s = min(SPREAD_S / max(len(self._table.probes), 1), MAX_GAP_S)
        turn_us = self._round_began_us + (self._in_round + self._rng.random()) * gap_s * 1e6
        self._in_round += 1
        if turn_us > now_us:
            self._sleep((turn_us - now_us) / 1e6)
