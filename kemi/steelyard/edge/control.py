"""
The control process: one tick drains the facts, reads the list, asks the balancer and passes its decisions on.

    facts, list --> balancer.decide --> board (workers), Redis (operator), dispatcher (mirror), disk (last good list)

Each tick returns. Nothing here runs in a SIP worker.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote

from ..core.balancer import Balancer, Decision
from ..core.declared import Declared, Rejected, read_list
from ..core.destination import Destination, State, address_of
from ..core.outcome import parse_retry_after
from ..core.overload import Announcer
from ..core.roster import Event, Throttled
from ..core.snapshot import encode
from . import probing
from .kamailio import Kamailio
from .last_good import LastGood
from .mirror import Mirror
from .probing import NONE
from .shared import Board, Facts, InFlight, Load, Offers, Throttles, life_s
from .store import Store, StoreUnavailable

READ_INTERVAL_S: Final = 0.2  # with a tick of 0.1 s, a redis-cli command is in force within 0.3 s
SWEEP_INTERVAL_S: Final = 1.0
REPORTS_INTERVAL_S: Final = 1.0
READS_PER_ROUND: Final = 5  # of the pushed reports, when they are many
LEAST_PER_READ: Final = 100
SWEPT_WITHIN_S: Final = 5.0  # of the end of a place's life


class Control:
    """What the control process does, ten times a second."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        snapshots: Board,
        probes: Board,
        in_flight: InFlight,
        throttles: Throttles,
        offers: Offers,
        load: Load,
        facts: Facts,
        store: Store,
        mirror: Mirror,
        last_good: LastGood,
        clock_us: Callable[[], int],
    ) -> None:
        """Take the adapters and the monotonic clock in microseconds."""
        self._sip = kamailio
        self._snapshots = snapshots
        self._probes = probes
        self._in_flight = in_flight
        self._throttles = throttles
        self._offers = offers
        self._load = load
        self._announcer = Announcer()
        self._facts = facts
        self._store = store
        self._mirror = mirror
        self._last_good = last_good
        self._clock_us = clock_us
        self._balancer = Balancer()
        self._declared: Declared | None = None  # None before the first list
        self._raw: Mapping[str, Mapping[str, str] | None] | None = None
        self._refused: set[Rejected] = set()
        self._store_lost = False  # told, and not yet found again
        self._read_failed = self._write_failed = False
        self._emptied = False  # Redis came back without a list, and has got none since
        self._mirror_failed = False
        self._probes_version = 0
        self._read_s = self._swept_s = float("-inf")
        self._reports_s = float("-inf")
        self._to_read: list[str] = []  # whose pushed reports are still to be read in this round
        self._retiring: dict[str, tuple[float, float]] = {}  # key -> no_response_s, when it may be forgotten
        self._shares: dict[str, float] | None = None  # not yet written
        self._unix_ahead_s = 0.0

    def tick(self) -> None:
        """Do one round of work and return."""
        now_us = self._clock_us()
        now_s = now_us / 1e6
        self._take_facts(now_s)
        if now_s - self._read_s >= READ_INTERVAL_S:
            self._read_s = now_s
            self._read_list(now_s)
        if self._declared is None:
            return
        self._read_pushed(now_s)
        if now_s - self._swept_s >= SWEEP_INTERVAL_S:
            self._swept_s = now_s
            self._sweep(self._clock_us())  # Redis may have taken its time since the tick began
            self._throttles.calm(map(address_of, self._destinations()), self._clock_us())
        self._look_at_dispatcher()
        decision = self._balancer.decide(self._in_flight.count, self._throttled, now_s=now_s)
        self._publish(decision)
        self._load.publish_overload(
            decision.overload_percent, self._announcer.announce(decision.overload_percent, unix_s=time.time())
        )
        self._report(decision)
        self._sync_mirror()

    def _throttled(self, address: str) -> Throttled:
        return Throttled(self._throttles.in_force(address, self._clock_us()), self._throttles.shed(address))

    # --- facts ---

    def _take_facts(self, now_s: float) -> None:
        # How far Unix time is ahead of the time of all else here; taken anew each time, because it may be set.
        self._unix_ahead_s = time.time() - self._clock_us() / 1e6
        for kind, fields in self._facts.drain():
            self._take_fact(kind, fields, now_s)

    def _take_fact(self, kind: str, fields: list[str], now_s: float) -> None:
        balancer = self._balancer
        match kind, fields:
            case "answer", [key, elapsed_us, in_flight, status, retry_after]:
                wait_s = parse_retry_after(retry_after)
                balancer.on_answer(key, int(elapsed_us) / 1e6, int(in_flight), int(status), wait_s, now_s=now_s)
            case "reply", [unix_s, status, key, _, _, _, sent_us, in_flight]:
                # No later than now and not before it was sent, whatever was done to the clock meanwhile.
                elapsed_s = min(float(unix_s) - self._unix_ahead_s, now_s) - int(sent_us) / 1e6
                balancer.on_answer(key, max(elapsed_s, 0.0), int(in_flight), int(status), 0.0, now_s=now_s)
            case "final", [key, status, retry_after]:
                balancer.on_final(key, int(status), parse_retry_after(retry_after), now_s=now_s)
            case "silence", [key]:
                balancer.on_silence(key, now_s=now_s)
            case "beyond", [key, trying_us, beyond_us]:
                balancer.on_beyond(key, int(trying_us) / 1e6, int(beyond_us) / 1e6, now_s=now_s)
            case "ping", [call_id, uri, sent_us]:
                balancer.on_ping(call_id, uri, sent_s=int(sent_us) / 1e6)
            case "pong", [call_id, status, received_us, source, report]:
                text = "" if report == NONE else unquote(report)
                balancer.on_pong(call_id, int(status), source, text, received_s=int(received_us) / 1e6)
            case "stray", [source]:
                balancer.on_stray(source, now_s=now_s)
            case "feedback", [address, reason]:
                balancer.on_bad_feedback(address, unquote(reason), now_s=now_s)
            case _:
                self._sip.warn(f"fact not understood, ignored: {kind} {fields}")

    def _sweep(self, now_us: int) -> None:
        for key, no_response_s in self._balancer.answer_times().items():
            self._in_flight.sweep(key, now_us, no_response_s)
        for key, (no_response_s, until_s) in list(self._retiring.items()):
            self._in_flight.sweep(key, now_us, no_response_s)
            if now_us / 1e6 > until_s:
                self._in_flight.forget(key)
                del self._retiring[key]

    # --- the operator's list ---

    def _read_list(self, now_s: float) -> None:
        connects = self._store.connects
        try:
            raw = self._store.read_list()
        except StoreUnavailable as error:
            self._read_failed = True
            self._on_store_lost(str(error), now_s)
            return
        came_back = self._read_failed or (self._store.connects != connects and connects > 0)
        self._read_failed = False
        if raw["weight"]:
            self._emptied = False
        elif came_back and not self._emptied and self._destinations():
            self._emptied = True
            self._tell(Event("store empty", "", "Redis came back without a list; the last one stays in force"))
        if self._emptied and self._declared is not None:
            raw = {**raw, "weight": dict(self._declared.text.get("weight", {}))}
        if raw != self._raw:
            self._raw = raw
            self._declare(raw, now_s)

    def _read_pushed(self, now_s: float) -> None:
        """Read the pushed reports of a part of the list, so that each is read about once a second."""
        if not self._to_read:
            if now_s - self._reports_s < REPORTS_INTERVAL_S:
                return
            self._reports_s = now_s
            self._to_read = list(self._destinations())
        count = max(len(self._destinations()) // READS_PER_ROUND, LEAST_PER_READ)
        now, self._to_read = self._to_read[:count], self._to_read[count:]
        if not now:
            return
        try:
            reports = self._store.read_reports(now)
        except StoreUnavailable:
            return  # told by whoever reads the list
        for uri, fields in reports.items():
            self._balancer.on_pushed(uri, fields, now_s=now_s)

    def _on_store_lost(self, reason: str, now_s: float) -> None:
        if not self._store_lost:
            self._store_lost = True
            self._tell(Event("store lost", "", f"{reason}; calls go on with the last list"))
        if self._declared is None:
            self._start_from_disk(now_s)

    def _on_store_used(self) -> None:
        if self._store_lost and not self._read_failed and not self._write_failed:
            self._store_lost = False
            self._tell(Event("store found", "", "Redis answers again and takes what is written"))

    def _start_from_disk(self, now_s: float) -> None:
        """Take the last good list while Redis has not been seen yet."""
        try:
            text = self._last_good.load()
        except (OSError, ValueError) as error:
            self._sip.error(f"no list to start from: {error}")
            text = None
        if text:
            self._declare(text, now_s)
            self._tell(Event("last good list", "", "started from the list on disk, without Redis"))
        else:
            self._declared = Declared()

    def _declare(self, raw: Mapping[str, Mapping[str, str] | None], now_s: float) -> None:
        before = self._declared or Declared()
        declared, rejected = read_list(raw, before)
        self._tell_refused(rejected, raw, before)
        left = before.destinations.keys() - declared.destinations.keys()
        keys_before = self._balancer.answer_times()
        self._balancer.declare(declared, now_s=now_s)
        keys = self._balancer.answer_times()
        self._retiring.update(
            {key: (wait, now_s + life_s(wait) + SWEPT_WITHIN_S) for key, wait in keys_before.items() if key not in keys}
        )
        self._declared = declared
        if declared.text != before.text and declared.destinations:
            self._save(declared)
        self._store.queue_forget_why(left)
        for address in {address_of(uri) for uri in left} - {address_of(uri) for uri in declared.destinations}:
            self._throttles.forget(address)

    def _save(self, declared: Declared) -> None:
        try:
            self._last_good.save(declared.text)
        except OSError as error:
            self._sip.error(f"the last good list could not be written to disk: {error}")

    def _tell_refused(
        self, rejected: list[Rejected], raw: Mapping[str, Mapping[str, str] | None], before: Declared
    ) -> None:
        """Name each refused value once, until it is mended."""
        unreadable = [Rejected(name, "", "", "expected a hash") for name, fields in raw.items() if fields is None]
        refused = set(rejected) | set(unreadable)
        for item in sorted(refused - self._refused, key=lambda r: (r.hash, r.field)):
            value = item.value if len(item.value) <= 80 else item.value[:77] + "..."
            had_one = not item.field or item.field in before.good.get(item.hash, {})
            now = "the last good value stays" if had_one else "it is as if it were not there"
            reason = f"{self._store.key(item.hash)} {item.field} {value!r} refused: {item.reason}; {now}"
            self._tell(Event("rejected", item.field if item.hash != "settings" else "", reason))
        self._refused = refused

    # --- decisions ---

    def _publish(self, decision: Decision) -> None:
        if decision.snapshot is not None:
            self._offers.publish(e.address for e in decision.snapshot.entries if e.overload_control)
            self._snapshots.publish(decision.snapshot.version, encode(decision.snapshot))
        if decision.probes is not None:
            self._probes_version += 1
            self._probes.publish(self._probes_version, probing.encode(decision.probes))
            self._probes.note("invites", probing.count_invites(decision.probes))

    def _sync_mirror(self) -> None:
        disabled = self._balancer.disabled()
        uris = {uri: uri in disabled or d.state is State.MAINT for uri, d in self._destinations().items()}
        try:
            if self._mirror.sync(uris, self._balancer.up()):
                self._mirror_failed = False
        except OSError as error:
            if not self._mirror_failed:
                self._mirror_failed = True
                self._sip.error(f"dispatcher's list cannot be written, it stays behind: {error}")

    def _destinations(self) -> Mapping[str, Destination]:
        return self._declared.destinations if self._declared is not None else {}

    def _look_at_dispatcher(self) -> None:
        for uri, disabled in (self._mirror.disabled_by_operator() or {}).items():
            self._balancer.on_disabled(uri, disabled=disabled)

    def _report(self, decision: Decision) -> None:
        for event in decision.events:
            self._tell(event)
        if decision.standings is not None:
            updated_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self._store.queue_why({s.uri: {**s.fields, "updated_at": updated_at} for s in decision.standings})
            self._shares = {s.uri: s.share_percent for s in decision.standings}
        try:
            fresh = self._shares is not None
            if self._shares is not None:
                self._store.write_shares(self._shares)
                self._shares = None
            self._store.write_why()
            self._store.write_events()
            if fresh:
                self._write_failed = False
            self._on_store_used()
        except StoreUnavailable as error:
            self._write_failed = True
            self._on_store_lost(str(error), self._clock_us() / 1e6)

    def _tell(self, event: Event) -> None:
        line = " ".join(filter(None, (event.kind, event.destination, event.reason)))
        # A field's name is anybody's text: it must not begin a line of its own in the log.
        self._sip.notice("".join(c if c.isprintable() else "?" for c in line))
        self._store.queue_event({"kind": event.kind, "destination": event.destination, "reason": event.reason})
