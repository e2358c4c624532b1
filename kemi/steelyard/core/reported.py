"""
What one destination's load reports say of its capacity, and how much that still counts.

Requests per second over utilization is what it could take: 40 a second at half load make 80. Single reports are noisy,
so they are pooled until they rest on enough requests and smoothed in log space; what is old fades.
Does not know where a report came from or what calls say.
Source: gRFC A58 (rate over utilization, blackout, expiration), Envoy's most constrained metric; the times are those of
this project's simulations, shorter than A58's, since a SIP request is given up after 32 s.
"""

import math
from dataclasses import dataclass
from typing import Final

from .load_report import LoadReport

ERROR_PENALTY: Final = 1.0  # A58's error_utilization_penalty: failed requests count as load
LEAST_UTILIZATION: Final = 0.05
LEAST_REQUESTS: Final = 10.0  # that a sample must rest on
LONGEST_POOL_S: Final = 60.0
SMOOTHING_S: Final = 5.0
BLACKOUT_S: Final = 10.0  # a newcomer's first reports are of a cold proxy
FRESH_S: Final = 6.0
REPORTS_MISSED: Final = 3  # at long intervals a report is fresh until so many are overdue
FADING_S: Final = 10.0
OFF_S: Final = 60.0  # when FRESH_S is all the time it stays fresh
LINGERING_S: Final = 600.0  # what was learned beside the reports: how long requests are held changes slowly


@dataclass(frozen=True, slots=True)
class _Pool:
    """Reports not yet made into a sample: sums over their time."""

    seconds: float = 0.0
    requests: float = 0.0
    load_s: float = 0.0


class Reported:
    """The reports of one destination."""

    __slots__ = ("_at_s", "_fresh_s", "_log_capacity", "_pool", "_sampled_s", "_since_s", "last", "refused", "source")

    def __init__(self) -> None:
        """Start without a report."""
        self.last: LoadReport | None = None
        self.source = ""  # how the last one came, in a word
        self.refused = 0  # reports that could not be used
        self._at_s = 0.0
        self._fresh_s = FRESH_S
        self._since_s = 0.0  # when the present row of reports began
        self._sampled_s = 0.0
        self._pool = _Pool()
        self._log_capacity: float | None = None

    def on_report(self, report: LoadReport, source: str, *, interval_s: float, now_s: float) -> None:
        """Take a report of the moment; `interval_s` is how often one is asked for."""
        age_s = self.age_s(now_s)
        if age_s is None or age_s >= self._off_s():
            self.on_restart(now_s=now_s)
        seconds = min(max(age_s or interval_s, 0.0), self._fresh_s)
        self.last, self.source, self._at_s = report, source, now_s
        self._fresh_s = max(FRESH_S, REPORTS_MISSED * interval_s)
        if report.utilization is None or report.rps is None:
            return
        penalty = ERROR_PENALTY * report.eps / report.rps if report.rps > 0 else 0.0
        self._pool = _Pool(
            self._pool.seconds + seconds,
            self._pool.requests + report.rps * seconds,
            self._pool.load_s + (report.utilization + penalty) * seconds,
        )
        if self._pool.requests >= LEAST_REQUESTS:
            self._take_sample(now_s)
        elif self._pool.seconds > LONGEST_POOL_S:
            self._pool = _Pool()

    def on_restart(self, *, now_s: float) -> None:
        """Begin anew: what was reported before the destination was away is of another life."""
        self._since_s = self._sampled_s = now_s
        self._pool = _Pool()
        self._log_capacity = None

    def age_s(self, now_s: float) -> float | None:
        """Return the age of the last report in seconds, None when there was none."""
        return None if self.last is None else now_s - self._at_s

    def capacity(self) -> float | None:
        """Return the requests per second that it could take by its reports, None while unknown."""
        return None if self._log_capacity is None else math.exp(self._log_capacity)

    def trust(self, now_s: float) -> float:
        """Return how far the reports count, 0..1: not yet in the blackout, less and less once they are stale."""
        age_s = self.age_s(now_s)
        if age_s is None or self._log_capacity is None or now_s - self._since_s < BLACKOUT_S or age_s >= self._off_s():
            return 0.0
        return 1.0 if age_s <= self._fresh_s else math.exp(-(age_s - self._fresh_s) / FADING_S)

    def linger(self, now_s: float) -> float:
        """Return how far what was learned beside the reports still counts, 0..1: it fades over minutes, not seconds."""
        age_s = self.age_s(now_s)
        return 0.0 if age_s is None else math.exp(-max(age_s - self._fresh_s, 0.0) / LINGERING_S)

    def doubt(self, now_s: float) -> str:
        """Say in words why the reports do not count in full; empty when they do or there are none."""
        age_s = self.age_s(now_s)
        if age_s is None:
            return ""
        if age_s > self._fresh_s:
            return f"its last load report is {age_s:.0f} s old"
        if self._log_capacity is None:
            return "its load reports tell too few requests to judge by"
        if now_s - self._since_s < BLACKOUT_S:
            return f"its load reports count once they have come for {BLACKOUT_S:.0f} s"
        return ""

    def _off_s(self) -> float:
        return OFF_S - FRESH_S + self._fresh_s

    def _take_sample(self, now_s: float) -> None:
        pool, self._pool = self._pool, _Pool()
        rate = pool.requests / pool.seconds
        sample = math.log(rate / max(pool.load_s / pool.seconds, LEAST_UTILIZATION))
        if self._log_capacity is None:
            self._log_capacity = sample
        else:
            weight = 1.0 - math.exp(-(now_s - self._sampled_s) / SMOOTHING_S)
            self._log_capacity += weight * (sample - self._log_capacity)
        self._sampled_s = now_s
