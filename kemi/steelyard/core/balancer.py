r"""
The control process's mind: facts and the operator's list in, decisions out.

    declare(list)  on_answer, on_pong ... (facts)
          \          /
           decide(now)  -->  snapshot for the workers, effective shares and their reasons, events

Keeps what was learned of each destination across changes of the list. Does not know Kamailio, Redis, files or clocks.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .capacity import ByReports, blend, from_calls, from_pings
from .destination import Destination, Mode, State
from .roster import Event, Roster, Throttled
from .settings import FirstReply, Policy, ProbeMethod, Switch
from .snapshot import Entry, Rule, Snapshot
from .standing import Situation, Standing, stand
from .weight import (
    ERRORS_GROWTH_PER_S,
    Factors,
    capacity_factors,
    error_factor,
    holding,
    limit_change,
    median_of,
    shares,
    slow_start_factor,
)

WEIGHT_UPDATE_PERIOD_S: Final = 1.0  # gRFC A58
LEAST_WEIGHT: Final = 1e-9  # a turn is 1 / weight
PANIC_ATTEMPTS: Final = 8
OVERLOAD_OVER_S: Final = 10.0  # without it before it is told to be over: at the brink it comes and goes
HOLD_MIN: Final = 0.2
HOLD_MAX: Final = 5.0
HOLD_FORGOTTEN: Final = 0.05  # half an hour after the last report


@dataclass(frozen=True, slots=True)
class Probe:
    """How a destination is asked for a sign of life; interval_s 0 means not at all."""

    interval_s: float
    timeout_s: float
    method: ProbeMethod = ProbeMethod.OPTIONS
    asks_load: bool = True
    overload_control: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """What changed; None where nothing did."""

    snapshot: Snapshot | None
    standings: tuple[Standing, ...] | None
    probes: Mapping[str, Probe] | None
    events: tuple[Event, ...]
    overload_percent: int = 0  # of what our own upstream sends us, to be kept away; 0 unless all destinations ask so


class Balancer(Roster):
    """One destination set under control."""

    def __init__(self) -> None:
        """Start with an empty list."""
        super().__init__()
        self._panic = False
        self._weighed_s: float | None = None
        self._snapshot = Snapshot()
        self._unit_cps = 1.0  # the capacity whose factor is 1
        self._probes: dict[str, Probe] = {}

    # --- decisions ---

    def decide(
        self, in_flight: Callable[[str], int], throttled: Callable[[str], Throttled], *, now_s: float
    ) -> Decision:
        """
        Bring weights, states and events up to date.

        Args:
            in_flight: key -> requests in flight, for the operator's view alone.
            throttled: address -> what overload control keeps from the destination there.
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
        self._look_at_throttles(throttled, now_s)
        due = self._weighed_s is None or now_s - self._weighed_s >= WEIGHT_UPDATE_PERIOD_S
        weigh = due or self._dirty or self._retry_after_ended(now_s)
        probes = self._changed_probes() if weigh or self._health_changed else None
        self._health_changed = False
        snapshot = standings = None
        if weigh:
            candidates = self._candidates(now_s)
            held = holding({uri: self._observed[uri].outcomes(now_s) for uri in candidates})
            factors = self._weigh(held, now_s)
            standings = self._place(candidates, factors, in_flight, now_s)
            snapshot = self._publishable(candidates, factors, held, now_s)
            self._weighed_s = now_s
            self._dirty = False
        events, self._events = tuple(self._events), []
        return Decision(snapshot, standings, probes, events, self._overload_percent(now_s))

    def _look_at_throttles(self, throttled: Callable[[str], Throttled], now_s: float) -> None:
        """Take the overload control in force; its beginning is told, and its end once it has lasted."""
        for uri, observed in self._observed.items():
            seen = throttled(observed.address)
            observed.on_throttled(seen.throttle, seen.shed, now_s=now_s)
            if seen.throttle is not None:
                if observed.overload_s is None:
                    self._dirty = True
                    self._event("overload", uri, f"asks by overload control for {seen.throttle.in_words}")
                observed.overload_s = now_s
            elif observed.overload_s is not None and now_s - observed.overload_s >= OVERLOAD_OVER_S:
                observed.overload_s = None
                self._dirty = True
                self._event("overload over", uri, f"{seen.shed} requests have been kept from it since it joined")

    def _overload_percent(self, now_s: float) -> int:
        """
        Return what to ask of our own upstream: nothing unless every destination that may be picked asks it of us.

        Source: RFC 6357 section 6, the load balancer's place: it is in overload when all its servers are.
        """
        uris = [entry.uri for entry in self._snapshot.entries]
        percents = {uri: self._observed[uri].overload_percent(now_s) for uri in uris if uri in self._observed}
        if not percents or min(percents.values()) <= 0:
            return 0
        weights = {entry.uri: entry.weight for entry in self._snapshot.entries}
        total = sum(weights[uri] for uri in percents)
        return max(round(sum(weights[uri] * percent for uri, percent in percents.items()) / total), 1)

    def answer_times(self) -> Mapping[str, float]:
        """Return, for every destination's key, how long its answers are waited for, in seconds."""
        return {observed.key: self._settings[uri].no_response_s for uri, observed in self._observed.items()}

    def up(self) -> Mapping[str, bool]:
        """Return whether each destination is up, by URI."""
        return {uri: observed.health.up for uri, observed in self._observed.items()}

    def disabled(self) -> set[str]:
        """Return the URIs that an operator disabled in Kamailio's dispatcher."""
        return {uri for uri, observed in self._observed.items() if observed.disabled}

    def _retry_after_ended(self, now_s: float) -> bool:
        weighed_s = self._weighed_s if self._weighed_s is not None else now_s
        return any(weighed_s < o.retry_after_until_s <= now_s for o in self._observed.values())

    def _usable(self, uri: str, now_s: float) -> bool:
        observed = self._observed[uri]
        return (
            self._declared.destinations[uri].takes_new_calls
            and not observed.disabled
            and observed.health.up
            and observed.agent.takes_new_calls
            and observed.retry_after_until_s <= now_s
        )

    def _weigh(self, held: Collection[str], now_s: float) -> dict[str, Factors]:
        """
        Return the factors of every destination of the list, usable or not.

        Args:
            held: who fails more than the others; where all fail alike, failures in a row are chance.
            now_s: monotonic seconds.
        """
        elapsed_s = now_s - self._weighed_s if self._weighed_s is not None else 0.0
        estimates = self._capacities(now_s)
        capacities = capacity_factors(estimates)
        self._unit_cps = median_of(estimates)
        factors = {}
        for uri, destination in self._declared.destinations.items():
            observed = self._observed[uri]
            in_a_row = observed.failed_in_a_row(now_s) if uri in held else 0
            errors = error_factor(observed.error_rate(now_s), in_a_row)
            observed.capacity = limit_change(capacities[uri], observed.capacity, elapsed_s)
            slowly = limit_change(errors, observed.errors, elapsed_s, growth_per_s=ERRORS_GROWTH_PER_S)
            observed.errors = min(errors, slowly)  # up slowly, down at once
            factors[uri] = self._in_force(destination, now_s)
        return factors

    def _capacities(self, now_s: float) -> Mapping[str, float | None]:
        """
        Return each destination's capacity by its reports as far as they count.

        Beyond that by what calls say of it or, while there are too few of them, by what pings say.
        """
        by_calls = from_calls({uri: observed.curve for uri, observed in self._observed.items()}, now_s)
        for uri, observed in self._observed.items():
            observed.base_s = by_calls[uri].base_s if by_calls else None
        by_answers: Mapping[str, float | None] = {uri: times.capacity for uri, times in by_calls.items()}
        if not by_answers:
            by_answers = from_pings({uri: observed.ping_time.value for uri, observed in self._observed.items()})
        by_reports = {
            uri: ByReports(capacity, observed.reported.trust(now_s))
            for uri, observed in self._observed.items()
            if (capacity := observed.reported.capacity()) is not None and self._settings[uri].load_reports is Switch.ON
        }
        return blend(by_answers, by_reports)

    def _in_force(self, destination: Destination, now_s: float) -> Factors:
        """Return the factors that policy and mode let through."""
        policy = self._declared.settings.policy
        if self._panic or destination.mode is Mode.MANUAL:
            return Factors(destination.weight)
        observed, settings = self._observed[destination.uri], self._settings[destination.uri]
        age_s = now_s - observed.ramp_from_s if observed.ramp_from_s is not None else None
        slow_start = slow_start_factor(age_s, settings.slow_start_s)
        percent = observed.agent.percent / 100
        if policy is Policy.ADAPTIVE and self._volume.above:
            return Factors(destination.weight, observed.capacity, observed.errors, slow_start, percent)
        if policy is Policy.ROUND_ROBIN and self._volume.above:
            return Factors(1.0, slow_start=slow_start)
        return Factors(destination.weight, slow_start=slow_start, percent=percent)

    def _publishable(
        self, candidates: list[str], factors: Mapping[str, Factors], held: Collection[str], now_s: float
    ) -> Snapshot | None:
        """Return the snapshot to publish, or None when it says what the last one said."""
        settings = self._declared.settings
        holds = self._hold_times(candidates, factors, now_s)
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
                hold=holds.get(uri, 1.0),
                base=_rounded(self._base(uri, factors[uri], fails_more=uri in held)),
                bend=_rounded(self._observed[uri].bend(self._unit_cps)),
                address=self._observed[uri].address,
                overload_control=self._settings[uri].overload_control is Switch.ON,
            )
            for uri in candidates
        )
        snapshot = Snapshot(
            version=self._snapshot.version,
            rule=self._rule(reporting=bool(holds)),
            max_attempts=PANIC_ATTEMPTS if self._panic else settings.max_attempts,
            panic=self._panic,
            reason="" if entries else self._why_empty(),
            entries=entries,
        )
        if snapshot == self._snapshot and snapshot.version > 0:
            return None
        self._snapshot = replace(snapshot, version=self._snapshot.version + 1)
        return self._snapshot

    def _rule(self, *, reporting: bool) -> Rule:
        """
        Return by what a worker picks.

        Where reports tell how busy each destination is, all are kept equally so; else callers wait least when each
        request goes where it is served soonest.
        """
        if self._panic:
            return Rule.LEAST
        if self._declared.settings.policy is not Policy.ADAPTIVE or not self._volume.above:
            return Rule.TURNS
        return Rule.LEAST if reporting else Rule.SOONEST

    def _base(self, uri: str, factors: Factors, *, fails_more: bool) -> float:
        """
        Return a destination's time while not crowded, in 1 / weight.

        What may fail is as good as late, but only beside others that do not: where all fail alike, who has had fewer
        calls of late looks a little better, and would draw all of them in turn.
        """
        time_s = self._observed[uri].base_s
        base = 1.0 / factors.capacity if time_s is None else time_s * self._unit_cps
        return base / factors.errors if fails_more else base

    def _hold_times(self, candidates: list[str], factors: Mapping[str, Factors], now_s: float) -> Mapping[str, float]:
        """
        Return how long each destination holds a request beside the set's usual, 1 where no reports told it.

        Empty where nobody's did.

        Destinations of the same utilization hold as many requests as capacity times time makes (Little's law): with
        that for their room, and not the capacity alone, the shares of a busy set are those of the capacities.
        """
        known = {
            uri: (time_s, trust)
            for uri in candidates
            if self._settings[uri].load_reports is Switch.ON
            and (time_s := self._observed[uri].hold_time.value) is not None
            and (trust := self._observed[uri].reported.linger(now_s)) > HOLD_FORGOTTEN
        }
        if not known:
            return {}
        total = sum(factors[uri].weight * trust for uri, (_, trust) in known.items())
        usual_s = sum(factors[uri].weight * trust * time_s for uri, (time_s, trust) in known.items()) / total
        return {uri: _hold(*known.get(uri, (usual_s, 0.0)), usual_s) for uri in candidates}

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
        situation = Situation(
            self._panic, self._volume.above, self._declared.settings.policy, tier, unit_cps=self._unit_cps
        )
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
            in_maint = State.MAINT in (self._declared.destinations[uri].state, observed.agent.state)
            probed = settings.probe_method is not ProbeMethod.NONE and not in_maint
            interval_s = observed.health.probe_interval(settings.probe_interval_s, fall=settings.fall) if probed else 0
            probes[uri] = Probe(
                interval_s,
                settings.probe_timeout_s,
                settings.probe_method,
                asks_load=settings.load_reports is Switch.ON,
                overload_control=settings.overload_control is Switch.ON,
            )
        if probes == self._probes:
            return None
        self._probes = probes
        return probes


def _hold(time_s: float, trust: float, usual_s: float) -> float:
    return round(min(max(time_s / usual_s, HOLD_MIN), HOLD_MAX) ** trust, 2)


def _rounded(weight: float) -> float:
    """Keep four digits: enough for any share, and a snapshot that does not change for nothing; never 0."""
    return max(float(f"{weight:.4g}"), LEAST_WEIGHT)
