"""
INVITE probes: any proxy answers one itself, because it may go no further, and tells its load in the answer.

    INVITE, Max-Forwards: 0 --> 483 from a proxy that keeps RFC 3261
                            --> 2xx from one that does not: ended with BYE, so that no call stays behind

A process of its own sends them, each destination's at its own time. Their answers reach a SIP worker, which files them
as facts. Kamailio sends ACK, and CANCEL when a provisional answer lingers.
"""

from collections.abc import Callable
from typing import Any, Final

from ..core.outcome import FIRST_FINAL
from ..core.settings import ProbeMethod
from .kamailio import Kamailio
from .probing import PROBED, Pongs, ProbeTable, complete
from .shared import Board, Facts

FROM_URI: Final = "sip:steelyard@localhost"  # as kamailio.cfg has it for dispatcher's pings
JITTER: Final = 0.1  # of the interval, either way: destinations stay out of step
ENDED: Final = "ended"  # the transaction's note of the To tags that BYE was sent for


class Prober:
    """What becomes of INVITE probes, before and after they are sent."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        board: Board,
        facts: Facts,
        pongs: Pongs,
        clock_us: Callable[[], int],
        rng: Any,  # noqa: ANN401 - random.Random, or what a test puts in its place
    ) -> None:
        """Take the adapters, the monotonic clock in microseconds and randomness."""
        self._sip = kamailio
        self._table = ProbeTable(board)
        self._facts = facts
        self._pongs = pongs
        self._clock_us = clock_us
        self._rng = rng
        self._due_us: dict[str, int] = {}
        self._at: str = ""  # whom the probe is for that is being sent

    def tick(self) -> None:
        """Send the probes that are due."""
        now_us = self._clock_us()
        if self._table.refresh():
            self._due_us = {uri: due for uri, due in self._due_us.items() if uri in self._table.probes}
        for uri, probe in self._table.probes.items():
            if probe.method is not ProbeMethod.INVITE or probe.interval_s <= 0:
                self._due_us.pop(uri, None)
                continue
            interval_us = probe.interval_s * 1e6
            due_us = self._due_us.get(uri)
            # A destination that was down was asked ever less often: when it comes up, the old date is far off.
            if due_us is None or due_us > now_us + interval_us * (1 + JITTER):
                due_us = self._due_us[uri] = now_us + int(self._rng.random() * min(interval_us, 1e6))
            if due_us > now_us:
                continue
            self._due_us[uri] = now_us + int(interval_us * (1 + JITTER * (2 * self._rng.random() - 1)))
            self._send(uri)

    def _send(self, uri: str) -> None:
        number = f"{self._rng.getrandbits(64):016x}"
        headers = (
            f"From: <{FROM_URI}>;tag={number[:8]}\r\nTo: <{uri}>\r\nCall-ID: probe-{number}\r\n"
            f"CSeq: 1 INVITE\r\nMax-Forwards: 0\r\nContact: <{FROM_URI}>\r\n"
        )
        self._at = uri
        if not self._sip.send("INVITE", uri, uri, headers):
            # It never left: waited for in vain like one that was lost.
            self._facts.put("ping", f"probe-{number}", uri, self._clock_us())
        self._at = ""

    def on_local_request(self) -> None:
        """Complete the probe that is about to leave."""
        probe = self._table.probes.get(self._at)
        if probe is None:
            return  # not ours
        complete(self._sip, probe, self._at)
        self._sip.arm_probe("ksr_probe_reply", timeout_s=probe.timeout_s)
        self._facts.put("ping", self._sip.call_id(), self._at, self._clock_us())

    def on_reply(self) -> None:
        """File the answer to a probe; one that accepts a call ends it."""
        status = self._sip.status()
        if status < FIRST_FINAL:
            return
        self._pongs.file(self._clock_us())
        if status < 300:
            self._end_call()

    def _end_call(self) -> None:
        """Send BYE once for each dialog, however often its 2xx comes."""
        sip = self._sip
        ended = sip.recall(ENDED).split()
        tag = sip.to_tag() or "none"
        if tag in ended:
            return
        sip.remember(ENDED, " ".join([*ended, tag]))
        uri = sip.recall(PROBED)
        headers = (
            f"From: {sip.header('From')}\r\nTo: {sip.header('To')}\r\nCall-ID: {sip.call_id()}\r\n"
            "CSeq: 2 BYE\r\nMax-Forwards: 70\r\n"
        )
        headers += "".join(f"Route: {route}\r\n" for route in reversed(sip.headers("Record-Route")))
        if not sip.send("BYE", sip.contact_uri() or uri, uri, headers):
            sip.warn(f"probe {sip.call_id()} was answered {sip.status()} by {uri}, and its BYE could not be sent")
