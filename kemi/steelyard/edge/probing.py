"""
What pings and INVITE probes have in common: the table that says whom to ask how, what is asked, how an answer is filed.

Does not send anything.
"""

import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from ..core.balancer import Probe
from ..core.destination import address_of
from ..core.load_report import MAX_LENGTH, QUERY, REPORT_HEADER
from ..core.settings import ProbeMethod
from .gate import Gate, heed
from .kamailio import Kamailio
from .shared import Board, Facts

NONE: Final = "-"  # a fact's empty field
PROBED: Final = "probed"  # the transaction's note of whom a probe was for


class ProbeTable:
    """The probes as the control process published them."""

    def __init__(self, board: Board) -> None:
        """Take where they are published."""
        self._board = board
        self._version = 0
        self.probes: Mapping[str, Probe] = {}

    def refresh(self) -> bool:
        """Read the table again if it has changed; return whether it has."""
        version = self._board.version()
        if version == self._version:
            return False
        self._version = version
        self.probes = decode(self._board.text())
        return True


def encode(probes: Mapping[str, Probe]) -> str:
    """Write the table as one line of JSON."""
    return json.dumps(
        {uri: [p.interval_s, p.timeout_s, p.method, p.asks_load, p.overload_control] for uri, p in probes.items()}
    )


def count_invites(probes: Mapping[str, Probe]) -> int:
    """Return how many destinations are to be asked by INVITE."""
    return sum(probe.method is ProbeMethod.INVITE and probe.interval_s > 0 for probe in probes.values())


def decode(text: str) -> dict[str, Probe]:
    """Read what encode wrote."""
    return {
        uri: Probe(interval_s, timeout_s, ProbeMethod(method), asks_load=asks_load, overload_control=control)
        for uri, (interval_s, timeout_s, method, asks_load, control) in json.loads(text).items()
    }


def complete(sip: Kamailio, probe: Probe, uri: str) -> None:
    """Have the request at hand, a probe about to leave, ask what it is to ask; remember whom it is for."""
    if probe.asks_load:
        sip.append_header(QUERY)
    if probe.overload_control:
        sip.offer_overload_control(begun=False)
    sip.remember(PROBED, uri)


class Pongs:
    """Files the final answers to probes."""

    def __init__(self, kamailio: Kamailio, facts: Facts, gate: Gate) -> None:
        """Take the adapters, and the gate that heeds overload control."""
        self._sip = kamailio
        self._facts = facts
        self._gate = gate

    def file(self, now_us: int) -> None:
        """File the answer at hand with all of its load reports; that two are none is said where they are read."""
        sip = self._sip
        heed(sip, self._gate, self._facts, address_of(sip.recall(PROBED)))
        text = ",".join(sip.headers(REPORT_HEADER))[: MAX_LENGTH + 1]  # too long still, and refused for its length
        self._facts.put("pong", sip.call_id(), sip.status(), now_us, sip.source(), quote(text, safe="=,./") or NONE)
