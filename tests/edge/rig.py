"""One worker of the control node on a fake server, with a clock and a list that a test sets."""

import itertools
import random
from typing import Any

from steelyard.core.picker import Picker
from steelyard.core.snapshot import Entry, Snapshot, encode
from steelyard.edge.gate import Gate
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.node import ControlNode
from steelyard.edge.pinger import Pinger
from steelyard.edge.prober import Prober
from steelyard.edge.probing import Pongs
from steelyard.edge.router import Router
from steelyard.edge.shared import Board, Dialogs, Facts, InFlight, Load, Offers, Throttles

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message, Sent

START_US = 1_000_000_000


class Rig:
    """A worker, and what a test does around it. Several on one server share its tables."""

    _numbers = itertools.count(1)

    def __init__(self, server: FakeKamailio, control: Any = None) -> None:
        """Build the worker as the product builds it."""
        ksr = server.ksr
        sip = Kamailio(ksr)
        self.server = server
        self.now_us = START_US
        self.version = 0
        self.snapshots, self.probes = Board(ksr, "snapshot"), Board(ksr, "probes")
        self.in_flight, self.facts, self.dialogs = InFlight(ksr), Facts(ksr), Dialogs(ksr)
        self.throttles, self.load = Throttles(ksr), Load(ksr)
        self.offers = Offers(ksr, sip.offered)
        rng = random.Random(7)  # noqa: S311 - traffic
        picker = Picker(rng)
        self.gate = Gate(self.throttles, sip.algorithms(), sip.take_passed, self.clock_us, rng)
        self.router = Router(
            sip,
            self.snapshots,
            self.in_flight,
            self.facts,
            self.dialogs,
            picker,
            self.gate,
            self.load,
            self.clock_us,
        )
        pongs = Pongs(sip, self.facts, self.gate)
        self.pinger = Pinger(sip, self.probes, self.facts, pongs, self.clock_us, self.pass_time, rng)
        self.prober = Prober(sip, self.probes, self.facts, pongs, self.clock_us, rng)
        self.node = ControlNode(sip, self.router, self.pinger, self.prober, control, rng)
        server.script = self.node

    def clock_us(self) -> int:
        """Return the rig's monotonic time."""
        return self.now_us

    def pass_time(self, seconds: float) -> None:
        """Let time pass, for the worker and for the server."""
        self.now_us += round(seconds * 1e6)
        self.server.now_s += seconds

    def publish(self, *entries: Entry, **fields: Any) -> None:
        """Publish a snapshot as the control process does."""
        self.version += 1
        fields.setdefault("reason", "")
        snapshot = Snapshot(version=self.version, entries=entries, **fields)
        self.snapshots.publish(snapshot.version, encode(snapshot))

    def request(self, method: str = "INVITE", **fields: Any) -> Message:
        """Return a new request, like no other."""
        number = next(self._numbers)
        return Message(method, **{"call_id": f"call-{number}", "branch": f"z9hG4bK-{number}", **fields})

    def send(self, method: str = "INVITE", **fields: Any) -> Sent:
        """Let a new request arrive, and return what left for it."""
        before = len(self.server.sent)
        self.server.receive(self.request(method, **fields))
        assert len(self.server.sent) > before, "nothing left"
        return self.server.sent[-1]

    def filed(self) -> list[tuple[str, list[str]]]:
        """Return the facts filed since the last time."""
        return list(self.facts.drain())


def entry(number: int, **fields: Any) -> Entry:
    """Return a destination, sip:127.0.0.1:500<number> with key d<number>."""
    return Entry(
        **{"key": f"d{number}", "uri": uri(number), "weight": 1.0, "address": f"127.0.0.1:500{number}", **fields}
    )


def uri(number: int) -> str:
    """Return the URI of entry(number)."""
    return f"sip:127.0.0.1:500{number}"


def in_order(count: int, **fields: Any) -> list[Entry]:
    """Return destinations that are tried one after the other, by their tiers."""
    return [entry(number, tier=number, **fields) for number in range(1, count + 1)]
