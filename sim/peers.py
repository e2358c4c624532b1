"""
How others balance, each by its own published rule, over the same downstream proxies.

All of them reroute and count alike, are told of a dead proxy by pings (three lost in a row, two answered: Kamailio's
dispatcher as its documentation sets it up), and share what they count among the workers of one control node.
Does not know Steelyard's rules, but for the turns that smooth weighted round robin takes.
"""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from steelyard.core.turns import Turns

from .calls import ONE_WAY_S
from .clock import Clock
from .downstream import Downstream

PING_INTERVAL_S: Final = 1.0
PING_TIMEOUT_S: Final = 1.0
FALL: Final = 3
RISE: Final = 2
SLOTS: Final = 100  # of the dispatcher's tables

Sent = tuple[int, float]


class Peer:
    """A control node that follows somebody else's rule; subclasses say how it picks."""

    def __init__(
        self, clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], weights: Sequence[float]
    ) -> None:
        """Take who is there and what is told of each; all are taken for well."""
        self.clock = clock
        self.rng = rng
        self.weights = weights
        self.members: set[int] = set()
        self.in_flight = [0] * len(downstreams)
        self.in_progress = [0] * len(downstreams)  # calls sent and not yet hung up
        self._downstreams = downstreams
        self._silences = [0] * len(downstreams)
        self._answers = [RISE] * len(downstreams)
        self.up: list[int] = []

    def join(self, number: int) -> None:
        """Add a destination."""
        self.members.add(number)
        self._refresh()
        self.clock.after(self.rng.random() * PING_INTERVAL_S, self._ping, number)

    def choose(self, candidates: Sequence[int]) -> int:
        """Return one of the candidates, of which there is at least one."""
        raise NotImplementedError

    def pick(self, tried: Collection[int]) -> int | None:
        """Choose among those that are up and have not been tried."""
        candidates = [number for number in self.up if number not in tried] if tried else self.up
        return self.choose(candidates) if candidates else None

    def on_sent(self, number: int) -> Sent:
        """Count it."""
        self.in_flight[number] += 1
        self.in_progress[number] += 1
        return number, self.clock.now_s

    def on_reply(self, sent: Sent, status: int) -> None:
        """Count the first reply."""
        number, _ = sent
        self.in_flight[number] -= 1
        if status != 200:
            self.in_progress[number] -= 1

    def on_hang_up(self, number: int) -> None:
        """Count the end of a call."""
        self.in_progress[number] -= 1

    def on_pong(self, number: int, ping_s: float) -> None:
        """Take the time of a ping's answer; most rules do not."""

    def _refresh(self) -> None:
        self.up = [n for n in sorted(self.members) if self._silences[n] < FALL and self._answers[n] >= RISE]

    def _ping(self, number: int) -> None:
        self.clock.after(PING_INTERVAL_S, self._ping, number)
        ping = _Ping(self.clock.now_s)
        self.clock.after(ONE_WAY_S, self._downstreams[number].ping, lambda _: self._pong(number, ping))
        self.clock.after(PING_TIMEOUT_S, self._missed, number, ping)

    def _pong(self, number: int, ping: "_Ping") -> None:
        if ping.settled:
            return
        ping.settled = True
        self._silences[number] = 0
        self._answers[number] += 1
        self._refresh()
        self.on_pong(number, self.clock.now_s + ONE_WAY_S - ping.sent_s)

    def _missed(self, number: int, ping: "_Ping") -> None:
        if ping.settled:
            return
        ping.settled = True
        self._silences[number] += 1
        if self._silences[number] >= FALL:
            self._answers[number] = 0
        self._refresh()


@dataclass(slots=True)
class _Ping:
    sent_s: float
    settled: bool = False


class WeightedRandom(Peer):
    """Each with a chance in proportion to its weight."""

    def choose(self, candidates: Sequence[int]) -> int:
        """Draw."""
        return self.rng.choices(candidates, [self.weights[n] for n in candidates])[0]


class SmoothRoundRobin(Peer):
    """Smooth weighted round robin; with equal weights, Kamailio's algorithm 4."""

    def __init__(
        self, clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], weights: Sequence[float]
    ) -> None:
        """Start with nobody in the round."""
        super().__init__(clock, rng, downstreams, weights)
        self._turns = Turns()

    def _refresh(self) -> None:
        super()._refresh()
        self._turns.reweigh({str(n): self.weights[n] for n in self.up})

    def choose(self, candidates: Sequence[int]) -> int:
        """Take the next turn."""
        key = self._turns.next({str(n) for n in self.up if n not in candidates})
        return int(key) if key is not None else candidates[0]


class LeastInFlight(Peer):
    """Fewest unanswered requests over the weight; a draw where they are equal."""

    def choose(self, candidates: Sequence[int]) -> int:
        """Compare all."""
        return min(candidates, key=lambda n: (self.in_flight[n] / self.weights[n], self.rng.random()))


class ShortestExpectedDelay(Peer):
    """Fewest unanswered requests, the new one included, over the weight."""

    def choose(self, candidates: Sequence[int]) -> int:
        """Compare all."""
        return min(candidates, key=lambda n: ((self.in_flight[n] + 1) / self.weights[n], self.rng.random()))


class TwoChoices(Peer):
    """The less busy of two, drawn by weight (HAProxy's and Envoy's random with two draws)."""

    def choose(self, candidates: Sequence[int]) -> int:
        """Draw two and compare."""
        one, other = self.rng.choices(candidates, [self.weights[n] for n in candidates], k=2)
        return one if self.in_flight[one] / self.weights[one] <= self.in_flight[other] / self.weights[other] else other


class PeakEwma(Peer):
    """
    The lower response time times unanswered requests of two drawn ones.

    Source: Finagle's and linkerd's peak EWMA: a time above the mean replaces it, one below moves it by its age over
    10 s; 30 ms are taken for who has not answered; a failure counts as 5 s (linkerd 2026).
    """

    DECAY_S: Final = 10.0
    DEFAULT_S: Final = 0.030
    PENALTY_S: Final = 5.0

    def __init__(
        self, clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], weights: Sequence[float]
    ) -> None:
        """Start with the default time for all."""
        super().__init__(clock, rng, downstreams, weights)
        self._times = [(self.DEFAULT_S, 0.0)] * len(downstreams)

    def _now(self, number: int) -> float:
        value, at_s = self._times[number]
        return value * self._kept(at_s)

    def _kept(self, at_s: float) -> float:
        """Return how much of what was known then still counts."""
        return math.exp(-(self.clock.now_s - at_s) / self.DECAY_S)

    def choose(self, candidates: Sequence[int]) -> int:
        """Draw two and compare."""
        one, other = (candidates[int(self.rng.random() * len(candidates))] for _ in range(2))
        costs = [self._now(n) * (self.in_flight[n] + 1) for n in (one, other)]
        return one if costs[0] <= costs[1] else other

    def on_reply(self, sent: Sent, status: int) -> None:
        """Take the time too."""
        super().on_reply(sent, status)
        number, sent_s = sent
        now_s = self.clock.now_s
        elapsed_s = now_s - sent_s if status == 200 else self.PENALTY_S
        value, at_s = self._times[number]
        keep = self._kept(at_s)
        new = elapsed_s if elapsed_s > value else value * keep + elapsed_s * (1.0 - keep)
        self._times[number] = (new, now_s)


class DispatcherSlots(Peer):
    """Kamailio's dispatcher 9 and 11: a shuffled table of a hundred slots, by weight, taken one after the other."""

    def __init__(
        self, clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], weights: Sequence[float]
    ) -> None:
        """Start with an empty table."""
        super().__init__(clock, rng, downstreams, weights)
        self._table: list[int] = []
        self._next = 0

    def _refresh(self) -> None:
        before = self.up
        super()._refresh()
        if self.up == before or not self.up:
            return
        total = sum(self.weights[n] for n in self.up)
        table = [n for n in self.up for _ in range(int(SLOTS * self.weights[n] / total))]
        self._table = table + [self.up[-1]] * (SLOTS - len(table))
        self.rng.shuffle(self._table)

    def choose(self, candidates: Sequence[int]) -> int:
        """Take the next slot of a candidate."""
        for _ in range(SLOTS):
            number = self._table[self._next]
            self._next = (self._next + 1) % SLOTS
            if number in candidates:
                return number
        return candidates[0]


class DispatcherCallLoad(Peer):
    """Kamailio's dispatcher 10: the fewest calls in progress, the first of the list where they are equal."""

    def choose(self, candidates: Sequence[int]) -> int:
        """Compare all."""
        return min(candidates, key=lambda n: self.in_progress[n])


class DispatcherLatency(Peer):
    """
    Kamailio's dispatcher 13: round robin among those of the highest priority once the pings' latency is counted off.

    A priority of 50, as the documentation's example has it; each whole multiple of it in milliseconds takes one off.
    """

    PRIORITY: Final = 50
    KEPT: Final = 0.9  # ds_latency_estimator_alpha 900

    def __init__(
        self, clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], weights: Sequence[float]
    ) -> None:
        """Start without a ping's time."""
        super().__init__(clock, rng, downstreams, weights)
        self._latency_ms: list[float | None] = [None] * len(downstreams)
        self._next = 0

    def on_pong(self, number: int, ping_s: float) -> None:
        """Keep a smoothed latency."""
        last, latest = self._latency_ms[number], float(int(ping_s * 1000))
        self._latency_ms[number] = latest if last is None else last * self.KEPT + latest * (1.0 - self.KEPT)

    def choose(self, candidates: Sequence[int]) -> int:
        """Take the next of the best."""
        size = len(self.weights)
        order = sorted(candidates, key=lambda n: (-self._priority(n), (n - self._next) % size))
        self._next = (order[0] + 1) % size
        return order[0]

    def _priority(self, number: int) -> int:
        latency = self._latency_ms[number] or 0.0
        return max(self.PRIORITY - (int(latency / self.PRIORITY) if latency > self.PRIORITY else 0), 1)


class OpensipsLoadBalancer(Peer):
    """
    OpenSIPS load_balancer, relative: the largest percentage of free capacity, in calls in progress.

    The capacity of its resource is the weight; with its flag `n` a destination beyond it may be chosen too.
    """

    def choose(self, candidates: Sequence[int]) -> int:
        """Compare all; of equal ones the first."""
        return max(candidates, key=self._available)

    def _available(self, number: int) -> int:
        most = max(int(self.weights[number]), 1)
        return 100 - 100 * self.in_progress[number] // most


Make = Callable[[Clock, random.Random, Sequence[Downstream], Sequence[float]], Peer]
