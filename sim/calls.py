"""
Callers: calls arrive at random, are sent by a control node, rerouted when refused or unanswered, answered or lost.

The same for every way to balance. Does not know how any of them picks.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .clock import Clock
from .downstream import Downstream
from .node import SILENCE, Node

ONE_WAY_S: Final = 0.00025
NO_RESPONSE_S: Final = 2.0  # the same for all: Kamailio's fr_timer in its documented configuration, our no_response_s
MAX_ATTEMPTS: Final = 3


@dataclass
class Tally:
    """What became of the calls."""

    began_s: list[float] = field(default_factory=list)  # of each answered call, beside its delay
    delays_s: list[float] = field(default_factory=list)
    lost_s: list[float] = field(default_factory=list)  # when each call began that was not answered with 200
    picks: list[tuple[float, int]] = field(default_factory=list)  # (time, destination) of every attempt


class Callers:
    """Open-loop Poisson calls over some control nodes."""

    def __init__(  # noqa: PLR0913 - one per part of the scene
        self,
        clock: Clock,
        rng: random.Random,
        nodes: Sequence[Node],
        downstreams: Sequence[Downstream],
        *,
        rate_cps: float,
        hold_s: float,
    ) -> None:
        """Prepare; each call comes to one of the nodes at random and lasts an exponential time of mean `hold_s`."""
        self._clock = clock
        self._rng = rng
        self._nodes = nodes
        self._downstreams = downstreams
        self._rate_cps = rate_cps
        self._hold_s = hold_s
        self.tally = Tally()

    def start(self) -> None:
        """Let the first call come."""
        self._clock.after(self._rng.expovariate(self._rate_cps), self._arrive)

    def _arrive(self) -> None:
        self._clock.after(self._rng.expovariate(self._rate_cps), self._arrive)
        node = self._nodes[int(self._rng.random() * len(self._nodes))]
        self._attempt(_Call(node, self._clock.now_s))

    def _attempt(self, call: "_Call") -> None:
        number = call.node.pick(call.tried) if len(call.tried) < MAX_ATTEMPTS else None
        if number is None:
            self.tally.lost_s.append(call.began_s)
            return
        call.tried.append(number)
        self.tally.picks.append((self._clock.now_s, number))
        attempt = _Attempt(call, number, call.node.on_sent(number))
        self._clock.after(ONE_WAY_S, self._downstreams[number].receive, lambda status: self._answer(attempt, status))
        self._clock.after(NO_RESPONSE_S, self._reply, attempt, SILENCE)

    def _answer(self, attempt: "_Attempt", status: int) -> None:
        self._clock.after(ONE_WAY_S, self._reply, attempt, status)

    def _reply(self, attempt: "_Attempt", status: int) -> None:
        if attempt.ended:
            return
        attempt.ended = True
        call = attempt.call
        call.node.on_reply(attempt.sent, status)
        if status in (SILENCE, 503):
            self._attempt(call)
        elif status == 200:
            self.tally.began_s.append(call.began_s)
            self.tally.delays_s.append(self._clock.now_s - call.began_s)
            hold_s = self._rng.expovariate(1.0 / self._hold_s) if self._hold_s else 0.0
            self._clock.after(hold_s, call.node.on_hang_up, attempt.number)
        else:
            self.tally.lost_s.append(call.began_s)


class _Call:
    __slots__ = ("began_s", "node", "tried")

    def __init__(self, node: Node, began_s: float) -> None:
        self.node = node
        self.began_s = began_s
        self.tried: list[int] = []


class _Attempt:
    __slots__ = ("call", "ended", "number", "sent")

    def __init__(self, call: _Call, number: int, sent: Any) -> None:  # noqa: ANN401
        self.call = call
        self.number = number
        self.sent = sent
        self.ended = False
