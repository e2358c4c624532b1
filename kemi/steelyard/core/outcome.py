"""
What a SIP response says about the proxy that sent it.

A failure is the proxy's own; a busy or missing callee is not. The classes follow HAProxy's `observe layer7` (100-499,
501 and 505 are good) with 6xx, which only a callee decides, on the good side.
Does not know what follows from an outcome.
"""

from enum import StrEnum

FIRST_FINAL = 200  # lower ones are provisional
SERVICE_UNAVAILABLE = 503
MAX_DIGITS = 9  # thirty years of seconds; what is longer is as good as for ever


class Outcome(StrEnum):
    """How one attempt at a destination ended, or stands after its first reply."""

    SUCCESS = "success"
    FAILURE = "failure"
    SILENCE = "silence"  # no reply of any kind in time, or a transport error

    @property
    def failed(self) -> bool:
        """True when the attempt counts as load on the destination rather than as speed."""
        return self is not Outcome.SUCCESS


def of_status(status: int) -> Outcome:
    """
    Class a status code received from a destination.

    Source: HAProxy 2.x configuration manual, `observe layer7`; RFC 3261 section 21 for 6xx.
    """
    if 500 <= status <= 599 and status not in (501, 505):
        return Outcome.FAILURE
    return Outcome.SUCCESS


def parse_retry_after(text: str) -> float:
    """
    Read a Retry-After value in seconds, such as `120 (maintenance);duration=3600`.

    Returns:
        Seconds >= 0; 0 when the value makes no sense, which is as if there were none.

    Source: RFC 3261 section 20.33.
    """
    digits = text.strip()
    end = 0
    while end < len(digits) and digits[end] in "0123456789":
        end += 1
    rest = digits[end:].lstrip()
    if end == 0 or (rest and rest[0] not in "(;"):
        return 0.0
    return float(digits[:end].lstrip("0")[:MAX_DIGITS] or "0")
