"""
Where a destination stands after a decision, in numbers and in words: a row of the operator's view.

Explains what was decided; decides nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from .destination import Destination, Mode
from .load_report import LoadReport
from .observed import Observed
from .settings import Policy
from .weight import FAILURES_FORGIVEN, Factors, error_factor


@dataclass(frozen=True, slots=True)
class Situation:
    """What is true of the whole set."""

    panic: bool
    above_threshold: bool
    policy: Policy
    tier: int  # the priority in use
    unit_cps: float = 1.0  # the requests per second for which a capacity of 1 stands


@dataclass(frozen=True, slots=True)
class Standing:
    """One destination's share and every factor behind it."""

    uri: str
    share_percent: float
    fields: Mapping[str, str]  # of the `why` hash


def stand(  # noqa: PLR0913 - one row needs all of it
    destination: Destination,
    observed: Observed,
    factors: Factors,
    situation: Situation,
    *,
    share_percent: float,
    in_flight: int,
    now_s: float,
) -> Standing:
    """Return the row of one destination."""
    time_s = observed.curve.mean_time(now_s) if observed.has_evidence(now_s) else None
    fields = {
        "effective": f"{share_percent:.2f}",
        "declared": f"{destination.weight:g}",
        "percent": f"{observed.agent.percent:g}",
        "capacity": f"{factors.capacity:.3f}",
        "errors": f"{factors.errors:.3f}",
        "slow_start": f"{factors.slow_start:.3f}",
        "response_time_ms": _ms(time_s),
        "base_ms": _ms(observed.base_s),
        "bend": "" if observed.base_s is None else f"{observed.bend(situation.unit_cps):.1f}",
        "ping_ms": _ms(observed.ping_time.value),
        "in_flight": str(in_flight),
        **_load(observed, now_s),
        "oc": "" if observed.throttle is None else observed.throttle.in_words,
        "shed": str(observed.shed),
        "error_rate": f"{observed.error_rate(now_s):.3f}",
        "health": "up" if observed.health.up else "down",
        "state": destination.state,
        "mode": destination.mode,
        "priority": str(destination.priority),
        "reason": _reason(destination, observed, factors, situation, now_s),
    }
    return Standing(destination.uri, share_percent, fields)


def _load(observed: Observed, now_s: float) -> dict[str, str]:
    """Return what the reports say; empty texts where nothing was reported."""
    reported, last = observed.reported, observed.reported.last
    age_s, capacity = reported.age_s(now_s), reported.capacity()
    utilization = last.utilization if last else None
    return {
        "utilization": "" if utilization is None else f"{utilization:.3f}",
        "most_constrained": last.most_constrained if last else "",
        "reported_rps": "" if last is None or last.rps is None else f"{last.rps:g}",
        "reported_capacity": "" if capacity is None else f"{capacity:.1f}",
        "report_source": reported.source,
        "report_age_s": "" if age_s is None else f"{age_s:.1f}",
        "report_trust": f"{reported.trust(now_s):.2f}",
        "reports_refused": str(reported.refused),
    }


def _reason(destination: Destination, observed: Observed, factors: Factors, situation: Situation, now_s: float) -> str:
    """Say in words why a destination has its share; what weighs most comes first and alone."""
    out = _why_out(destination, observed, now_s)
    tried = destination.takes_new_calls and not observed.disabled and destination.priority == situation.tier
    if situation.panic and tried:
        out = f"panic: tried by declared weight although {out}" if out else "panic: tried by declared weight"
    if out:
        return out
    if destination.priority != situation.tier:
        return f"priority {destination.priority}: waits until all of lower numbers are out"
    if destination.mode is Mode.MANUAL:
        return "manual: the declared weight as it is"
    if not situation.above_threshold:
        return "below threshold_cps: round robin by declared weight"
    if situation.policy is not Policy.ADAPTIVE:
        return f"policy {situation.policy}"
    return "; ".join(_what_was_learned(observed, factors, now_s)) or "as declared"


def _why_out(destination: Destination, observed: Observed, now_s: float) -> str:
    if destination.weight == 0:
        return "declared weight 0"
    if not destination.takes_new_calls:
        return f"state {destination.state}"
    if observed.disabled:
        return "disabled with dispatcher.set_state"
    return _why_unwell(observed, now_s)


def _why_unwell(observed: Observed, now_s: float) -> str:
    if not observed.health.up:
        return f"down: {observed.health.silences} pings in a row unanswered"
    if not observed.agent.takes_new_calls:
        return _agents_word(observed.agent)
    if observed.retry_after_until_s > now_s:
        return f"asked by Retry-After to be left alone for {observed.retry_after_until_s - now_s:.0f} s"
    return ""


def _agents_word(agent: LoadReport) -> str:
    if agent.down:
        return f"down by its agent's word: {agent.down}"
    return f"state {agent.state} by its agent's word" if agent.percent > 0 else "0 % by its agent's word"


def _what_was_learned(observed: Observed, factors: Factors, now_s: float) -> list[str]:
    parts = []
    if factors.slow_start < 1:
        parts.append(f"slow start at {factors.slow_start:.0%}")
    if observed.throttle is not None:
        parts.append(f"asks for {observed.throttle.in_words}")
    row, rate = observed.failed_in_a_row(now_s), observed.error_rate(now_s)
    if row > FAILURES_FORGIVEN:
        parts.append(f"its last {observed.last_failures} calls failed")
    elif factors.errors < 0.9:
        recovering = error_factor(rate, row) > factors.errors
        parts.append("recovering from failed calls" if recovering else f"{rate:.0%} of its calls fail")
    if observed.agent.percent < 100:
        parts.append(f"its agent leaves {observed.agent.percent:g} % of its weight")
    parts += _what_is_known_of_capacity(observed, factors, now_s)
    if observed.hides_behind_100(now_s):
        parts.append("100 Trying comes long before anything else: consider first_reply beyond-100")
    return parts


def _what_is_known_of_capacity(observed: Observed, factors: Factors, now_s: float) -> list[str]:
    doubt = observed.reported.doubt(now_s)
    parts = [doubt] if doubt else []
    believed = observed.reported.trust(now_s) > 0.5
    verb, of_what = ("reports", "capacity") if believed else ("clears", "calls")
    if not believed and not observed.has_evidence(now_s):
        parts.append("few calls: judged by pings or by the set's average")
    elif factors.capacity > 1.1:
        parts.append(f"{verb} {factors.capacity:.1f} x the median's {of_what}")
    elif factors.capacity < 0.9:
        parts.append(f"{verb} only {factors.capacity:.1f} x the median's {of_what}")
    return parts


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.3f}"
