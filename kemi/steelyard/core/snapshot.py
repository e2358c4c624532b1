"""
What the control process tells the workers: who may be picked, with which weight, by which rule.

One line of JSON, so that it fits one cell of shared memory and a person can read it.
Does not know how it travels.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

FORMAT: Final = 3


class Rule(StrEnum):
    """How a worker picks."""

    TURNS = "turns"  # by the weights alone, in exact shares
    SOONEST = "soonest"  # by the time until a request will have been served, its own and that of those behind it
    LEAST = "least"  # by the in-flight count over the room: all equally busy


@dataclass(frozen=True, slots=True)
class Entry:
    """One destination that may be picked."""

    key: str  # short and never used again for another URI: the name of its shared counters
    uri: str
    weight: float  # > 0
    tier: int = 0
    manual: bool = False  # its share is the operator's: in-flight counts do not move it
    holds: bool = False  # a failed request keeps its in-flight place for a while
    beyond_100: bool = False  # 100 Trying is no first reply
    no_response_s: float = 2.0
    hold: float = 1.0  # how long it holds a request beside the set's usual; 1 where no report tells its capacity
    base: float = 1.0  # its response time while it has workers to spare; 1 / weight is the unit of all times
    bend: float = 1.0  # how many requests it has in hand when the last of its workers becomes busy, >= 1
    address: str = ""  # host:port, by which overload control is kept
    overload_control: bool = True  # it is offered RFC 7339

    @property
    def room(self) -> float:
        """How many requests it holds at its fair load, in units of the weights: capacity times time, Little's law."""
        return self.weight * self.hold


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a pick needs; immutable."""

    version: int = 0
    rule: Rule = Rule.LEAST
    max_attempts: int = 3
    panic: bool = False
    reason: str = "the control process has not published a list yet"  # why entries is empty, for log and answer
    entries: Sequence[Entry] = ()


def encode(snapshot: Snapshot) -> str:
    """Write a snapshot as one line of JSON."""
    return json.dumps(
        [
            FORMAT,
            snapshot.version,
            snapshot.rule,
            snapshot.max_attempts,
            int(snapshot.panic),
            snapshot.reason,
            [
                [
                    *(e.key, e.uri, e.weight, e.tier, int(e.manual), int(e.holds), int(e.beyond_100), e.no_response_s),
                    *(e.hold, e.base, e.bend, e.address, int(e.overload_control)),
                ]
                for e in snapshot.entries
            ],
        ],
        separators=(",", ":"),
    )


def decode(text: str) -> Snapshot:
    """
    Read what encode wrote.

    Raises:
        ValueError: not such a line, or one of another format.
    """
    try:
        form, version, rule, max_attempts, panic, reason, rows = json.loads(text)
        if form != FORMAT:
            raise ValueError(f"snapshot of format {form}, expected {FORMAT}")
        entries = tuple(
            Entry(
                *(key, uri, weight, tier, bool(manual), bool(holds), bool(beyond), no_response_s),
                *(hold, base, bend, address, bool(oc)),
            )
            for key, uri, weight, tier, manual, holds, beyond, no_response_s, hold, base, bend, address, oc in rows
        )
        return Snapshot(version, Rule(rule), max_attempts, bool(panic), reason, entries)
    except (TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"not a snapshot: {error}") from error
