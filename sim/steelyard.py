"""
Steelyard's control node in virtual time: the same balancer, picker and in-flight counts that run in Kamailio.

What Kamailio's processes do with them is played here: workers that pick and file facts, a control process that ticks
ten times a second, pings that wait in the destinations' lines. Overload control is not played.
Does not know the other ways to balance.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from steelyard.core.balancer import Balancer
from steelyard.core.declared import Declared, read_list
from steelyard.core.outcome import of_status
from steelyard.core.picker import Picker
from steelyard.core.roster import Throttled
from steelyard.core.snapshot import Entry, Snapshot
from steelyard.edge.shared import InFlight

from .calls import ONE_WAY_S
from .clock import Clock
from .downstream import Downstream
from .node import SILENCE

TICK_S: Final = 0.1
SWEEP_S: Final = 1.0
JITTER: Final = 0.2  # of the time between two pings
FIRST_PORT: Final = 5000
HOST: Final = "127.0.0.1"


def uri_of(number: int) -> str:
    """Return the URI of a destination."""
    return f"sip:{HOST}:{FIRST_PORT + number}"


class _Sent(NamedTuple):
    key: str
    at_s: float
    in_flight: int
    no_response_s: float


class _Table(dict[str, int]):
    """Kamailio's htable, as far as in-flight counts need it."""

    def sht_get(self, _table: str, name: str) -> int | None:
        return self.get(name)

    def sht_inc(self, _table: str, name: str) -> int:
        self[name] = value = self.get(name, 0) + 1
        return value

    def sht_dec(self, _table: str, name: str) -> int:
        self[name] = value = self.get(name, 0) - 1
        return value

    def sht_rm(self, _table: str, name: str) -> None:
        self.pop(name, None)


class _Ksr:
    def __init__(self) -> None:
        self.htable = _Table()


class _Worker:
    def __init__(self, rng: random.Random) -> None:
        self.picker = Picker(rng)
        self.version = 0


class SteelyardNode:
    """One control node with its workers."""

    def __init__(  # noqa: PLR0913 - one per part of the scene
        self,
        clock: Clock,
        rng: random.Random,
        downstreams: Sequence[Downstream],
        *,
        workers: int,
        asks_load: bool,
        settings: Mapping[str, str],
    ) -> None:
        """Start with an empty list."""
        self._clock = clock
        self._rng = rng
        self._downstreams = downstreams
        self._settings = {"load_reports": "on" if asks_load else "off", **settings}
        self._asks_load = asks_load
        self._balancer = Balancer()
        self._declared = Declared()
        self._in_flight = InFlight(_Ksr())
        self._snapshot = Snapshot()
        self._entries: dict[str, Entry] = {}
        self._keys: dict[int, str] = {}
        self._workers = [_Worker(rng) for _ in range(workers)]
        self._facts: list[Callable[[float], object]] = []
        self._intervals_s: dict[str, float] = {}
        self._pinged: set[str] = set()
        self._pings = 0
        self._swept_s = 0.0
        clock.after(rng.random() * TICK_S, self._tick)

    def declare(self, weights: Mapping[int, float]) -> None:
        """Put the operator's list in force."""
        text = {uri_of(number): f"{weight:.6g}" for number, weight in weights.items()}
        self._declared, rejected = read_list({"weight": text, "settings": self._settings}, self._declared)
        if rejected:
            raise ValueError(f"the simulator's list was refused: {rejected}")
        self._balancer.declare(self._declared, now_s=self._clock.now_s)
        self._decide()

    # --- workers ---

    def pick(self, tried: Collection[int]) -> int | None:
        """Let one of the workers pick."""
        worker = self._workers[int(self._rng.random() * len(self._workers))]
        if worker.version != self._snapshot.version:
            worker.version = self._snapshot.version
            worker.picker.refresh(self._snapshot)
        entry = worker.picker.pick(self._in_flight.count, [self._keys[number] for number in tried])
        return None if entry is None else _number_of(entry.uri)

    def on_sent(self, number: int) -> _Sent:
        """Take a place."""
        key, now_s = self._keys[number], self._clock.now_s
        _, in_flight = self._in_flight.enter(key, _us(now_s))
        return _Sent(key, now_s, in_flight, self._entries[key].no_response_s)

    def on_reply(self, sent: _Sent, status: int) -> None:
        """File the fact; give the place back, or hold it after a failure."""
        key, at_s, in_flight, no_response_s = sent
        now_s = self._clock.now_s
        balancer = self._balancer
        if status == SILENCE:
            self._facts.append(lambda s: balancer.on_silence(key, now_s=s))
        else:
            elapsed_s = now_s - at_s
            self._facts.append(lambda s: balancer.on_answer(key, elapsed_s, in_flight, status, 0.0, now_s=s))
        entry = self._entries.get(key)
        failed = status == SILENCE or of_status(status).failed
        if not failed or (entry is not None and not entry.holds):
            self._in_flight.leave(key, _us(at_s), _us(now_s), no_response_s)

    def on_hang_up(self, number: int) -> None:
        """Take no note: calls in progress are not load."""

    # --- the control process ---

    def _tick(self) -> None:
        now_s = self._clock.now_s
        self._clock.after(TICK_S, self._tick)
        facts, self._facts = self._facts, []
        for fact in facts:
            fact(now_s)
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            for key, no_response_s in self._balancer.answer_times().items():
                self._in_flight.sweep(key, _us(now_s), no_response_s)
        self._decide()

    def _decide(self) -> None:
        now_s = self._clock.now_s
        decision = self._balancer.decide(self._in_flight.count, _unthrottled, now_s=now_s)
        if decision.snapshot is not None:
            self._snapshot = decision.snapshot
            self._entries = {entry.key: entry for entry in decision.snapshot.entries}
            self._keys.update((_number_of(entry.uri), entry.key) for entry in decision.snapshot.entries)
        if decision.probes is not None:
            self._intervals_s = {uri: probe.interval_s for uri, probe in decision.probes.items()}
            for uri in self._intervals_s.keys() - self._pinged:
                self._pinged.add(uri)
                self._clock.after(self._rng.random(), self._ping, uri)

    # --- pings ---

    def _ping(self, uri: str) -> None:
        interval_s = self._intervals_s.get(uri, 0.0)
        if interval_s <= 0:
            self._pinged.discard(uri)
            return
        self._clock.after(interval_s * (1.0 + JITTER * (2.0 * self._rng.random() - 1.0)), self._ping, uri)
        self._pings += 1
        call_id, sent_s = f"ping{self._pings}", self._clock.now_s
        self._facts.append(lambda _: self._balancer.on_ping(call_id, uri, sent_s=sent_s))
        downstream = self._downstreams[_number_of(uri)]
        self._clock.after(ONE_WAY_S, downstream.ping, lambda status: self._pong(call_id, status, downstream))

    def _pong(self, call_id: str, status: int, downstream: Downstream) -> None:
        report = downstream.report() if self._asks_load else ""
        received_s = self._clock.now_s + ONE_WAY_S
        self._facts.append(lambda _: self._balancer.on_pong(call_id, status, HOST, report, received_s=received_s))


def _number_of(uri: str) -> int:
    return int(uri.rpartition(":")[2]) - FIRST_PORT


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _unthrottled(_address: str) -> Throttled:
    return Throttled(None, 0)
