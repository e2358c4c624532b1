"""Whatever happens: properties of any history of facts and lists."""

from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steelyard.core.snapshot import decode, encode

from tests.unit.balanced import A, B, Balanced, C, listed

URIS = st.sampled_from([A, B, C])
LISTS = st.builds(
    lambda weights, state, mode, priority, policy, threshold, panic: listed(
        weights,
        state=state,
        mode=mode,
        priority=priority,
        settings={"policy": policy, "threshold_cps": threshold, "panic_percent": panic, "fall": "1", "rise": "1"},
    ),
    st.dictionaries(URIS, st.sampled_from(["0", "0.001", "1", "3", "1000000"])),
    st.dictionaries(URIS, st.sampled_from(["ready", "drain", "maint"])),
    st.dictionaries(URIS, st.sampled_from(["auto", "manual"])),
    st.dictionaries(URIS, st.sampled_from(["0", "1"])),
    st.sampled_from(["adaptive", "adaptive", "weighted", "round-robin"]),
    st.sampled_from(["0", "0", "5"]),
    st.sampled_from(["0", "50", "100"]),
)
KEYS = st.sampled_from(["d1", "d2", "d3", "d4"])
TIMES = st.floats(0, 60)
STATUSES = st.sampled_from([100, 200, 486, 500, 503])
FACTS = st.one_of(
    st.tuples(st.just("declare"), LISTS),
    st.tuples(
        st.just("on_answer"), KEYS, TIMES, st.integers(1, 500), st.sampled_from([100, 200, 486, 500, 503]), TIMES
    ),
    st.tuples(st.just("on_final"), KEYS, st.sampled_from([200, 486, 503]), TIMES),
    st.tuples(st.just("on_silence"), KEYS),
    st.tuples(st.just("on_beyond"), KEYS, TIMES, TIMES),
    st.tuples(st.just("on_ping"), st.sampled_from("xyz"), URIS),
    st.tuples(st.just("on_pong"), st.sampled_from("xyz"), st.sampled_from([200, 503])),
    st.tuples(st.just("on_disabled"), URIS, st.booleans()),
)


def file_fact(balancer, kind, values, now_s):
    """Report one fact at `now_s`, by the name that the method has for its time."""
    if kind == "on_ping":
        balancer.on_ping(*values, sent_s=now_s)
    elif kind == "on_pong":
        balancer.on_pong(*values, received_s=now_s)
    elif kind == "on_disabled":
        balancer.on_disabled(values[0], disabled=values[1])
    else:
        getattr(balancer, kind)(*values, now_s=now_s)


@settings(max_examples=60)
@given(LISTS, st.lists(st.tuples(FACTS, st.floats(0, 5)), max_size=25))
def test_no_history_makes_a_weight_or_a_share_that_cannot_be_used(first, history):
    """Weights published are finite and above 0, shares sum to 100 or to 0, and a snapshot can be read back."""
    balanced = Balanced()
    balanced.balancer.declare(first, now_s=0.0)
    now_s, version = 0.0, 0
    for (kind, *values), gap_s in history:
        file_fact(balanced.balancer, kind, values, now_s)
        now_s += gap_s
        published = balanced.decide(now_s).snapshot
        version += 1 if published else 0
        assert version == balanced.snapshot.version
        assert balanced.snapshot == decode(encode(balanced.snapshot))
        assert all(isfinite(weight) and weight > 0 for weight in balanced.weights().values())
        assert bool(balanced.snapshot.entries) is not bool(balanced.snapshot.reason)
        total = sum(balanced.shares().values())
        assert pytest.approx(100.0 if balanced.snapshot.entries else 0.0) == total
        assert all(share >= 0 for share in balanced.shares().values())


@given(st.permutations([A, B, C]), st.permutations([A, B, C]))
def test_the_order_of_destinations_decides_nothing(first, second):
    """The same facts about the same list give the same shares and reasons."""
    views = []
    for order in (first, second):
        balanced = Balanced({uri: {A: 1, B: 2, C: 3}[uri] for uri in order})
        for uri in order:
            balanced.answer(uri, times=10, response_time_s={A: 0.1, B: 0.2, C: 0.3}[uri], now_s=0.5)
        balanced.answer(C, times=2, status=500, now_s=0.5)
        balanced.decide(1.0)
        views.append({standing.uri: standing.fields for standing in balanced.standings})
    assert views[0] == views[1]
