"""
What the processes of one Kamailio share: snapshot, in-flight counts, facts, calls without Route, load, overload.

All of it lives in Kamailio's htable and mqueue; the names are those of kamailio.cfg.
Does not know what a snapshot or a fact means.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from ..core.feedback import Feedback, write_feedback
from ..core.throttle import Bucket, Throttle, admit, open_bucket, renewed

BOARD: Final = "board"
IN_FLIGHT: Final = "in_flight"
DIALOGS: Final = "dialogs"
FACTS: Final = "facts"
LOAD: Final = "load"
OVERLOAD: Final = "overload"
OFFERS: Final = "offers"
CLIENTS: Final = "clients"

HOLD_S: Final = 5  # a failed request keeps its place so long (simulated: 2 to 10 s equal, 30 s stalls recovery)
MAX_SECONDS_PER_SWEEP: Final = 60
MAX_FACTS_PER_TICK: Final = 20_000
ANSWER_TO_ACK_S: Final = 32  # RFC 3261's 64 x T1: no ACK comes later
REPORT_LIFE_S: Final = 3.0
REST_S: Final = 5  # after an overload: what others shed would only bring it back
MAX_CLIENTS: Final = 2000
BLAME_S: Final = 2  # renewed every second while it holds
DIALOG_S: Final = 7200  # renewed by every request of the call

_MICROSECONDS: Final = 1_000_000


class Board:
    """One text with a version number, written by the control process and read by the workers."""

    def __init__(self, ksr: Any, name: str) -> None:  # noqa: ANN401 - Kamailio's module has no types
        """Take Kamailio's API and the text's name."""
        self._htable = ksr.htable
        self._name = name
        self._text_cell = f"{name}:text"
        self._version_cell = f"{name}:version"

    def publish(self, version: int, text: str) -> None:
        """Write the text, then its version: a reader that sees the version finds at least that text."""
        self._htable.sht_sets(BOARD, self._text_cell, text)
        self._htable.sht_seti(BOARD, self._version_cell, version)

    def note(self, name: str, number: int) -> None:
        """Write a number beside the text, for kamailio.cfg to go by."""
        self._htable.sht_seti(BOARD, f"{self._name}:{name}", number)

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
        self._get_cell, self._inc, self._dec = ksr.htable.sht_get, ksr.htable.sht_inc, ksr.htable.sht_dec  # often
        self._swept: dict[str, int] = {}
        self._drift: dict[str, int] = {}

    def count(self, key: str) -> int:
        """Return the destination's requests in flight; never below 0."""
        return max(self._get(key), 0)

    def enter(self, key: str, now_us: int) -> tuple[str, int]:
        """Take a place; return the cell it is counted in and the destination's count, this place included."""
        cell = _cell(key, now_us // _MICROSECONDS)
        self._inc(IN_FLIGHT, cell)
        return cell, self._inc(IN_FLIGHT, key)

    def leave(self, key: str, entered_us: int, now_us: int, no_response_s: float) -> None:
        """Give back the place taken at `entered_us`, unless it has been or may be swept by now."""
        second = entered_us // _MICROSECONDS
        if now_us // _MICROSECONDS - second > life_s(no_response_s):
            return
        cell = _cell(key, second)
        if self._dec(IN_FLIGHT, cell) < 0:
            self._htable.sht_rm(IN_FLIGHT, cell)
            return
        self._dec(IN_FLIGHT, key)

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
        return self._get_cell(IN_FLIGHT, cell) or 0


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


class Load:
    """
    What a proxy's workers say of its own load and overload, written by one process for all of them.

    A reader sees how old a report is: one whose writer has stopped is not passed on for ever.
    """

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._htable = ksr.htable

    def publish_report(self, text: str, now_s: float) -> None:
        """Write the report of the moment."""
        self._htable.sht_sets(LOAD, "report", f"{now_s:.0f} {text}")

    def report(self, now_s: float) -> str:
        """Return the last report, empty when there is none that is not too old."""
        at_s, _, text = (self._htable.sht_get(LOAD, "report") or "").partition(" ")
        return text if text and now_s - float(at_s) <= REPORT_LIFE_S else ""

    def publish_overload(self, percent: int, feedback: Feedback) -> None:
        """Write which part of the requests is to be kept away, and how responses say so."""
        self._htable.sht_sets(LOAD, "overload", f"{percent} {write_feedback(feedback)}")

    def overload(self) -> tuple[int, str]:
        """Return what publish_overload wrote: 0 and an empty text before the first."""
        percent, _, text = (self._htable.sht_get(LOAD, "overload") or "0 ").partition(" ")
        return int(percent), text

    def count_refused(self) -> None:
        """Count a request that was refused for overload."""
        self._htable.sht_inc(LOAD, "refused")

    def refused(self) -> int:
        """Return how many requests were refused for overload."""
        return int(self._htable.sht_get(LOAD, "refused") or 0)


class Clients:
    """How many requests each client that offered to shed has sent, by its address, and which of them do not shed."""

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._htable = ksr.htable
        self._pv = ksr.pv

    def listens(self, source: str) -> bool:
        """Count a request; say whether its sender sheds as it offered to."""
        self._htable.sht_inc(CLIENTS, source)
        return self._htable.sht_get(CLIENTS, f"{source} offends") != 1

    def counts(self) -> dict[str, int]:
        """Return how many requests each has sent since it was first seen; all are forgotten when they are too many."""
        counts = {}
        self._htable.sht_iterator_start("clients", CLIENTS)
        while self._htable.sht_iterator_next("clients") > 0:
            counts[self._pv.gete("$shtitkey(clients)")] = int(self._pv.get("$shtitval(clients)") or 0)
        self._htable.sht_iterator_end("clients")
        if len(counts) > MAX_CLIENTS:
            self._htable.sht_reset(CLIENTS)
            return {}
        return {source: count for source, count in counts.items() if " " not in source}

    def blame(self, sources: Iterable[str]) -> None:
        """Mark those that do not shed; the mark goes by itself."""
        for source in sources:
            self._htable.sht_setxi(CLIENTS, f"{source} offends", 1, BLAME_S)


class Offers:
    """
    Whom kamailio.cfg offers overload control to in the requests that it serves by itself, by the server's address.

    Only the control process writes; that a request is still on its way by what held a moment ago harms nobody.
    """

    def __init__(self, ksr: Any, offered: str) -> None:  # noqa: ANN401
        """Take Kamailio's API and what is offered, the value of oc-algo."""
        self._htable = ksr.htable
        self._offered = offered
        self._made: frozenset[str] = frozenset()

    def publish(self, addresses: Iterable[str]) -> None:
        """Offer it to these and to nobody else."""
        wanted = frozenset(addresses)
        for address in wanted - self._made:
            self._htable.sht_sets(OFFERS, address, self._offered)
        for address in self._made - wanted:
            self._htable.sht_rm(OFFERS, address)
        self._made = wanted


class Throttles:
    """
    What overload control asks of us, by the server's address, in force in all workers at once.

    An address is written only while it is a destination's; `forget` takes one off.
    """

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401
        """Take Kamailio's API."""
        self._htable = ksr.htable

    def in_force(self, address: str, now_us: int) -> Throttle | None:
        """Return what is in force for a server, None for nothing."""
        text = self._htable.sht_get(OVERLOAD, address)
        if not text:
            return None
        throttle = Throttle.decode(text)
        return throttle if throttle.in_force(now_us) else None

    def is_resting(self, address: str, now_us: int) -> bool:
        """Say whether anything is in force for a server, or was a moment ago: it takes nothing beyond its own share."""
        return self._is_recent(f"{address} last", now_us)

    def is_any_resting(self, now_us: int) -> bool:
        """Say the same of any server at all."""
        return self._is_recent("last", now_us)

    def _is_recent(self, cell: str, now_us: int) -> bool:
        last_s = self._htable.sht_get(OVERLOAD, cell) or 0
        return bool(last_s) and now_us // _MICROSECONDS - last_s <= REST_S

    def take(self, address: str, feedback: Feedback, now_us: int) -> None:
        """Put what a response said in force, if it is news."""
        self._htable.sht_lock(OVERLOAD, address)
        try:
            text = self._htable.sht_get(OVERLOAD, address)
            current = Throttle.decode(text) if text else None
            new = renewed(current, feedback, now_us)
            if new is not current:
                self._htable.sht_sets(OVERLOAD, address, new.encode() if new is not None else "")
        finally:
            self._htable.sht_unlock(OVERLOAD, address)
        # Not under the lock: locks are per slot, and two workers could take two slots in opposite order.
        if new is not None and new is not current and new.in_force(now_us):
            self._note([address], now_us)

    def _note(self, addresses: Iterable[str], now_us: int) -> None:
        """Write that these servers are in overload now."""
        for cell in (*(f"{address} last" for address in addresses), "last"):
            self._htable.sht_seti(OVERLOAD, cell, now_us // _MICROSECONDS)

    def calm(self, addresses: Iterable[str], now_us: int) -> None:
        """
        Wipe out that anybody was in overload once nobody is, keep it while somebody is who has said so once for long.

        Only the control process calls this, about once a second, with all servers. Where nothing is written
        kamailio.cfg asks no further.
        """
        if not self._htable.sht_get(OVERLOAD, "last"):
            return
        if in_force := [address for address in addresses if self.in_force(address, now_us)]:
            self._note(in_force, now_us)
            return
        self._htable.sht_lock(OVERLOAD, "last")  # a worker may just have heard of another overload
        try:
            if not self.is_any_resting(now_us):
                self._htable.sht_rm(OVERLOAD, "last")
        finally:
            self._htable.sht_unlock(OVERLOAD, "last")

    def admits(self, address: str, throttle: Throttle, now_us: int, jitter: float, *, priority: bool) -> bool:
        """Ask the bucket that all workers share for a place under a rate; `jitter` is drawn from -0.5..0.5."""
        cell = f"{address} bucket"
        self._htable.sht_lock(OVERLOAD, cell)
        try:
            text = self._htable.sht_get(OVERLOAD, cell)
            bucket = Bucket.decode(text) if text else open_bucket(throttle.oc, now_us, jitter)
            admitted, bucket = admit(bucket, throttle.oc, now_us, priority=priority, jitter=jitter)
            self._htable.sht_sets(OVERLOAD, cell, bucket.encode())
        finally:
            self._htable.sht_unlock(OVERLOAD, cell)
        return admitted

    def count_shed(self, address: str) -> None:
        """Count a request that was kept from a server."""
        self._htable.sht_inc(OVERLOAD, f"{address} shed")

    def shed(self, address: str) -> int:
        """Return how many requests were kept from a server."""
        return int(self._htable.sht_get(OVERLOAD, f"{address} shed") or 0)

    def forget(self, address: str) -> None:
        """Drop all that is known of a server."""
        for cell in (address, f"{address} bucket", f"{address} shed", f"{address} last"):
            self._htable.sht_rm(OVERLOAD, cell)
