r"""
The control process's mind: facts and the operator's list in, decisions out.

    declare(list)  on_answer, on_pong ... (facts)
          \          /
           decide(now)  -->  snapshot for the workers, effective shares and their reasons, events

Keeps what was learned of each destination across changes of the list. Does not know Kamailio, Redis, files or clocks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .capacity import from_calls, from_pings
from .declared import Declared
from .destination import Destination, Mode, State
from .health import Health
from .observed import Observed
from .outcome import Outcome, of_status
from .pings import Pings
from .settings import FirstReply, Policy, ProbeMethod, Settings
from .snapshot import Entry, Rule, Snapshot
from .standing import Situation, Standing, stand
from .volume import Volume
from .weight import (
    ERRORS_GROWTH_PER_S,
    Factors,
    capacity_factors,
    error_factor,
    holding,
    limit_change,
    shares,
    slow_start_factor,
)

WEIGHT_UPDATE_PERIOD_S: Final = 1.0  # gRFC A58
LEAST_WEIGHT: Final = 1e-9  # a turn is 1 / weight
PANIC_ATTEMPTS: Final = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something an operator may want to know of, now or later."""

    kind: str
    destination: str  # URI, empty for the whole set
    reason: str


@dataclass(frozen=True, slots=True)
class Probe:
    """How often a destination is pinged and how long the answer is waited for; interval_s 0 means not at all."""

    interval_s: float
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Decision:
    """What changed; None where nothing did."""

    snapshot: Snapshot | None
    standings: tuple[Standing, ...] | None
    probes: Mapping[str, Probe] | None
    events: tuple[Event, ...]


class Balancer:
    """One destination set under control."""

    def __init__(self) -> None:
        """Start with an empty list."""
        self._declared = Declared()
        self._settings: dict[str, Settings] = {}
        self._observed: dict[str, Observed] = {}
        self._by_key: dict[str, str] = {}
        self._last_key = 0
        self._pings = Pings()
        self._events: list[Event] = []
        self._volume = Volume()
        self._panic = False
        self._dirty = True
        self._weighed_s: float | None = None
        self._snapshot = Snapshot()
        self._probes: dict[str, Probe] = {}

    # --- the operator's word ---

    def declare(self, declared: Declared, *, now_s: float) -> None:
        """Put the operator's list in force. Destinations present in the first list do not ramp up."""
        first = self._last_key == 0
        before = self._declared.destinations
        self._declared = declared
        self._settings = {uri: declared.settings.of(uri) for uri in declared.destinations}
        for uri in before.keys() - declared.destinations.keys():
            self._by_key.pop(self._observed.pop(uri).key)
            self._event("left", uri, "taken off the list")
        for uri, destination in declared.destinations.items():
            old = before.get(uri)
            if old is None:
                self._last_key += 1
                key = f"d{self._last_key}"
                self._observed[uri] = Observed(key, ramp_from_s=None if first else now_s)
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

    def on_pong(self, call_id: str, status: int, *, received_s: float) -> None:
        """Take the answer to a ping; one that comes after its timeout is no answer."""
        ping = self._pings.on_answered(call_id, now_s=received_s)
        if ping is None or ping.uri not in self._observed:
            return
        if ping.age_s > self._settings[ping.uri].probe_timeout_s:
            self._on_lost_ping(ping.uri)
            return
        self._observed[ping.uri].on_pong(ping.age_s, of_status(status), now_s=received_s)
        self._on_sign_of_life(self._observed[ping.uri].key, now_s=received_s)

    def _on_sign_of_life(self, key: str, *, now_s: float) -> None:
        uri = self._by_key[key]
        observed = self._observed[uri]
        if observed.health.on_answer(rise=self._settings[uri].rise):
            observed.on_restart(now_s=now_s)
            self._dirty = True
            self._event("up", uri, f"answered {self._settings[uri].rise} times in a row")

    def _on_lost_ping(self, uri: str) -> None:
        settings, observed = self._settings[uri], self._observed[uri]
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

    # --- decisions ---

    def decide(self, in_flight: Callable[[str], int], *, now_s: float) -> Decision:
        """
        Bring weights, states and events up to date.

        Args:
            in_flight: key -> requests in flight, for the operator's view alone.
            now_s: monotonic seconds, the clock of all facts.

        Returns:
            What the workers and the operator have to be told.
        """
        for uri in self._pings.take_lost({u: s.probe_timeout_s for u, s in self._settings.items()}, now_s=now_s):
            self._on_lost_ping(uri)
        crossed = self._volume.check(self._declared.settings.threshold_cps, now_s=now_s)
        if crossed:
            self._dirty = True
            self._event("threshold", "", crossed)
        due = self._weighed_s is None or now_s - self._weighed_s >= WEIGHT_UPDATE_PERIOD_S
        snapshot = standings = None
        if due or self._dirty or self._retry_after_ended(now_s):
            candidates = self._candidates(now_s)
            factors = self._weigh(now_s)
            standings = self._place(candidates, factors, in_flight, now_s)
            snapshot = self._publishable(candidates, factors, now_s)
            self._weighed_s = now_s
            self._dirty = False
        probes = self._changed_probes()
        events, self._events = tuple(self._events), []
        return Decision(snapshot, standings, probes, events)

    def answer_times(self) -> Mapping[str, float]:
        """Return, for every destination's key, how long its answers are waited for, in seconds."""
        return {observed.key: self._settings[uri].no_response_s for uri, observed in self._observed.items()}

    def up(self) -> Mapping[str, bool]:
        """Return whether each destination is up, by URI."""
        return {uri: observed.health.up for uri, observed in self._observed.items()}

    def disabled(self) -> set[str]:
        """Return the URIs that an operator disabled in Kamailio's dispatcher."""
        return {uri for uri, observed in self._observed.items() if observed.disabled}

    def _find(self, key: str) -> Observed | None:
        uri = self._by_key.get(key)
        return self._observed[uri] if uri is not None else None

    def _event(self, kind: str, uri: str, reason: str) -> None:
        self._events.append(Event(kind, uri, reason))

    def _retry_after_ended(self, now_s: float) -> bool:
        weighed_s = self._weighed_s if self._weighed_s is not None else now_s
        return any(weighed_s < o.retry_after_until_s <= now_s for o in self._observed.values())

    def _usable(self, uri: str, now_s: float) -> bool:
        observed = self._observed[uri]
        return (
            self._declared.destinations[uri].takes_new_calls
            and not observed.disabled
            and observed.health.up
            and observed.retry_after_until_s <= now_s
        )

    def _weigh(self, now_s: float) -> dict[str, Factors]:
        """Return the factors of every destination of the list, usable or not."""
        elapsed_s = now_s - self._weighed_s if self._weighed_s is not None else 0.0
        capacities = capacity_factors(self._capacities(now_s))
        factors = {}
        for uri, destination in self._declared.destinations.items():
            observed = self._observed[uri]
            errors = error_factor(observed.error_rate(now_s), observed.failed_in_a_row(now_s))
            observed.capacity = limit_change(capacities[uri], observed.capacity, elapsed_s)
            slowly = limit_change(errors, observed.errors, elapsed_s, growth_per_s=ERRORS_GROWTH_PER_S)
            observed.errors = min(errors, slowly)  # up slowly, down at once
            factors[uri] = self._in_force(destination, now_s)
        return factors

    def _capacities(self, now_s: float) -> Mapping[str, float | None]:
        """Return what calls say of each destination's capacity, or, while there are too few of them, what pings say."""
        by_calls = from_calls({uri: observed.curve for uri, observed in self._observed.items()}, now_s)
        if by_calls is not None:
            return by_calls
        return from_pings({uri: observed.ping_time.value for uri, observed in self._observed.items()})

    def _in_force(self, destination: Destination, now_s: float) -> Factors:
        """Return the factors that policy and mode let through."""
        policy = self._declared.settings.policy
        if self._panic or destination.mode is Mode.MANUAL:
            return Factors(destination.weight)
        observed, settings = self._observed[destination.uri], self._settings[destination.uri]
        age_s = now_s - observed.ramp_from_s if observed.ramp_from_s is not None else None
        slow_start = slow_start_factor(age_s, settings.slow_start_s)
        if policy is Policy.ADAPTIVE and self._volume.above:
            return Factors(destination.weight, observed.capacity, observed.errors, slow_start)
        if policy is Policy.ROUND_ROBIN and self._volume.above:
            return Factors(1.0, slow_start=slow_start)
        return Factors(destination.weight, slow_start=slow_start)

    def _publishable(self, candidates: list[str], factors: Mapping[str, Factors], now_s: float) -> Snapshot | None:
        """Return the snapshot to publish, or None when it says what the last one said."""
        settings = self._declared.settings
        rates = {uri: self._observed[uri].error_rate(now_s) for uri in candidates}
        held = holding(rates)
        adaptive = self._panic or (settings.policy is Policy.ADAPTIVE and self._volume.above)
        entries = tuple(
            Entry(
                key=self._observed[uri].key,
                uri=uri,
                weight=_rounded(factors[uri].weight),
                tier=self._declared.destinations[uri].priority,
                manual=self._declared.destinations[uri].mode is Mode.MANUAL,
                holds=uri in held,
                beyond_100=self._settings[uri].first_reply is FirstReply.BEYOND_100,
                no_response_s=self._settings[uri].no_response_s,
            )
            for uri in candidates
        )
        snapshot = Snapshot(
            version=self._snapshot.version,
            rule=Rule.LEAST if adaptive else Rule.TURNS,
            max_attempts=PANIC_ATTEMPTS if self._panic else settings.max_attempts,
            panic=self._panic,
            reason="" if entries else self._why_empty(),
            entries=entries,
        )
        if snapshot == self._snapshot and snapshot.version > 0:
            return None
        self._snapshot = replace(snapshot, version=self._snapshot.version + 1)
        return self._snapshot

    def _candidates(self, now_s: float) -> list[str]:
        """Return who may be picked: the usable ones, or in panic everybody the operator allows."""
        destinations = self._declared.destinations
        allowed = [u for u, d in destinations.items() if d.takes_new_calls and not self._observed[u].disabled]
        usable = [u for u in allowed if self._usable(u, now_s)]
        all_weight = sum(destinations[u].weight for u in allowed)
        usable_weight = sum(destinations[u].weight for u in usable)
        percent = self._declared.settings.panic_percent
        panic = bool(allowed) and (not usable or 100.0 * usable_weight < percent * all_weight)
        if panic is not self._panic:
            self._panic = panic
            count = f"{len(usable)} of {len(allowed)} destinations usable"
            self._event("panic" if panic else "panic over", "", f"{count}; trying all" if panic else count)
        return allowed if panic else usable

    def _why_empty(self) -> str:
        if not self._declared.destinations:
            return "the list of destinations is empty"
        return "every destination has weight 0 or is in drain, in maint or disabled"

    def _place(
        self,
        candidates: list[str],
        factors: Mapping[str, Factors],
        in_flight: Callable[[str], int],
        now_s: float,
    ) -> tuple[Standing, ...]:
        """Return every destination's share and the reason for it."""
        destinations = self._declared.destinations
        tier = min((destinations[uri].priority for uri in candidates), default=0)
        weights = {uri: factors[uri].weight for uri in candidates if destinations[uri].priority == tier}
        percent = shares(weights)
        situation = Situation(self._panic, self._volume.above, self._declared.settings.policy, tier)
        return tuple(
            stand(
                destination,
                self._observed[uri],
                factors[uri],
                situation,
                share_percent=percent.get(uri, 0.0),
                in_flight=in_flight(self._observed[uri].key),
                now_s=now_s,
            )
            for uri, destination in destinations.items()
        )

    def _changed_probes(self) -> dict[str, Probe] | None:
        probes = {}
        for uri, observed in self._observed.items():
            settings = self._settings[uri]
            in_maint = self._declared.destinations[uri].state is State.MAINT
            probed = settings.probe_method is not ProbeMethod.NONE and not in_maint
            interval_s = observed.health.probe_interval(settings.probe_interval_s, fall=settings.fall) if probed else 0
            probes[uri] = Probe(interval_s, settings.probe_timeout_s)
        if probes == self._probes:
            return None
        self._probes = probes
        return probes


def _rounded(weight: float) -> float:
    """Keep four digits: enough for any share, and a snapshot that does not change for nothing; never 0."""
    return max(float(f"{weight:.4g}"), LEAST_WEIGHT)
