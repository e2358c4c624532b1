"""
What a proxy tells of its own load, read and checked.

Two ways in, one set of names, those of the ORCA standard that Envoy and gRPC use: the SIP header
`Endpoint-Load-Metrics: TEXT cpu_utilization=0.3,rps_fractional=74.2`, and a hash that an agent pushes into Redis,
which may also say what HAProxy's agent-check says: percent, state, down.
Does not know how a report travelled or what follows from it.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from .destination import BadValue, State, number_within, parse_number, parse_word

QUERY_HEADER: Final = "Endpoint-Load-Metrics-Request"
REPORT_HEADER: Final = "Endpoint-Load-Metrics"
QUERY: Final = f"{QUERY_HEADER}: TEXT\r\n"

MAX_LENGTH: Final = 1024  # of a header's value, and of a pushed report's texts together
MAX_FIELDS: Final = 32

_MAX_UTILIZATION: Final = 10.0  # ORCA lets some exceed 1, the whole of it; a larger one is a percentage by mistake
_MAX_RATE: Final = 1e6
_NAME: Final = re.compile(r"[a-z_]+(?:\.[A-Za-z0-9_-]{1,64})?")


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One report: utilizations by name, rates per second, counts, and an agent's word."""

    utilizations: Mapping[str, float] = field(default_factory=dict)  # 1 is all of it
    rps: float | None = None  # requests per second
    eps: float = 0.0  # failed requests per second
    counts: Mapping[str, float] = field(default_factory=dict)  # shown, not weighed
    percent: float = 100.0  # of the declared weight
    state: State = State.READY
    down: str = ""  # why, empty when it is up

    @property
    def takes_new_calls(self) -> bool:
        """True when an agent's word, or the lack of one, lets new calls reach its proxy."""
        return self.percent > 0 and self.state is State.READY and not self.down

    @property
    def tells_load(self) -> bool:
        """True when it says anything of the load, and not the agent's word alone."""
        return bool(self.utilizations or self.counts) or self.rps is not None

    @property
    def utilization(self) -> float | None:
        """The most constrained utilization, None when none was reported."""
        return max(self.utilizations.values(), default=None)

    @property
    def most_constrained(self) -> str:
        """The name of that utilization, empty when there is none."""
        return max(self.utilizations, key=self.utilizations.__getitem__, default="")


@dataclass(frozen=True, slots=True)
class Field:
    """How one field of a report is read, and what it means to the operator."""

    parse: Callable[[str], Any]
    agent: bool  # only an agent's hash may carry it
    meaning: str


def _percent(text: str) -> float:
    return parse_number(text.removesuffix("%"), 0, 100)


def _down(text: str) -> str:
    return "" if text in ("", "0") else text[:80]


FIELDS: Final[dict[str, Field]] = {
    "cpu_utilization": Field(number_within(0, _MAX_UTILIZATION), agent=False, meaning="CPU in use; 1 is all of it"),
    "mem_utilization": Field(number_within(0, 1), agent=False, meaning="memory in use, 0 to 1"),
    "application_utilization": Field(
        number_within(0, _MAX_UTILIZATION),
        agent=False,
        meaning="what limits the proxy by its own measure, such as busy workers over all workers",
    ),
    "utilization.NAME": Field(number_within(0, 1), agent=False, meaning="any other utilization, 0 to 1"),
    "named_metrics.NAME": Field(
        number_within(0, 1e12),
        agent=False,
        meaning="`workers_busy`, `shm`, `pkg`, `sessions`: utilizations, 0 to 1; any other: a count, only shown",
    ),
    "rps_fractional": Field(number_within(0, _MAX_RATE), agent=False, meaning="requests per second, same window"),
    "eps": Field(number_within(0, _MAX_RATE), agent=False, meaning="failed requests per second, same window"),
    "percent": Field(_percent, agent=True, meaning="of the declared weight, 0 to 100; 0: no new calls"),
    "state": Field(partial(parse_word, State), agent=True, meaning="`ready`, `drain` or `maint`, as the operator's"),
    "down": Field(_down, agent=True, meaning="why it is down; `0` or absent: it is not"),
}
UTILIZATIONS: Final = frozenset({"cpu_utilization", "mem_utilization", "application_utilization"})
NAMED_UTILIZATIONS: Final = frozenset({"workers_busy", "shm", "pkg", "sessions"})
_SPELLED: Final = {"rps_fractional": "rps"}


def parse_header(value: str) -> LoadReport:
    """
    Read the value of an Endpoint-Load-Metrics header.

    Raises:
        BadValue: not in the TEXT form, too long, a field twice, or a value that cannot be; names the field.
    """
    if len(value) > MAX_LENGTH:
        raise BadValue(f"{len(value)} characters long, expected at most {MAX_LENGTH}")
    form, _, text = value.strip().partition(" ")
    if form.upper() != "TEXT":
        raise BadValue(f"expected TEXT name=value,... and not {_shown(value)}")
    fields: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, number = (part.strip() for part in pair.partition("="))
        if not equals:
            raise BadValue(f"expected name=value and not {_shown(pair)}")
        if " " in name:
            raise BadValue(f"{_shown(name)} is no name; two reports are none")
        if name in fields:
            raise BadValue(f"{_shown(name)} stands there twice")
        fields[name] = number
    return _parse(fields, agent=False)


def parse_pushed(fields: Mapping[str, str]) -> LoadReport:
    """
    Read a report that an agent wrote into Redis.

    Raises:
        BadValue: too long, or a value that cannot be; names the field.
    """
    length = sum(len(name) + len(value) for name, value in fields.items())
    if length > MAX_LENGTH:
        raise BadValue(f"{length} characters long, expected at most {MAX_LENGTH}")
    return _parse(fields, agent=True)


def _parse(fields: Mapping[str, str], *, agent: bool) -> LoadReport:
    if len(fields) > MAX_FIELDS:
        raise BadValue(f"{len(fields)} fields, expected at most {MAX_FIELDS}")
    utilizations: dict[str, float] = {}
    counts: dict[str, float] = {}
    rest: dict[str, Any] = {}
    for name, text in fields.items():
        kind, dot, own_name = name.partition(".")
        spec = FIELDS.get(f"{kind}.NAME" if dot else kind)
        if spec is None or (spec.agent and not agent) or not _NAME.fullmatch(name):
            continue  # a later version of the standard may name more
        is_share = kind == "named_metrics" and own_name in NAMED_UTILIZATIONS
        try:
            value = parse_number(text, 0, 1) if is_share else spec.parse(text)
        except BadValue as error:
            raise BadValue(f"{name}={_shown(text)}: {error}") from None
        if kind in UTILIZATIONS or kind == "utilization" or is_share:
            utilizations[name] = value
        elif dot:
            counts[name] = value
        else:
            rest[_SPELLED.get(name, name)] = value
    return LoadReport(utilizations=utilizations, counts=counts, **rest)


def write_header(fields: Mapping[str, float]) -> str:
    """Return the header's value for numbers by name, in the shape that parse_header reads."""
    return "TEXT " + ",".join(f"{name}={number:.4g}" for name, number in fields.items())


def _shown(text: str) -> str:
    """Return a stranger's text fit for a log line."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:40])
    return repr(shown if len(text) <= 40 else shown + "...")
