"""
A downstream proxy as the operator declares it: URI, weight, state, mode, priority.

Knows what a usable value looks like; does not know where values come from or how a destination behaves.
"""

import ipaddress
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

MAX_URI_LENGTH = 255
MAX_WEIGHT = 1e6  # far above any ratio of proxies; keeps sums and shares well inside a float
MAX_PRIORITY = 1_000_000

TRANSPORTS = ("udp", "tcp")

# RFC 3261 section 25.1 without the parts that no destination needs: passwords, headers, escapes in hosts.
_URI = re.compile(
    r"sip:(?:[A-Za-z0-9_.!~*'()&=+$/?%-]+@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<params>(?:;[A-Za-z0-9_.!~*'()+%-]+(?:=[A-Za-z0-9_.!~*'()+%\[\]:-]+)?)*)"
)


Word = TypeVar("Word", bound=StrEnum)


class BadValue(ValueError):
    """A value from outside that cannot be used; the message says what was expected."""


class State(StrEnum):
    """What the operator allows: new calls, only calls in progress, or nothing at all."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Mode(StrEnum):
    """Whether feedback may change a destination's weight."""

    AUTO = "auto"
    MANUAL = "manual"


@dataclass(frozen=True, slots=True)
class Destination:
    """One downstream proxy of the set, by the operator's word alone."""

    uri: str
    weight: float = 1.0
    state: State = State.READY
    mode: Mode = Mode.AUTO
    priority: int = 0

    @property
    def takes_new_calls(self) -> bool:
        """True when the operator lets new calls reach it; says nothing of its health."""
        return self.weight > 0 and self.state is State.READY


def parse_uri(text: str) -> str:
    """
    Check a destination's SIP URI and return it unchanged.

    Raises:
        BadValue: not a `sip:` URI with a host, a port of 1..65535 and a transport of udp or tcp.
    """
    if len(text) > MAX_URI_LENGTH:
        raise BadValue(f"expected a SIP URI of at most {MAX_URI_LENGTH} characters")
    match = _URI.fullmatch(text)
    if match is None:
        raise BadValue("expected a SIP URI such as sip:192.0.2.10:5060")
    _check_host(match["host"])
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        raise BadValue("expected a port of 1 to 65535")
    _check_transport(match["params"])
    return text


def may_answer(uri: str, source: str) -> bool:
    """Say whether an answer from the IP address `source` can be this checked URI's: always where its host is a name."""
    try:
        return ipaddress.ip_address(address_of(uri).rpartition(":")[0].strip("[]")) == ipaddress.ip_address(source)
    except ValueError:
        return True


def address_of(uri: str) -> str:
    """Return `host:port` of a URI, with the default port where it names none: what overload control is kept by."""
    rest = uri.partition(":")[2].rpartition("@")[2]  # the user first: it may hold what ends a host
    address = rest.partition(";")[0].partition("?")[0].lower()
    return address if address.rpartition("]")[2].rpartition(":")[1] else f"{address}:5060"


def _check_host(host: str) -> None:
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif re.fullmatch(r"[0-9.]+", host):
            ipaddress.IPv4Address(host)
    except ValueError:
        raise BadValue(f"expected an IP address or a host name, not {host}") from None


def _check_transport(params: str) -> None:
    for param in params.lower().split(";"):
        name, _, value = param.partition("=")
        if name == "transport" and value not in TRANSPORTS:
            raise BadValue(f"expected transport={' or transport='.join(TRANSPORTS)}")


def parse_number(text: str, low: float, high: float) -> float:
    """
    Read a finite decimal number within [low, high].

    Raises:
        BadValue: no number, not finite, or outside the range.
    """
    expected = f"expected a number from {low:g} to {high:g}"
    try:
        number = float(text)
    except ValueError:
        raise BadValue(expected) from None
    # Python's float() also takes "1_000" and non-ASCII digits; an operator who types those made a slip.
    if not math.isfinite(number) or not low <= number <= high or not re.fullmatch(r"\s*[-+.0-9eE]+\s*", text):
        raise BadValue(expected)
    return number


def number_within(low: float, high: float) -> Callable[[str], float]:
    """Return the reader of a number within [low, high]."""
    return lambda text: parse_number(text, low, high)


def parse_weight(text: str) -> float:
    """Read a declared weight, a number from 0 to MAX_WEIGHT; 0 means no new calls."""
    return parse_number(text, 0, MAX_WEIGHT)


def parse_integer(text: str, low: int, high: int) -> int:
    """
    Read a whole number within [low, high].

    Raises:
        BadValue: no whole number, or outside the range.
    """
    if not re.fullmatch(r"[-+]?[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise BadValue(f"expected a whole number from {low} to {high}")
    return int(text)


def parse_priority(text: str) -> int:
    """Read a priority, a whole number from 0; a higher one is used only when all lower ones are out."""
    return parse_integer(text, 0, MAX_PRIORITY)


def parse_word(words: type[Word], text: str) -> Word:
    """
    Read one word of a fixed vocabulary.

    Raises:
        BadValue: any other word.
    """
    try:
        return words(text)
    except ValueError:
        raise BadValue(f"expected one of {', '.join(words)}") from None
