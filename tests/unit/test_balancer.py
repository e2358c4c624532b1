"""The operator's word in, what workers and others are told out."""

import pytest
from steelyard.core.balancer import Probe
from steelyard.core.settings import ProbeMethod

from tests.unit.balanced import A, B, Balanced, C

# --- the operator's word ---


def test_an_empty_list_is_published_with_its_reason():
    """Workers are told why nobody can be picked."""
    balanced = Balanced({})
    assert 1 == balanced.snapshot.version
    assert () == balanced.snapshot.entries
    assert "the list of destinations is empty" == balanced.snapshot.reason


def test_the_first_list_is_in_force_at_once_by_its_declared_weights():
    """Nothing is known yet: shares are what the operator says, and they sum to 100."""
    balanced = Balanced({A: 1, B: 3})
    assert {A: 1.0, B: 3.0} == balanced.weights()
    assert {A: 25.0, B: 75.0} == balanced.shares()
    assert "" == balanced.snapshot.reason
    assert ["joined"] == balanced.kinds(A)


def test_nothing_new_is_not_published_again():
    """Within the period nothing is weighed; after it the operator's view is renewed and the workers' is not."""
    balanced = Balanced({A: 1})
    decision = balanced.decide(0.999)
    assert (None, None, None, ()) == (decision.snapshot, decision.standings, decision.probes, decision.events)
    decision = balanced.decide(1.0)
    assert decision.snapshot is None
    assert decision.standings is not None


def test_a_changed_list_is_in_force_with_the_next_decision():
    """An operator does not wait for the period."""
    balanced = Balanced({A: 1, B: 1})
    balanced.declare({A: 1, B: 4}, 0.1)
    balanced.decide(0.1)
    assert {A: 20.0, B: 80.0} == balanced.shares()
    assert 2 == balanced.snapshot.version


def test_every_snapshot_published_has_the_next_version():
    """Workers compare one number."""
    balanced = Balanced({A: 1})
    versions = [balanced.snapshot.version]
    for number in range(2, 5):
        balanced.declare({A: number}, 0.0)
        versions.append(balanced.decide(0.0).snapshot.version)
    assert [1, 2, 3, 4] == versions


def test_a_destination_that_left_is_gone_and_its_key_is_never_used_again():
    """Shared counters of the old one cannot be taken for those of another."""
    balanced = Balanced({A: 1, B: 1})
    old = balanced.key(B)
    balanced.declare({A: 1}, 1.0)
    balanced.decide(1.0)
    assert {A} == balanced.entries().keys()
    balanced.declare({A: 1, B: 1, C: 1}, 2.0)
    balanced.decide(2.0)
    assert ["joined", "left", "joined"] == balanced.kinds(B)
    keys = {balanced.key(uri) for uri in (A, B, C)}
    assert 3 == len(keys)
    assert old not in keys


def test_what_was_learned_survives_a_change_of_the_list():
    """Another weight, or another destination, is no new start."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=20, status=500)
    balanced.declare({A: 2, B: 1, C: 1}, 0.0)
    balanced.decide(0.0)
    assert "0.800" == balanced.why(A)["error_rate"]


def test_a_newcomer_ramps_up_over_slow_start_s():
    """A tenth at first, half at half time, all of it at the end."""
    balanced = Balanced({A: 1})
    balanced.declare({A: 1, B: 1}, 10.0)
    ramp = {}
    for now_s in (10.0, 20.0, 29.0, 30.0):
        balanced.decide(now_s)
        ramp[now_s] = balanced.weights()[B]
    assert {10.0: 0.1, 20.0: 0.5, 29.0: 0.95, 30.0: 1.0} == ramp
    assert 1.0 == balanced.weights()[A]


def test_the_first_list_does_not_ramp_up_however_late_it_comes():
    """A control node that started without Redis has decided on nothing before."""
    balanced = Balanced()
    balanced.decide(0.0)
    balanced.declare({A: 1}, 5.0)
    balanced.decide(5.0)
    assert {A: 1.0} == balanced.weights()


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_destination_that_is_not_ready_takes_no_new_calls(state):
    """It is out of the pick and stays in the operator's view."""
    balanced = Balanced({A: 1, B: 1})
    balanced.declare({A: 1, B: 1}, 1.0, state={B: state})
    balanced.decide(1.0)
    assert {A} == balanced.entries().keys()
    assert {A: 100.0, B: 0.0} == balanced.shares()
    assert f"state {state}" == balanced.why(B)["reason"]
    balanced.declare({A: 1, B: 1}, 2.0)
    balanced.decide(2.0)
    # After maint a proxy may have been restarted: it ramps up. After drain it has been there all the time.
    assert {"drain": 1.0, "maint": 0.1}[state] == balanced.weights()[B]
    assert ["joined", state, "ready"] == balanced.kinds(B)


def test_weight_0_takes_no_new_calls():
    """It is how an operator parks a destination."""
    balanced = Balanced({A: 1, B: 0})
    assert {A} == balanced.entries().keys()
    assert "declared weight 0" == balanced.why(B)["reason"]


def test_a_list_of_which_nobody_may_be_picked_says_so():
    """No panic overrules the operator."""
    balanced = Balanced({A: 1, B: 0}, state={A: "drain"})
    assert () == balanced.snapshot.entries
    assert not balanced.snapshot.panic
    assert "every destination has weight 0 or is in drain, in maint or disabled" == balanced.snapshot.reason
    assert {A: 0.0, B: 0.0} == balanced.shares()


def test_a_destination_disabled_in_dispatcher_takes_no_new_calls_until_it_is_enabled():
    """Each change is told once, and is in force with the next decision."""
    balanced = Balanced({A: 1, B: 1})
    for disabled, uris in ((True, {A}), (True, {A}), (False, {A, B}), (False, {A, B})):
        balanced.balancer.on_disabled(B, disabled=disabled)
        balanced.decide(0.0)
        assert uris == balanced.entries().keys()
        assert ({B} if disabled else set()) == balanced.balancer.disabled()
    assert ["joined", "disabled", "enabled"] == balanced.kinds(B)


def test_dispatcher_may_know_destinations_that_are_not_on_the_list():
    """They are nobody's business here."""
    balanced = Balanced({A: 1})
    balanced.balancer.on_disabled(B, disabled=True)
    assert set() == balanced.balancer.disabled()
    assert () == balanced.decide(0.0).events


def test_a_higher_priority_number_waits_until_all_lower_ones_are_out():
    """Both are published with their tier; only the first tier has a share."""
    balanced = Balanced({A: 1, B: 1, C: 1}, priority={B: "5", C: "5"})
    assert {A: 0, B: 5, C: 5} == {uri: entry.tier for uri, entry in balanced.entries().items()}
    assert {A: 100.0, B: 0.0, C: 0.0} == balanced.shares()
    assert "priority 5: waits until all of lower numbers are out" == balanced.why(B)["reason"]
    balanced.balancer.on_disabled(A, disabled=True)
    balanced.decide(0.0)
    assert {A: 0.0, B: 50.0, C: 50.0} == balanced.shares()


# --- what workers and others are told ---


def test_a_failing_destination_holds_its_places_and_a_good_one_does_not():
    """Failures count as load at the one that fails."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=5, status=503)
    balanced.answer(B, times=5)
    balanced.decide(1.0)
    assert {A: True, B: False} == {uri: entry.holds for uri, entry in balanced.entries().items()}


def test_workers_are_told_each_ones_own_settings():
    """The set's values, and one destination's own over them."""
    balanced = Balanced(
        {A: 1, B: 1},
        settings={"no_response_s": "3", f"no_response_s@{A}": "0.5", f"first_reply@{A}": "beyond-100"},
    )
    assert {A: 0.5, B: 3.0} == {uri: entry.no_response_s for uri, entry in balanced.entries().items()}
    assert {A: True, B: False} == {uri: entry.beyond_100 for uri, entry in balanced.entries().items()}
    assert {balanced.key(A): 0.5, balanced.key(B): 3.0} == balanced.balancer.answer_times()


def test_answer_times_cover_who_cannot_be_picked():
    """Their requests in flight are still to be swept."""
    balanced = Balanced({A: 1, B: 0})
    assert 2 == len(balanced.balancer.answer_times())


def test_probes_are_published_when_they_change():
    """The first time, when a setting changes, and not otherwise."""
    balanced = Balanced({A: 1})
    assert {A: Probe(1.0, 1.0)} == balanced.probes
    assert balanced.decide(1.0).probes is None
    balanced.declare({A: 1}, 1.0, settings={"probe_interval_s": "5", "probe_timeout_s": "2"})
    assert {A: Probe(5.0, 2.0)} == balanced.decide(1.0).probes


def test_a_destination_in_maint_is_not_probed():
    """Its answers are not asked for; a drained one is probed as before."""
    balanced = Balanced({A: 1, B: 1}, state={A: "maint", B: "drain"})
    assert {A: Probe(0.0, 1.0), B: Probe(1.0, 1.0)} == balanced.probes
    balanced.declare({A: 1, B: 1}, 0.0)
    assert {A: Probe(1.0, 1.0), B: Probe(1.0, 1.0)} == balanced.decide(0.0).probes


def test_a_destination_that_is_not_probed_has_an_interval_of_0():
    """probe_method none, for the set or for one."""
    balanced = Balanced({A: 1, B: 1}, settings={f"probe_method@{A}": "none"})
    assert {A: Probe(0.0, 1.0, ProbeMethod.NONE), B: Probe(1.0, 1.0)} == balanced.probes


def test_a_probe_is_told_how_to_ask_and_for_what():
    """By the set's settings, and one destination's own over them."""
    balanced = Balanced(
        {A: 1, B: 1},
        settings={
            "probe_method": "invite",
            "load_reports": "off",
            f"overload_control@{B}": "off",
            f"load_reports@{B}": "on",
            f"probe_method@{B}": "options",
        },
    )
    assert {
        A: Probe(1.0, 1.0, ProbeMethod.INVITE, asks_load=False, overload_control=True),
        B: Probe(1.0, 1.0, ProbeMethod.OPTIONS, asks_load=True, overload_control=False),
    } == balanced.probes


def test_workers_are_told_by_which_address_overload_control_is_kept_and_whether_it_is_offered():
    """The address of a URI without a port has the default one."""
    uri = "sip:gw@proxy.example.com;transport=tcp"
    balanced = Balanced({A: 1, uri: 1}, settings={f"overload_control@{uri}": "off"})
    assert {A: ("192.0.2.1:5060", True), uri: ("proxy.example.com:5060", False)} == {
        entry.uri: (entry.address, entry.overload_control) for entry in balanced.snapshot.entries
    }


def test_a_destination_that_stays_down_is_probed_ever_less_often():
    """Each further silence doubles the interval, up to five seconds; an answer ends that."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0)
    intervals = [balanced.probes[A].interval_s]
    for _ in range(4):
        now_s = balanced.fall(A, now_s=now_s, times=1)
        intervals.append(balanced.probes[A].interval_s)
    assert [1.0, 2.0, 4.0, 5.0, 5.0] == intervals
    balanced.ping(A, now_s=now_s, response_time_s=0.1)
    balanced.decide(now_s + 0.1)
    assert 1.0 == balanced.probes[A].interval_s


def test_the_last_destination_that_leaves_takes_its_probe_along():
    """No table of before stays in force."""
    balanced = Balanced({A: 1})
    balanced.declare({}, 1.0)
    assert {} == balanced.decide(1.0).probes
    assert {} == balanced.balancer.up()
    assert {} == balanced.balancer.answer_times()


def test_events_are_told_once():
    """A decision takes them along."""
    balanced = Balanced()
    balanced.declare({A: 1}, 0.0)
    assert 1 == len(balanced.decide(0.0).events)
    assert () == balanced.decide(0.0).events


def test_no_declared_weight_above_0_becomes_0_on_the_way():
    """A worker divides by it."""
    balanced = Balanced({A: 1})
    balanced.declare({A: 1, B: "5e-324"}, 1.0)
    balanced.decide(1.0)
    assert all(weight > 0 for weight in balanced.weights().values())
