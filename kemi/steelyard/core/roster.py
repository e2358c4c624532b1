"""
The destinations under control: the operator's list, and what is known of each from facts.

Keeps what was learned of each destination across changes of the list, and says what happened as events.
Does not know weights, or what is decided by any of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .declared import Declared
from .destination import BadValue, State, address_of, may_answer
from .health import Health
from .load_report import LoadReport, parse_header, parse_pushed
from .observed import Observed
from .outcome import Outcome, of_status
from .pings import Ping, Pings
from .refusals import Refusals
from .settings import ProbeMethod, Settings, Switch
from .throttle import Throttle
from .volume import Volume

PUSH_INTERVAL_S: Final = 2.0  # of the agents; slower ones are fresh for less of their interval


@dataclass(frozen=True, slots=True)
class Event:
    """Something an operator may want to know of, now or later."""

    kind: str
    destination: str  # URI, empty for the whole set
    reason: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """What a destination's overload control keeps from it."""

    throttle: Throttle | None  # in force
    shed: int  # requests kept from it so far


class Roster:
    """One destination set as it is known."""

    def __init__(self) -> None:
        """Start with an empty list."""
        self._declared = Declared()
        self._settings: dict[str, Settings] = {}
        self._observed: dict[str, Observed] = {}
        self._by_key: dict[str, str] = {}
        self._last_key = 0
        self._pings = Pings()
        self._pushed: dict[str, Mapping[str, str] | None] = {}  # as last read
        self._refusals = Refusals()
        self._events: list[Event] = []
        self._volume = Volume()
        self._dirty = True
        self._health_changed = False  # of anybody, by a silence or the first answer after one

    # --- the operator's word ---

    def declare(self, declared: Declared, *, now_s: float) -> None:
        """Put the operator's list in force. Destinations present in the first list do not ramp up."""
        first = self._last_key == 0
        before = self._declared.destinations
        self._declared = declared
        self._settings = {uri: declared.settings.of(uri) for uri in declared.destinations}
        for uri in before.keys() - declared.destinations.keys():
            self._by_key.pop(self._observed.pop(uri).key)
            self._pushed.pop(uri, None)
            self._refusals.forgive(uri)
            self._event("left", uri, "taken off the list")
        for uri, destination in declared.destinations.items():
            old = before.get(uri)
            if old is None:
                self._last_key += 1
                key = f"d{self._last_key}"
                self._observed[uri] = Observed(key, address_of(uri), ramp_from_s=None if first else now_s)
                self._by_key[key] = uri
                self._event("joined", uri, f"weight {destination.weight:g}")
            elif old.state is not destination.state:
                self._event(destination.state, uri, f"state was {old.state}")
                if old.state is State.MAINT:
                    self._observed[uri].on_restart(now_s=now_s)  # nobody knows what was done to it meanwhile
            if self._settings[uri].probe_method is ProbeMethod.NONE:
                self._observed[uri].health = Health()  # who is no longer asked could never come back up
        self._dirty = True

    def on_disabled(self, uri: str, *, disabled: bool) -> None:
        """Take note that an operator disabled or enabled a destination in Kamailio's dispatcher."""
        observed = self._observed.get(uri)
        if observed is None or observed.disabled is disabled:
            return
        observed.disabled = disabled
        self._dirty = True
        kind = "disabled" if disabled else "enabled"
        self._event(kind, uri, f"{kind} with dispatcher.set_state")

    # --- facts from workers ---

    def on_answer(  # noqa: PLR0913 - one fact, whole
        self, key: str, response_time_s: float, in_flight: int, status: int, retry_after_s: float, *, now_s: float
    ) -> None:
        """Take the first reply to a call: its time, the in-flight count the call met, its status."""
        self._volume.on_call(now_s=now_s)
        observed = self._find(key)
        if observed is not None:
            observed.on_answer(response_time_s, in_flight, status, now_s=now_s)
            self._on_sign_of_life(key, now_s=now_s)
            self._on_retry_after(key, retry_after_s, now_s=now_s)

    def on_final(self, key: str, status: int, retry_after_s: float, *, now_s: float) -> None:
        """Take the final reply to a call whose first reply was a provisional one."""
        observed = self._find(key)
        if observed is not None:
            observed.on_outcome(of_status(status), now_s=now_s)
            self._on_retry_after(key, retry_after_s, now_s=now_s)

    def on_silence(self, key: str, *, now_s: float) -> None:
        """Take a call that was answered by nothing in time, or could not be sent."""
        self._volume.on_call(now_s=now_s)
        observed = self._find(key)
        if observed is not None:
            observed.on_outcome(Outcome.SILENCE, now_s=now_s)

    def on_beyond(self, key: str, trying_s: float, beyond_s: float, *, now_s: float) -> None:
        """Take the times of a 100 Trying and of the reply that followed it."""
        observed = self._find(key)
        if observed is not None:
            observed.trying_time.add(trying_s, now_s=now_s)
            observed.beyond_time.add(beyond_s, now_s=now_s)

    def on_ping(self, call_id: str, uri: str, *, sent_s: float) -> None:
        """Take note of a ping that left."""
        if uri in self._observed:
            self._pings.on_sent(call_id, uri, now_s=sent_s)

    def on_pong(self, call_id: str, status: int, source: str = "", report: str = "", *, received_s: float) -> None:
        """
        Take the answer to a ping; one that comes after its timeout is no answer.

        Args:
            call_id: that of the ping.
            status: the answer's status code.
            source: IP address that the answer came from.
            report: the load report in it, empty when it has none.
            received_s: monotonic seconds.
        """
        ping = self._pings.on_answered(call_id, now_s=received_s)
        if ping is None or ping.uri not in self._observed:
            return
        if ping.age_s > self._settings[ping.uri].probe_timeout_s:
            self._on_lost_ping(ping.uri)
            return
        self._observed[ping.uri].on_pong(ping.age_s, of_status(status), now_s=received_s)
        self._on_sign_of_life(self._observed[ping.uri].key, now_s=received_s)
        if report and self._settings[ping.uri].load_reports is Switch.ON:
            self._on_report(ping, source, report, now_s=received_s)

    def _on_sign_of_life(self, key: str, *, now_s: float) -> None:
        uri = self._by_key[key]
        observed = self._observed[uri]
        self._health_changed = self._health_changed or observed.health.silences > 0
        if observed.health.on_answer(rise=self._settings[uri].rise):
            observed.on_restart(now_s=now_s)
            self._dirty = True
            self._event("up", uri, f"answered {self._settings[uri].rise} times in a row")

    def _on_lost_ping(self, uri: str) -> None:
        settings, observed = self._settings[uri], self._observed[uri]
        self._health_changed = True
        if observed.health.on_silence(fall=settings.fall):
            self._dirty = True
            self._event("down", uri, f"{settings.fall} pings in a row unanswered within {settings.probe_timeout_s:g} s")

    def _on_retry_after(self, key: str, retry_after_s: float, *, now_s: float) -> None:
        if retry_after_s <= 0:
            return
        uri = self._by_key[key]
        observed = self._observed[uri]
        wait_s = min(retry_after_s, self._settings[uri].retry_after_cap_s)
        until_s = now_s + wait_s
        if wait_s <= 0 or until_s <= observed.retry_after_until_s:
            return
        if observed.retry_after_until_s <= now_s:
            self._event("retry-after", uri, f"503 with Retry-After: no new requests for {until_s - now_s:.0f} s")
        observed.retry_after_until_s = until_s
        self._dirty = True

    # --- load reports ---

    def _on_report(self, ping: Ping, source: str, header: str, *, now_s: float) -> None:
        """
        Take the load report in the answer to a ping.

        Args:
            ping: the ping it answers.
            source: IP address that the answer came from.
            header: the report's value.
            now_s: monotonic seconds.
        """
        if not may_answer(ping.uri, source):
            self._refuse(ping.uri, f"the answer came from {source}, which was not asked", now_s=now_s)
            return
        try:
            report = parse_header(header)
        except BadValue as error:
            self._refuse(ping.uri, str(error), now_s=now_s)
            return
        self._take_report(ping.uri, report, "sip", self._settings[ping.uri].probe_interval_s, now_s=now_s)

    def on_pushed(self, uri: str, fields: Mapping[str, str] | None, *, now_s: float) -> None:
        """
        Take a destination's pushed report as it stands in Redis.

        The agent's word (percent, state, down) holds as long as it stands there; the load is news only when a field
        has changed.

        Args:
            uri: the destination.
            fields: the hash, empty when there is none; None when the key is no hash.
            now_s: monotonic seconds.
        """
        observed = self._observed.get(uri)
        if observed is None or fields == self._pushed.get(uri, {}):
            return
        self._pushed[uri] = fields
        if fields is None:
            self._refuse(uri, "pushed: the key is no hash", now_s=now_s)
            return
        try:
            report = parse_pushed(fields)
        except BadValue as error:
            self._refuse(uri, f"pushed: {error}", now_s=now_s)
            return
        self._take_agents_word(uri, observed, report)
        if report.tells_load and self._settings[uri].load_reports is Switch.ON:
            self._take_report(uri, report, "pushed", PUSH_INTERVAL_S, now_s=now_s)

    def on_stray(self, source: str, *, now_s: float) -> None:
        """Take note of a report in a message that merely passed through; it was removed there."""
        told = self._refusals.add(source, now_s=now_s)
        if told:
            self._event("report refused", "", f"from {source}, in a message that passes through; removed{told}")

    def on_bad_feedback(self, address: str, reason: str, *, now_s: float) -> None:
        """Take note of overload control in a destination's response that cannot be understood."""
        told = self._refusals.add(f"feedback {address}", now_s=now_s)
        if told:
            self._event("feedback refused", "", f"overload control from {address}: {reason}{told}")

    def _take_report(self, uri: str, report: LoadReport, source: str, interval_s: float, *, now_s: float) -> None:
        self._observed[uri].on_report(report, source, interval_s=interval_s, now_s=now_s)
        self._refusals.forgive(uri)

    def _take_agents_word(self, uri: str, observed: Observed, report: LoadReport) -> None:
        before, observed.agent = observed.agent, report
        words = (report.state, report.down, report.percent)
        if words == (before.state, before.down, before.percent):
            return
        self._dirty = True
        if report.down:
            self._event("report", uri, f"its agent says it is down: {report.down}")
        elif before.down or report.state is not before.state or (report.percent > 0) is not (before.percent > 0):
            self._event("report", uri, f"its agent says {report.state}, {report.percent:g} % of the declared weight")

    def _refuse(self, uri: str, reason: str, *, now_s: float) -> None:
        """Count a report that cannot be used, and name it once until a good one came."""
        self._observed[uri].reported.refused += 1
        told = self._refusals.add(uri, now_s=now_s)
        if told:
            self._event("report refused", uri, f"{reason}{told}")

    def _find(self, key: str) -> Observed | None:
        uri = self._by_key.get(key)
        return self._observed[uri] if uri is not None else None

    def _event(self, kind: str, uri: str, reason: str) -> None:
        self._events.append(Event(kind, uri, reason))
