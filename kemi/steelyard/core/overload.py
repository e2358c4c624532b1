"""
A server's own overload: how much its clients are to shed, what its responses say of it, and who does not listen.

Utilization and the queue go in every quarter of a second, a loss in percent comes out: RFC 6357's control function.
Does not know how utilization is measured, who offered to listen or how a request is rejected.
Source: RFC 6357 section 6, RFC 7339 sections 4, 5 and 11. The constants of LossControl are those with which
tests/unit/test_overload.py simulates it.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from .feedback import Algorithm, Feedback, Seq
from .throttle import shed_probability

SMOOTHING_S: Final = 0.8  # one sample a quarter of a second, noisy by 4 %: about 27 % of each counts
TOLERATED_WAIT_S: Final = 0.1
CERTAIN_WAIT_S: Final = 0.25  # no burst that need be shed makes a longer queue than that
DRAINED_WITHIN_S: Final = 1.5
DECLARED_AFTER: Final = 4  # updates above the target in a row: a burst that fills all workers for a second is none
LEAST_PASS: Final = 0.01  # something must get through, or nothing would tell that the overload is over
LEAST_TARGET: Final = 0.4  # while a queue is worked off
LEAST_DEMAND: Final = 0.01  # avoids a division by zero
MOST_GROWTH: Final = 1.25  # in one update: a moment of silence is not the end of an overload
FULL: Final = 0.99
UNSEEN: Final = 1.2  # what a full server is taken to be offered where its queue cannot be seen

VALIDITY_MS: Final = 1000
RENEW_S: Final = 0.5  # a client lets feedback of a number it knows expire, so a new one comes at half the validity
MOST_COUNT: Final = 99_999  # the five digits of oc-seq's second field

WINDOW_S: Final = 1.0
WINDOWS: Final = 5  # in a row, before a client is called non-conforming
PENALTY_S: Final = 60.0
CHANCE: Final = 2.0  # standard deviations of a Poisson count, sqrt(n), that a client may be above by chance
MOST_CLIENTS: Final = 1000


class LossControl:
    """
    The share of demand that must be shed to hold utilization at its target, and to work off what waits.

    A full server is as full at twice its capacity as at three times it. What comes in shows in the queue: its growth
    and what is worked off together are the arrivals, the arrivals over the share let through are the demand, and the
    target over the demand is the share to let through. A queue that has built up lowers the target until it is gone.
    """

    def __init__(self, target: float = 0.95) -> None:
        """Start without overload; `target` is the utilization to hold, 0..1, and may be changed."""
        self.target = target
        self._pass = self._last_pass = 1.0
        self._overloaded = False
        self._above = 0  # updates in a row
        self._wait_s = 0.0
        self._demand = 0.0  # over capacity
        self._at_s: float | None = None

    @property
    def percent(self) -> int:
        """What is to be shed now, 0..99."""
        return round(100 * (1.0 - self._pass))

    def update(self, utilization: float, wait_s: float | None = None, *, now_s: float) -> None:
        """
        Take what was seen since the last update.

        Args:
            utilization: mean of the time since, 0..1.
            wait_s: how long a request that comes now waits until a worker takes it; None where no queue can be seen.
            now_s: monotonic seconds.
        """
        elapsed_s = now_s - self._at_s if self._at_s is not None else 0.0
        self._at_s = now_s
        if elapsed_s <= 0:
            return
        arrivals = self._arrivals(utilization, wait_s, elapsed_s)
        self._wait_s = wait_s or 0.0
        demand = arrivals / ((self._pass + self._last_pass) / 2)  # what came had mostly heard of one of the last two
        gain = 1.0 - math.exp(-elapsed_s / SMOOTHING_S)
        self._demand += gain * (demand - self._demand)
        waits = max(self._wait_s - TOLERATED_WAIT_S, 0.0)
        self._above = self._above + 1 if utilization > self.target else 0
        if not self._overloaded and (self._above >= DECLARED_AFTER or waits > CERTAIN_WAIT_S):
            self._overloaded = True
        self._last_pass = self._pass
        if self._overloaded:
            target = max(self.target - waits / DRAINED_WITHIN_S, LEAST_TARGET)
            wanted = target / max(self._demand, LEAST_DEMAND)
            self._pass = min(max(wanted, LEAST_PASS), self._pass * MOST_GROWTH, 1.0)
            self._overloaded = self._pass < 1.0

    def _arrivals(self, utilization: float, wait_s: float | None, elapsed_s: float) -> float:
        """Return what came since the last update, over what could have been served in that time."""
        if wait_s is None:
            return utilization if utilization < FULL else UNSEEN
        return max(utilization + (wait_s - self._wait_s) / elapsed_s, 0.0)


class Announcer:
    """What responses say of the loss in force; one for all responses, since its numbers must rise together."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._said: Feedback | None = None
        self._said_s = 0.0

    def announce(self, percent: int, *, unix_s: float) -> Feedback:
        """
        Return what to say now.

        Args:
            percent: to shed; 0 when there is no overload. What is outside 0..100 counts as the nearer end.
            unix_s: seconds since 1970, so that numbers rise over a restart too; it may be set back.

        Returns:
            Feedback whose number rises with every change and, under overload, at least every RENEW_S.
        """
        oc = min(max(percent, 0), 100)
        said = self._said
        renewal = oc > 0 and not 0.0 <= unix_s - self._said_s < RENEW_S
        if said is None or said.oc != oc or renewal:
            seq = _next_seq(said.seq if said is not None else None, int(unix_s))
            said = self._said = Feedback(oc, VALIDITY_MS if oc > 0 else 0, seq, Algorithm.LOSS)
            self._said_s = unix_s
        return said


def _next_seq(last: Seq | None, second: int) -> Seq:
    if last is None or second > last[0]:
        return second, 0
    return (last[0], last[1] + 1) if last[1] < MOST_COUNT else (last[0] + 1, 0)


def rejects_stranger(percent: int, ordinary_percent: float, r: float, *, priority: bool) -> bool:
    """Say whether to reject a request of a client that does not shed itself; `r` is drawn from 0..1, 1 excluded."""
    # As much as its own throttle would shed: who does not take part has no advantage by it (RFC 7339 section 5.10.2).
    return r < shed_probability(percent, ordinary_percent, priority=priority)


@dataclass(slots=True)
class _Client:
    """What is known of one client; a rate is requests per second."""

    requests: int = 0  # in the present window
    whole: bool = False  # whether the client was known when the present window began
    baseline: float = 0.0  # its rate before the overload; 0: unknown
    strikes: int = 0
    penalty_until_s: float = -math.inf

    def on_window(self, rate: float, *, baseline: bool, percent: int, now_s: float) -> None:
        if percent == 0:
            self.strikes = 0
            if baseline and self.whole:
                self.baseline = rate
        elif self.baseline > 0:
            # Half of the cut, since demand may have grown; chance, since the baseline is one second's count.
            allowed = self.baseline * (1.0 - percent / 200) + CHANCE * math.sqrt(self.baseline)
            self.strikes = self.strikes + 1 if rate > allowed else 0
            if self.strikes >= WINDOWS:
                self.strikes = 0
                self.penalty_until_s = now_s + PENALTY_S
        self.requests = 0
        self.whole = True


class Compliance:
    """
    Which clients shed what they are told to, seen from the rates at which they send.

    Counts those that offered to, each against its own rate before the overload. A client whose demand doubles as the
    overload begins looks as if it did not shed; it pays with a minute of being treated as one that does not.
    """

    def __init__(self) -> None:
        """Start with nobody known."""
        self._clients: OrderedDict[str, _Client] = OrderedDict()
        self._since_s: float | None = None
        self._now_s = 0.0
        self._percents: list[int] = []  # of the present window

    def on_request(self, client: str, count: int = 1, *, now_s: float) -> None:
        """Count requests; `client` is their address. The client not seen for longest is forgotten for a new one."""
        if self._since_s is None:
            self._since_s = now_s
        known = self._clients.setdefault(client, _Client())
        known.requests += count
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)

    def check(self, percent: int, *, now_s: float) -> None:
        """Take the loss in force; called more often than windows end, it looks at rates only when one does."""
        if self._since_s is None:
            self._since_s = now_s
        self._now_s = now_s
        self._percents.append(percent)
        elapsed_s = now_s - self._since_s
        if elapsed_s < WINDOW_S:
            return
        # A window in which the overload began or ended is neither a baseline nor held against anybody.
        least, most = min(self._percents), max(self._percents)
        for client in self._clients.values():
            client.on_window(client.requests / elapsed_s, baseline=most == 0, percent=least, now_s=now_s)
        self._since_s = now_s
        self._percents = [percent]

    def offenders(self) -> list[str]:
        """Return the clients that do not conform, as of the last check."""
        return [client for client in self._clients if not self.conforms(client)]

    def conforms(self, client: str) -> bool:
        """Say whether a client sheds as it offered to, as of the last check; True for one that is not known."""
        known = self._clients.get(client)
        return known is None or known.penalty_until_s <= self._now_s
