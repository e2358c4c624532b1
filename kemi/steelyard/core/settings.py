"""
The live settings of a destination set: names, defaults, units and what each does.

Knows how one setting's text is read; does not know where the text is kept.
The README's table of settings is checked against SPECS by a test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Final

from .destination import BadValue, number_within, parse_integer, parse_uri, parse_word


class Policy(StrEnum):
    """How a destination is picked for a new request."""

    ADAPTIVE = "adaptive"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "round-robin"


class ProbeMethod(StrEnum):
    """What is sent to ask a destination for a sign of life."""

    OPTIONS = "options"
    INVITE = "invite"
    NONE = "none"


class Switch(StrEnum):
    """What can be on or off."""

    ON = "on"
    OFF = "off"


class FirstReply(StrEnum):
    """Which reply ends a response time: any, or the first that is no 100 Trying."""

    ANY = "any"
    BEYOND_100 = "beyond-100"


@dataclass(frozen=True)
class Settings:
    """One set's settings, or those of one destination once its own values are laid over them."""

    policy: Policy = Policy.ADAPTIVE
    threshold_cps: float = 0.0
    probe_method: ProbeMethod = ProbeMethod.OPTIONS
    probe_interval_s: float = 1.0
    probe_timeout_s: float = 1.0
    rise: int = 2
    fall: int = 3
    slow_start_s: float = 20.0
    panic_percent: float = 0.0
    first_reply: FirstReply = FirstReply.ANY
    no_response_s: float = 2.0
    max_attempts: int = 3
    retry_after_cap_s: float = 300.0
    overload_control: Switch = Switch.ON
    load_reports: Switch = Switch.ON
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def of(self, uri: str) -> "Settings":
        """Return the settings in force for one destination: its own values over the set's."""
        values = self.own.get(uri)
        return replace(self, **values) if values else self


@dataclass(frozen=True, slots=True)
class Spec:
    """What an operator needs to know of one setting."""

    parse: Callable[[str], Any]
    per_destination: bool
    meaning: str


def _integer(low: int, high: int) -> Callable[[str], int]:
    return lambda text: parse_integer(text, low, high)


def _word(words: type[StrEnum]) -> Callable[[str], StrEnum]:
    return lambda text: parse_word(words, text)


SPECS: Final[dict[str, Spec]] = {
    "policy": Spec(
        _word(Policy),
        per_destination=False,
        meaning="`adaptive`, `weighted` (declared weights, exact) or `round-robin`",
    ),
    "threshold_cps": Spec(
        number_within(0, 1e6),
        per_destination=False,
        meaning="below this many calls per second: round robin weighted by the declared weights; 0: never",
    ),
    "probe_method": Spec(
        _word(ProbeMethod),
        per_destination=True,
        meaning="`options`, `invite` (with Max-Forwards 0: any proxy answers it itself) or `none`",
    ),
    "probe_interval_s": Spec(
        number_within(1, 3600),
        per_destination=True,
        meaning="seconds between two pings of a destination; whole seconds count",
    ),
    "probe_timeout_s": Spec(
        number_within(0.05, 30), per_destination=True, meaning="a ping unanswered for so long has failed"
    ),
    "rise": Spec(_integer(1, 100), per_destination=True, meaning="answers in a row that bring a destination back up"),
    "fall": Spec(_integer(1, 100), per_destination=True, meaning="failed pings in a row that take a destination down"),
    "slow_start_s": Spec(
        number_within(0, 3600),
        per_destination=True,
        meaning="a destination that joins or returns grows from 10 % to all of its weight",
    ),
    "panic_percent": Spec(
        number_within(0, 100),
        per_destination=False,
        meaning="panic when less than this part of the declared weight is usable; 0: only when nothing is",
    ),
    "first_reply": Spec(
        _word(FirstReply),
        per_destination=True,
        meaning="the reply that ends a response time: `any`, or the first `beyond-100`",
    ),
    "no_response_s": Spec(
        number_within(0.1, 30),
        per_destination=True,
        meaning="a request unanswered by anything for so long goes to another destination",
    ),
    "max_attempts": Spec(
        _integer(1, 8), per_destination=False, meaning="destinations tried for one request, the first included"
    ),
    "retry_after_cap_s": Spec(
        number_within(0, 3600),
        per_destination=True,
        meaning="longest time that a 503's Retry-After keeps a destination out",
    ),
    "overload_control": Spec(
        _word(Switch),
        per_destination=True,
        meaning="`on`: offer RFC 7339 overload control in each request and do what the answer asks; or `off`",
    ),
    "load_reports": Spec(
        _word(Switch),
        per_destination=True,
        meaning="`on`: ask for the load in each ping and weigh by the answers; `off`: pushed ones count no more either",
    ),
}


def parse_setting(name: str, text: str) -> tuple[str, str | None, Any]:
    """
    Read one field of the settings hash.

    Args:
        name: `setting`, or `setting@<uri>` for one destination alone.
        text: its value.

    Returns:
        (setting, uri or None, value).

    Raises:
        BadValue: no such setting, a setting that only the whole set can have, or a bad value.
    """
    setting, at, uri = name.partition("@")
    spec = SPECS.get(setting)
    if spec is None:
        raise BadValue(f"expected a setting of this version: {', '.join(SPECS)}")
    if at and not spec.per_destination:
        raise BadValue(f"{setting} can only be set for the whole set")
    return setting, parse_uri(uri) if at else None, spec.parse(text)


def build(values: Mapping[str, tuple[str, str | None, Any]]) -> Settings:
    """Put read fields together; `values` maps each field's name to what parse_setting returned."""
    of_set: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {}
    for setting, uri, value in values.values():
        if uri is None:
            of_set[setting] = value
        else:
            own.setdefault(uri, {})[setting] = value
    return Settings(**of_set, own=own)


def defaults() -> dict[str, Any]:
    """Return every setting's default, as the README's table shows it."""
    return {f.name: f.default for f in fields(Settings) if f.name != "own"}
