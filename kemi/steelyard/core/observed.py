"""
What is known of one destination from its own answers.

Facts go in by past-tense methods with the monotonic time of the fact; does not know weights or other destinations.
"""

from dataclasses import dataclass, field
from typing import Final

from .capacity import MIN_EVIDENCE
from .curve import LEAST_BEND, ResponseCurve
from .ewma import DecayedMean, DecayedSum
from .feedback import Algorithm
from .health import Health
from .load_report import LoadReport
from .outcome import FIRST_FINAL, Outcome, of_status
from .reported import Reported
from .throttle import Throttle
from .weight import FAILURES_FORGIVEN, error_rate

DECAY_S: Final = 10.0  # of outcomes; Finagle, linkerd and Envoy's contrib estimator use the same
CURVE_DECAY_S: Final = 5.0  # simulated: half the time of 10 s until a slowed proxy has its share, little more noise
PING_DECAY_S: Final = 5.0
SHED_DECAY_S: Final = 2.0
HOLD_DECAY_S: Final = 30.0
ALONE_S: Final = 1.0  # without a good answer after failures, as good as one failure more
LINEAR_UTILIZATION: Final = 0.85  # above it a request's time is mostly waiting, and tells nothing of the proxy's room


def _slow_mean() -> DecayedMean:
    return DecayedMean(DECAY_S)


def _hold_mean() -> DecayedMean:
    return DecayedMean(HOLD_DECAY_S)


def _curve() -> ResponseCurve:
    return ResponseCurve(CURVE_DECAY_S)


def _slow_sum() -> DecayedSum:
    return DecayedSum(DECAY_S)


@dataclass(slots=True)
class Observed:
    """The observed side of a destination; `key` names it in shared memory and is never used for another."""

    key: str
    address: str = ""  # host:port, by which overload control is kept
    ramp_from_s: float | None = None  # when slow start began; None for a destination that does not ramp
    health: Health = field(default_factory=Health)
    curve: ResponseCurve = field(default_factory=_curve)  # of calls, from sent to first reply
    base_s: float | None = None  # response time while it has workers to spare, None while calls do not tell it
    ping_time: DecayedMean = field(default_factory=lambda: DecayedMean(PING_DECAY_S))  # seconds
    successes: DecayedSum = field(default_factory=_slow_sum)
    failures: DecayedSum = field(default_factory=_slow_sum)
    trying_time: DecayedMean = field(default_factory=_slow_mean)  # seconds from sent to 100 Trying
    beyond_time: DecayedMean = field(default_factory=_slow_mean)  # seconds from sent to what followed the 100
    reported: Reported = field(default_factory=Reported)
    agent: LoadReport = field(default_factory=LoadReport)  # the agent's word: percent, state, down
    hold_time: DecayedMean = field(default_factory=_hold_mean)  # seconds, while not crowded
    throttle: Throttle | None = None  # overload control in force towards it
    overload_s: float | None = None  # when overload control was last in force, until that is told to be over
    shed: int = 0  # requests that were kept from it
    shed_per_s: DecayedSum = field(default_factory=lambda: DecayedSum(SHED_DECAY_S))
    retry_after_until_s: float = 0.0
    disabled: bool = False  # by dispatcher.set_state
    last_failures: int = 0  # calls, not pings, that failed since the last one that did not
    last_failure_s: float = 0.0  # when the last of them did
    capacity: float = 1.0  # the factors as in force, limited in their speed
    errors: float = 1.0

    def on_answer(self, response_time_s: float, in_flight: int, status: int, *, now_s: float) -> None:
        """
        Take a call's first reply.

        A provisional one says how fast the destination is, and nothing yet of how the call ends; a failure's time is
        that of its refusal and says nothing of speed.
        """
        outcome = of_status(status)
        if status >= FIRST_FINAL:
            self.on_outcome(outcome, now_s=now_s)
        if not outcome.failed:
            self.curve.add(in_flight, response_time_s, now_s=now_s)

    def on_outcome(self, outcome: Outcome, *, now_s: float) -> None:
        """Count how a call ended."""
        if outcome.failed:
            self.last_failures += 1
            self.last_failure_s = now_s
            self.failures.add(1.0, now_s=now_s)
        else:
            self.last_failures = 0
            self.successes.add(1.0, now_s=now_s)

    def on_pong(self, response_time_s: float, outcome: Outcome, *, now_s: float) -> None:
        """
        Take the answer to a ping.

        One that refuses is a sign of refused calls; one that does not is none of good ones: a proxy may well answer
        pings and fail at calls.
        """
        self.ping_time.add(response_time_s, now_s=now_s)
        if outcome.failed:
            self.failures.add(1.0, now_s=now_s)

    def on_report(self, report: LoadReport, source: str, *, interval_s: float, now_s: float) -> None:
        """Take a load report; `source` says in a word how it came, `interval_s` how often one comes."""
        self.reported.on_report(report, source, interval_s=interval_s, now_s=now_s)
        time_s = self.curve.mean_time(now_s) if self.has_evidence(now_s) else None
        told = report.utilization is not None and report.rps is not None
        if time_s and told and (report.utilization or 0.0) < LINEAR_UTILIZATION:
            self.hold_time.add(time_s, now_s=now_s)

    def on_throttled(self, throttle: Throttle | None, shed: int, *, now_s: float) -> None:
        """Take the overload control in force, and how many requests it has kept away so far."""
        self.throttle = throttle
        if shed > self.shed:
            self.shed_per_s.add(shed - self.shed, now_s=now_s)
        self.shed = shed

    def overload_percent(self, now_s: float) -> float:
        """Return which part of what is meant for it is to be kept from it, 0..100."""
        if self.throttle is None:
            return 0.0
        if self.throttle.algorithm is Algorithm.LOSS:
            return float(self.throttle.oc)
        shed, sent = self.shed_per_s.at(now_s) / SHED_DECAY_S, self.curve.evidence(now_s) / CURVE_DECAY_S
        return 100.0 * shed / (shed + sent) if shed > 0 else 0.0

    def on_restart(self, *, now_s: float) -> None:
        """Forget what was learned before the destination was away, and ramp its share up again."""
        self.ramp_from_s = now_s
        self.last_failures = 0
        self.capacity = self.errors = 1.0
        self.curve = _curve()
        self.base_s = None
        self.reported.on_restart(now_s=now_s)
        self.hold_time = _hold_mean()
        self.successes, self.failures = _slow_sum(), _slow_sum()

    def bend(self, unit_cps: float) -> float:
        """
        Return how many requests it has in hand when the last of its workers becomes busy, >= 1.

        Args:
            unit_cps: the requests per second for which a capacity of 1 stands.
        """
        return LEAST_BEND if self.base_s is None else max(self.base_s * unit_cps * self.capacity, LEAST_BEND)

    def outcomes(self, now_s: float) -> tuple[float, float]:
        """Return successes and failures of late."""
        return self.successes.at(now_s), self.failures.at(now_s)

    def error_rate(self, now_s: float) -> float:
        """Return the part of attempts that failed lately, 0..1."""
        return error_rate(*self.outcomes(now_s))

    def failed_in_a_row(self, now_s: float) -> int:
        """
        Return how many calls failed since the last that did not; 0 once that is so long ago that it has faded.

        Failures keep calls away, so that the one which would make the row long enough may be long in coming: a second
        without a good answer stands for it.
        """
        if self.failures.at(now_s) < 1:
            return 0
        alone = self.last_failures >= FAILURES_FORGIVEN and now_s - self.last_failure_s >= ALONE_S
        return self.last_failures + alone

    def has_evidence(self, now_s: float) -> bool:
        """Say whether enough calls were answered lately to judge by them."""
        return self.curve.evidence(now_s) >= MIN_EVIDENCE

    def hides_behind_100(self, now_s: float) -> bool:
        """
        Say whether 100 Trying comes so much sooner than what follows that it cannot be a sign of work done.

        Ringing makes what follows late by itself, so only a 100 within a hundredth of it counts.
        """
        trying, beyond = self.trying_time.value, self.beyond_time.value
        if trying is None or beyond is None or self.beyond_time.evidence(now_s) < MIN_EVIDENCE:
            return False
        return beyond > 0.02 and trying * 100 < beyond
