"""
What the processes of one Kamailio share: the snapshot, the in-flight counts, the facts, the calls without Route.

All of it lives in Kamailio's htable and mqueue; the names are those of kamailio.cfg.
Does not know what a snapshot or a fact means.
"""

from collections.abc import Iterator
from typing import Any, Final

BOARD: Final = "board"
IN_FLIGHT: Final = "in_flight"
DIALOGS: Final = "dialogs"
FACTS: Final = "facts"

HOLD_S: Final = 5  # a failed request keeps its place so long (simulated: 2 to 10 s equal, 30 s stalls recovery)
MAX_SECONDS_PER_SWEEP: Final = 60
MAX_FACTS_PER_TICK: Final = 20_000
ANSWER_TO_ACK_S: Final = 32  # RFC 3261's 64 x T1: no ACK comes later
DIALOG_S: Final = 7200  # renewed by every request of the call

_MICROSECONDS: Final = 1_000_000


class Board:
    """One text with a version number, written by the control process and read by the workers."""

    def __init__(self, ksr: Any, name: str) -> None:  # noqa: ANN401 - Kamailio's module has no types
        """Take Kamailio's API and the text's name."""
        self._htable = ksr.htable
        self._text_cell = f"{name}:text"
        self._version_cell = f"{name}:version"

    def publish(self, version: int, text: str) -> None:
        """Write the text, then its version: a reader that sees the version finds at least that text."""
        self._htable.sht_sets(BOARD, self._text_cell, text)
        self._htable.sht_seti(BOARD, self._version_cell, version)

    def version(self) -> int:
        """Return the version last published, 0 before the first."""
        return self._htable.sht_get(BOARD, self._version_cell) or 0

    def text(self) -> str:
        """Return the text last published, empty before the first."""
        return self._htable.sht_get(BOARD, self._text_cell) or ""


class InFlight:
    """
    How many requests each destination has been sent and has not answered, over all workers.

    A place is counted twice: in the destination's total, which picks read, and in a cell for the second it was taken
    in. A place that nobody gives back (a crash, a lost reply, a failure held on purpose) is found there once that
    second is older than any place may live, and taken off the total. A total that differs from the sum of its cells
    for longer than two workers can be at odds is set right. So no error outlives a few seconds.
    """

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._htable = ksr.htable
        self._swept: dict[str, int] = {}
        self._drift: dict[str, int] = {}

    def count(self, key: str) -> int:
        """Return the destination's requests in flight; never below 0."""
        return max(self._get(key), 0)

    def enter(self, key: str, now_us: int) -> int:
        """Take a place; return the destination's count, this place included."""
        self._htable.sht_inc(IN_FLIGHT, _cell(key, now_us // _MICROSECONDS))
        return int(self._htable.sht_inc(IN_FLIGHT, key))

    def leave(self, key: str, entered_us: int, now_us: int, no_response_s: float) -> None:
        """Give back the place taken at `entered_us`, unless it has been or may be swept by now."""
        second = entered_us // _MICROSECONDS
        if now_us // _MICROSECONDS - second > life_s(no_response_s):
            return
        cell = _cell(key, second)
        if self._htable.sht_dec(IN_FLIGHT, cell) < 0:
            self._htable.sht_rm(IN_FLIGHT, cell)
            return
        self._htable.sht_dec(IN_FLIGHT, key)

    def sweep(self, key: str, now_us: int, no_response_s: float) -> int:
        """
        Free the places that outlived their time; only the control process calls this, about once a second.

        Returns:
            How many places were freed.
        """
        now = now_us // _MICROSECONDS
        # One second more than leave() allows, so that the two do not meet.
        newest = now - life_s(no_response_s) - 2
        first = self._swept.get(key, newest - 1) + 1
        last = min(newest, first + MAX_SECONDS_PER_SWEEP - 1)
        freed = 0
        for second in range(first, last + 1):
            cell = _cell(key, second)
            left = self._get(cell)
            for _ in range(left):
                self._htable.sht_dec(IN_FLIGHT, key)
            self._htable.sht_rm(IN_FLIGHT, cell)
            freed += left
        self._swept[key] = max(last, first - 1)
        self._set_right(key, range(self._swept[key] + 1, now + 1))
        return freed

    def forget(self, key: str) -> None:
        """Drop a destination whose cells have all been swept since it left."""
        self._htable.sht_rm(IN_FLIGHT, key)
        self._swept.pop(key, None)
        self._drift.pop(key, None)

    def _set_right(self, key: str, seconds: range) -> None:
        """Mend a total that has been off its cells' sum by the same number twice in a row."""
        drift = self._get(key) - sum(self._get(_cell(key, second)) for second in seconds)
        if drift and drift == self._drift.get(key):
            step = self._htable.sht_dec if drift > 0 else self._htable.sht_inc
            for _ in range(abs(drift)):
                step(IN_FLIGHT, key)
            drift = 0
        self._drift[key] = drift

    def _get(self, cell: str) -> int:
        return int(self._htable.sht_get(IN_FLIGHT, cell) or 0)


def _cell(key: str, second: int) -> str:
    return f"{key}:{second}"


def life_s(no_response_s: float) -> int:
    """Return the whole seconds a place may live: long enough for an answer, and for a failure held on purpose."""
    return max(HOLD_S, int(no_response_s) + 2)


class Facts:
    """What workers saw, queued for the control process; the oldest are dropped when it lags far behind."""

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._mqueue = ksr.mqueue
        self._pv = ksr.pv

    def put(self, kind: str, *fields: object) -> None:
        """File one fact; fields must hold no space."""
        self._mqueue.mq_add(FACTS, kind, " ".join(map(str, fields)))

    def drain(self) -> Iterator[tuple[str, list[str]]]:
        """Yield (kind, fields) of what is queued, oldest first, up to MAX_FACTS_PER_TICK."""
        for _ in range(MAX_FACTS_PER_TICK):
            if self._mqueue.mq_fetch(FACTS) != 1:
                return
            yield self._pv.get("$mqk(facts)"), self._pv.get("$mqv(facts)").split(" ")


class Dialogs:
    """
    Where the calls of callers that send no Route belong, by Call-ID.

    Every answered call is noted for as long as its ACK may take; only a caller whose requests come without Route
    needs more, and keeps its note.
    """

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._htable = ksr.htable

    def note(self, call_id: str, uri: str, *, keep: bool = False) -> None:
        """Remember the destination of a call, briefly or, with `keep`, as long as a call may last."""
        # Kamailio 5.6.3 never expires a text that has outgrown its cell, so each note gets a new one.
        self._htable.sht_rm(DIALOGS, call_id)
        self._htable.sht_setxs(DIALOGS, call_id, uri, DIALOG_S if keep else ANSWER_TO_ACK_S)

    def find(self, call_id: str) -> str | None:
        """Return the destination of a call, or None when it is not known."""
        return self._htable.sht_get(DIALOGS, call_id)
