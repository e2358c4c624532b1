"""
What a client does with a server's overload feedback: which one is in force, and what it lets through.

With loss a share of the requests is shed, ordinary ones first; with rate a leaky bucket admits so many a second.
Says how likely a request is to be shed, or whether it is admitted; does not draw lots, read clocks or know what becomes
of a request that may not be sent. Responses, retransmissions, ACK and CANCEL are not asked about at all.
Source: RFC 7339 sections 5.4, 5.7 and 7.2 (loss), RFC 7415 section 3.5 (rate).
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from .feedback import Algorithm, Feedback, Seq

RESET_DISTANCE: Final = 60  # of oc-seq's first field, which is seconds in RFC 7339's example: no response is that late
START_ORDINARY_PERCENT: Final = 80.0  # RFC 7339 section 7.2
MEASURE_S: Final = 5.0  # the same: every 5 to 10 seconds
TAU_PRIORITY: Final = 10.0  # RFC 7415 section 3.5.2: TAU2 in units of T, for requests of priority
TAU_ORDINARY: Final = TAU_PRIORITY / 2  # the same: TAU1

_MEASURE_US: Final = round(MEASURE_S * 1e6)
_THROTTLE: Final = re.compile(r"(loss|rate) ([0-9]{1,9}) (?:-|([0-9]{1,12})\.([0-9]{1,5})) ([0-9]{1,18})")
_BUCKET: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?) ([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Throttle:
    """Feedback that was taken, and until when it holds."""

    oc: int
    algorithm: Algorithm
    seq: Seq | None
    until_us: int

    def in_force(self, now_us: int) -> bool:
        """Say whether anything is to be shed; with rate an oc of 0 lets nothing through, with loss everything."""
        return now_us < self.until_us and not (self.algorithm is Algorithm.LOSS and self.oc == 0)

    @property
    def in_words(self) -> str:
        """What is asked, for an operator."""
        if self.algorithm is Algorithm.RATE:
            return f"at most {self.oc} requests per second"
        return f"{self.oc} % fewer requests"

    def encode(self) -> str:
        """Write it as one line."""
        seq = "-" if self.seq is None else f"{self.seq[0]}.{self.seq[1]}"
        return f"{self.algorithm} {self.oc} {seq} {self.until_us}"

    @staticmethod
    def decode(text: str) -> "Throttle":
        """
        Read what encode wrote.

        Raises:
            ValueError: not such a line.
        """
        match = _THROTTLE.fullmatch(text)
        if match is None:
            raise ValueError(f"not a throttle: {text[:80]!r}")
        algorithm, oc, first, second, until_us = match.groups()
        seq = None if first is None else (int(first), int(second))
        return Throttle(int(oc), Algorithm(algorithm), seq, int(until_us))


def renewed(current: Throttle | None, feedback: Feedback, now_us: int) -> Throttle | None:
    """
    Take a server's feedback, or leave it.

    Args:
        current: what the last feedback of this server left; None for nothing. One that has expired counts as None.
        feedback: what a response says now.
        now_us: monotonic microseconds.

    Returns:
        `current` itself when the feedback is no news, a new throttle when it is, None when it ends throttling. An old
        response that says stop is no news either.

    Source: RFC 7339 sections 4.3, 4.4, 5.4.
    """
    if current is not None and now_us < current.until_us and not _is_news(feedback.seq, current.seq):
        return current
    if feedback.validity_ms == 0:
        return None
    return Throttle(feedback.oc, feedback.algorithm, feedback.seq, now_us + feedback.validity_ms * 1000)


def _is_news(seq: Seq | None, known: Seq | None) -> bool:
    """Say whether feedback of that number is to be taken; one far below the known one is of a server begun anew."""
    return seq is None or known is None or seq > known or known[0] - seq[0] >= RESET_DISTANCE


# --- loss ---


def shed_probability(oc: int, ordinary_percent: float, *, priority: bool) -> float:
    """
    Return how likely a request is to be shed, so that oc percent of all are and ordinary ones go first.

    Args:
        oc: percent to shed; what is outside 0..100 counts as the nearer end.
        ordinary_percent: the share of ordinary requests, 0..100; the rest are of priority.
        priority: whether this request is of priority.

    Returns:
        0..1.

    Source: RFC 7339 section 7.2, without its rounding to whole percent and its division by an empty category's share.
    """
    percent = min(max(oc, 0), 100)
    if percent <= ordinary_percent:
        return 0.0 if priority or percent == 0 else percent / ordinary_percent
    return (percent - ordinary_percent) / (100.0 - ordinary_percent) if priority else 1.0


class Mix:
    """How many of the requests are ordinary, measured over whole intervals."""

    __slots__ = ("_counts", "_since_us", "ordinary_percent")

    def __init__(self) -> None:
        """Start with what the RFC assumes before the first measurement."""
        self.ordinary_percent = START_ORDINARY_PERCENT
        self._since_us: int | None = None
        self._counts = [0, 0]  # ordinary, priority

    def on_request(self, *, priority: bool, now_us: int, besides: Callable[[], int] = int) -> None:
        """
        Count a request, whether it is shed or not.

        Args:
            priority: whether it is of priority.
            now_us: monotonic microseconds.
            besides: asked once in an interval how many of priority it has had that nobody counted here.
        """
        if self._since_us is None:
            self._since_us = now_us
        elif now_us - self._since_us >= _MEASURE_US:
            self._counts[True] += besides()
            self._measure()
            self._since_us += (now_us - self._since_us) // _MEASURE_US * _MEASURE_US
        self._counts[priority] += 1

    def _measure(self) -> None:
        # There is a count: an interval is left only by a request, and the one that began it was counted in it.
        ordinary, priority = self._counts
        self.ordinary_percent = 100.0 * ordinary / (ordinary + priority)
        self._counts = [0, 0]


# --- rate ---


@dataclass(frozen=True, slots=True)
class Bucket:
    """A leaky bucket: how full it was when a request was last admitted, in microseconds of leaking."""

    level_us: float
    last_us: int

    def encode(self) -> str:
        """Write it as one line."""
        return f"{self.level_us!r} {self.last_us}"

    @staticmethod
    def decode(text: str) -> "Bucket":
        """
        Read what encode wrote.

        Raises:
            ValueError: not such a line.
        """
        match = _BUCKET.fullmatch(text)
        level_us = float(match[1]) if match else math.inf
        if match is None or math.isinf(level_us):
            raise ValueError(f"not a bucket: {text[:80]!r}")
        return Bucket(level_us, int(match[2]))


def open_bucket(rate: int, now_us: int, jitter: float) -> Bucket:
    """
    Return the bucket as a rate takes force: as if the request whose response said so had just been admitted.

    Args:
        rate: requests per second, >= 0.
        now_us: monotonic microseconds.
        jitter: drawn from -0.5..0.5, so that clients throttled at once do not send at once.
    """
    return Bucket(1e6 / rate * (1.0 + jitter) if rate > 0 else 0.0, now_us)


def admit(bucket: Bucket, rate: int, now_us: int, *, priority: bool, jitter: float) -> tuple[bool, Bucket]:
    """
    Say whether a request may be sent, and what the bucket is after it.

    Args:
        bucket: as open_bucket or the last call left it.
        rate: requests per second, >= 0; 0 admits nothing. It may change while a bucket is in use.
        now_us: monotonic microseconds; a time before the bucket's last, as another worker may see it, counts as that.
        priority: requests of priority find twice as much room in the bucket.
        jitter: drawn from -0.5..0.5; used only where the bucket had emptied.

    Returns:
        Whether it is admitted, and the bucket to keep: the same one when it is not.

    Source: RFC 7415 sections 3.5.1 to 3.5.3.
    """
    if rate <= 0:
        return False, bucket
    interval_us = 1e6 / rate
    now_us = max(now_us, bucket.last_us)
    level_us = bucket.level_us - (now_us - bucket.last_us)
    if level_us > interval_us * (TAU_PRIORITY if priority else TAU_ORDINARY):
        return False, bucket
    if level_us <= 0:
        return True, Bucket(interval_us * (1.0 + jitter), now_us)
    return True, Bucket(level_us + interval_us, now_us)
