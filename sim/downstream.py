"""
A downstream proxy as a queue: one line, some workers, random service times; and the ways in which it can break.

Does not know who sends to it.
"""

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .clock import Clock

PING_S: Final = 0.0002  # what a proxy takes to answer a ping itself
HEAVY_SIGMA: Final = math.sqrt(math.log(5.0))  # of a lognormal time whose squared coefficient of variation is 4
REFUSAL_S: Final = 0.0005

Answer = Callable[[int], object]


class Shape(StrEnum):
    """How service times are distributed around their mean."""

    EXPONENTIAL = "exponential"
    CONSTANT = "constant"
    HEAVY = "heavy-tailed"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a downstream proxy is made of."""

    workers: int
    service_s: float  # mean

    @property
    def capacity_cps(self) -> float:
        """Calls per second it can serve."""
        return self.workers / self.service_s


class Downstream:
    """One proxy; its faults are plain attributes, changed at any time."""

    def __init__(self, clock: Clock, rng: random.Random, kind: Kind, shape: Shape) -> None:
        """Start idle and well."""
        self._clock = clock
        self._rng = rng
        self._kind = kind
        self._shape = shape
        self._line: deque[tuple[Answer, float]] = deque()
        self._busy = 0
        self._life = 0
        self._stopped: list[Answer] | None = None  # what ended while it was stopped; None while it is not
        self._dead = False
        self._busy_s, self._since_s, self._arrived, self._reported_s = 0.0, 0.0, 0, 0.0
        self._last_report = ""
        self.slower = 1.0  # service times over the usual ones
        self.refusing = 0.0  # part of the calls that it answers 503 at once
        self.failing = 0.0  # part of the calls that it answers 500 at once
        self.reporting = True  # False: it repeats its last report
        self.received = 0

    # --- what comes in ---

    def receive(self, answer: Answer) -> None:
        """Take a call; `answer` is called with a status once it has been served."""
        if self._dead:
            return
        self.received += 1
        self._arrived += 1
        if self._stopped is None:
            draw = self._rng.random()
            if draw < self.refusing + self.failing:
                self._clock.after(REFUSAL_S, answer, 503 if draw < self.refusing else 500)
                return
        self._take(answer, self._service_s())

    def ping(self, answer: Answer) -> None:
        """Take a ping: it waits in the same line, and is soon served."""
        if not self._dead:
            self._take(answer, PING_S)

    def report(self) -> str:
        """Return the load report of the time since the last one, as the header has it."""
        now_s = self._clock.now_s
        elapsed_s = now_s - self._reported_s
        if self.reporting and elapsed_s > 0:
            self._account()
            utilization = min(self._busy_s / elapsed_s / self._kind.workers, 1.0)
            rate = self._arrived / elapsed_s
            self._last_report = f"TEXT application_utilization={utilization:.4f},rps_fractional={rate:.3f}"
            self._busy_s, self._arrived, self._reported_s = 0.0, 0, now_s
        return self._last_report

    # --- faults ---

    def stop(self) -> None:
        """Be silent, keeping all that is in hand (SIGSTOP)."""
        self._stopped = []

    def go_on(self) -> None:
        """Go on where it stopped (SIGCONT)."""
        held, self._stopped = self._stopped or [], None
        for answer in held:
            self._end(answer, self._life)
        self._start_waiting()

    def kill(self) -> None:
        """Lose all that is in hand."""
        self._account()
        self._dead, self._busy = True, 0
        self._life += 1
        self._line.clear()

    def restart(self) -> None:
        """Be there again, with nothing in hand."""
        self._dead = False

    # --- the queue ---

    def _service_s(self) -> float:
        mean_s = self._kind.service_s * self.slower
        match self._shape:
            case Shape.EXPONENTIAL:
                return self._rng.expovariate(1.0 / mean_s)
            case Shape.CONSTANT:
                return mean_s
            case Shape.HEAVY:
                return mean_s * self._rng.lognormvariate(-(HEAVY_SIGMA**2) / 2, HEAVY_SIGMA)

    def _take(self, answer: Answer, service_s: float) -> None:
        if self._stopped is None and self._busy < self._kind.workers:
            self._serve(answer, service_s)
        else:
            self._line.append((answer, service_s))

    def _serve(self, answer: Answer, service_s: float) -> None:
        self._account()
        self._busy += 1
        self._clock.after(service_s, self._end, answer, self._life)

    def _end(self, answer: Answer, life: int) -> None:
        if life != self._life:
            return
        if self._stopped is not None:
            self._stopped.append(answer)
            return
        self._account()
        self._busy -= 1
        answer(200)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while self._line and self._busy < self._kind.workers:
            self._serve(*self._line.popleft())

    def _account(self) -> None:
        """Add the busy workers' time since the last change."""
        self._busy_s += self._busy * (self._clock.now_s - self._since_s)
        self._since_s = self._clock.now_s
