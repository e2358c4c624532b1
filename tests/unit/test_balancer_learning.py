"""What is learned of destinations, and which of it counts."""

from math import log

import pytest
from steelyard.core.snapshot import Rule

from tests.unit.balanced import A, B, Balanced, C

# --- what is learned ---


def test_failures_take_share_at_once_and_give_it_back_slowly():
    """Down to the floor with the next decision; then 30 % a second at most."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=20, status=500, now_s=1.0)
    balanced.decide(1.0)
    assert 0.05 == balanced.weights()[A]
    balanced.answer(A, times=10_000, status=200, now_s=1.0)
    balanced.decide(2.0)
    assert pytest.approx(0.05 * 1.3) == balanced.weights()[A]
    balanced.decide(3.0)
    assert pytest.approx(0.05 * 1.3**2, rel=1e-3) == balanced.weights()[A]


def test_three_failures_in_a_row_quarter_a_share_although_the_rate_is_low():
    """A proxy that just broke is noticed before its rate is."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=1000)
    balanced.answer(B, times=1000)
    for number, weight in ((2, 1.0), (3, 0.25), (4, 0.125)):
        balanced.answer(A, status=503, now_s=0.5, times=1 if number > 2 else 2)
        balanced.decide(1.0)
        balanced.declare({A: 1, B: 1}, 1.0)
        assert pytest.approx(weight, rel=0.01) == balanced.weights()[A]


def test_two_failures_and_a_second_without_a_good_answer_quarter_a_share_too():
    """The third call may be long in coming, for the two keep it away."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=1000)
    balanced.answer(B, times=1000)
    balanced.answer(A, status=503, now_s=0.0, times=2)
    balanced.decide(1.0)
    assert pytest.approx(0.25, rel=0.01) == balanced.weights()[A]


def test_where_all_fail_alike_a_row_of_failures_is_chance():
    """It would only drive the calls from one to the other."""
    balanced = Balanced({A: 1, B: 1})
    for uri in (A, B):
        balanced.answer(uri, times=60, now_s=0.5)
        balanced.answer(uri, times=40, status=500, now_s=0.5)
    balanced.answer(B, times=1, now_s=0.5)
    balanced.decide(1.0)
    assert 0.9 < balanced.weights()[A] / balanced.weights()[B] < 1.0


def test_callers_wait_least_where_no_reports_tell_who_is_busy():
    """Base time and bend go with the snapshot: 40 ms at 25 calls/s of one worker, whatever the weight."""
    balanced = Balanced({A: 1, B: 3})
    for now_s in range(1, 40):
        for uri, time_s in ((A, 0.038), (B, 0.078)):
            balanced.answer(uri, times=50, response_time_s=time_s, now_s=float(now_s))
        balanced.decide(float(now_s))
    entries = balanced.entries()
    assert Rule.SOONEST is balanced.snapshot.rule
    assert pytest.approx(2.0, rel=0.02) == entries[B].base / entries[A].base
    assert {A: 1.0, B: 1.0} == {uri: entry.bend for uri, entry in entries.items()}


def test_who_fails_more_than_the_others_is_as_good_as_slow():
    """Its free workers are no reason to send it more than it gets."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=50, now_s=0.5)
    balanced.answer(B, times=50, now_s=0.5)
    balanced.answer(A, times=50, status=503, now_s=0.5)
    balanced.decide(1.0)
    assert pytest.approx(20.0, rel=0.01) == balanced.entries()[A].base / balanced.entries()[B].base


def test_answers_that_come_sooner_bring_more_calls():
    """Equal declared weights, one twice as fast: it gets more, the other keeps some."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(1, 30):
        balanced.answer(A, times=20, response_time_s=0.05, now_s=float(now_s))
        balanced.answer(B, times=20, response_time_s=0.1, now_s=float(now_s))
        balanced.decide(float(now_s))
    assert 55 < balanced.shares()[A] < 90
    assert "clears" in balanced.why(A)["reason"]


def test_a_capacity_moves_no_faster_than_it_may():
    """One second after the first answers it is at most 1.15 and at least 0.5."""
    balanced = Balanced({A: 1, B: 1, C: 1})
    for uri, response_time_s in ((A, 0.001), (B, 0.1), (C, 10.0)):
        balanced.answer(uri, times=500, response_time_s=response_time_s, now_s=1.0)
    balanced.decide(1.0)
    assert {A: 1.15, B: 1.0, C: 0.5} == balanced.weights()


def test_without_calls_pings_say_who_is_faster():
    """Twice as fast takes twice as much."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(1, 60):
        balanced.ping(A, now_s=now_s - 0.9, response_time_s=0.018)
        balanced.ping(B, now_s=now_s - 0.9, response_time_s=0.038)
        balanced.decide(float(now_s))
    assert pytest.approx(2.0, rel=1e-3) == balanced.weights()[A] / balanced.weights()[B]
    assert "few calls: judged by pings or by the set's average" == balanced.why(B)["reason"]


@pytest.mark.parametrize(("status", "rate"), [(503, "0.667"), (486, "0.000"), (200, "0.000")])
def test_a_call_that_was_answered_provisionally_counts_as_it_ends(status, rate):
    """180 Ringing says nothing of that: ten that end in 503 are ten failures, ten that are busy are none."""
    balanced = Balanced({A: 1, B: 1})
    for _ in range(10):
        balanced.answer(A, status=180, now_s=1.0)
        balanced.balancer.on_final(balanced.key(A), status, 0.0, now_s=1.0)
    balanced.decide(1.0)
    assert rate == balanced.why(A)["error_rate"]


def test_silence_to_calls_counts_as_failures_and_takes_nobody_down():
    """Only pings do that: a call may be lost for many reasons."""
    balanced = Balanced({A: 1, B: 1})
    for _ in range(20):
        balanced.balancer.on_silence(balanced.key(A), now_s=0.0)
    balanced.decide(1.0)
    assert {A: 0.05, B: 1.0} == balanced.weights()
    assert {A: True, B: True} == balanced.balancer.up()


def test_a_refused_ping_counts_as_a_failure_and_as_a_sign_of_life():
    """Full is not dead."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(20):
        balanced.ping(A, now_s=now_s / 100, response_time_s=0.001, status=503)
    balanced.decide(1.0)
    assert balanced.weights()[A] < 0.2
    assert balanced.balancer.up()[A]


def test_facts_about_nobody_on_the_list_are_ignored():
    """A destination may leave while its answers are on their way."""
    balanced = Balanced({A: 1, B: 1})
    key = balanced.key(B)
    balanced.ping(B, now_s=0.0)
    balanced.declare({A: 1}, 0.0)
    balanced.balancer.on_answer(key, 0.1, 1, 503, 60.0, now_s=0.1)
    balanced.balancer.on_final(key, 503, 60.0, now_s=0.1)
    balanced.balancer.on_silence(key, now_s=0.1)
    balanced.balancer.on_beyond(key, 0.001, 1.0, now_s=0.1)
    balanced.balancer.on_pong("ping", 200, received_s=0.1)
    balanced.balancer.on_ping("other", B, sent_s=0.1)
    balanced.balancer.on_pong("never sent", 200, received_s=0.1)
    balanced.ping(A, now_s=5.0)
    balanced.decide(5.0)
    assert ["joined", "left"] == balanced.kinds(B)
    assert {A: 100.0} == balanced.shares()


def test_pings_of_a_destination_that_left_are_not_lost_by_anybody():
    """They are forgotten with it."""
    balanced = Balanced({A: 1, B: 1}, settings={"fall": "1"})
    balanced.ping(B, now_s=0.0)
    balanced.declare({A: 1}, 0.0, settings={"fall": "1"})
    balanced.decide(9.0)
    assert ["joined", "left"] == balanced.kinds(B)


def test_a_100_that_hides_the_work_is_pointed_out():
    """The operator is told which setting looks wrong."""
    balanced = Balanced({A: 1})
    balanced.answer(A, times=5, response_time_s=0.001)
    for _ in range(5):
        balanced.balancer.on_beyond(balanced.key(A), 0.001, 1.0, now_s=0.0)
    balanced.decide(0.0)
    balanced.declare({A: 1}, 0.0)
    balanced.decide(0.0)
    assert "consider first_reply beyond-100" in balanced.why(A)["reason"]


def test_the_view_shows_the_requests_in_flight():
    """By the keys of shared memory; who is not counted has none."""
    balanced = Balanced()
    balanced.declare({A: 1, B: 1}, 0.0)
    balanced.decide(0.0)
    balanced.decide(1.0, {balanced.key(A): 7})
    assert ("7", "0") == (balanced.why(A)["in_flight"], balanced.why(B)["in_flight"])


# --- mode, policy, threshold ---


def test_a_manual_destination_keeps_its_declared_weight():
    """Feedback is shown, not applied; workers know that its share is the operator's."""
    balanced = Balanced({A: 2, B: 2}, mode={A: "manual"})
    balanced.answer(A, times=20, status=500, now_s=1.0)
    balanced.answer(B, times=20, status=500, now_s=1.0)
    balanced.decide(1.0)
    assert 2.0 == balanced.weights()[A]
    assert 0.1 == balanced.weights()[B]
    assert {A: True, B: False} == {uri: entry.manual for uri, entry in balanced.entries().items()}
    assert "0.800" == balanced.why(A)["error_rate"]
    assert "manual: the declared weight as it is" == balanced.why(A)["reason"]


@pytest.mark.parametrize(
    ("policy", "rule", "weights"),
    [
        ("adaptive", Rule.SOONEST, {A: 0.05, B: 3.0}),
        ("weighted", Rule.TURNS, {A: 1.0, B: 3.0}),
        ("round-robin", Rule.TURNS, {A: 1.0, B: 1.0}),
    ],
)
def test_a_policy_decides_what_counts(policy, rule, weights):
    """Adaptive takes what was learned, weighted the operator's weights, round-robin nothing."""
    balanced = Balanced({A: 1, B: 3}, settings={"policy": policy})
    balanced.answer(A, times=20, status=500)
    balanced.decide(1.0)
    assert rule is balanced.snapshot.rule
    assert weights == balanced.weights()


@pytest.mark.parametrize("policy", ["weighted", "round-robin"])
def test_a_newcomer_ramps_up_under_every_policy(policy):
    """A cold proxy is cold whatever the policy."""
    balanced = Balanced({A: 1}, settings={"policy": policy})
    balanced.declare({A: 1, B: 1}, 1.0, settings={"policy": policy})
    balanced.decide(1.0)
    assert {A: 1.0, B: 0.1} == balanced.weights()
    assert f"policy {policy}" == balanced.why(B)["reason"]


def test_below_the_threshold_the_declared_weights_decide_by_turns():
    """Without calls a threshold is not reached, whatever was learned or said by the policy."""
    balanced = Balanced({A: 1, B: 3}, settings={"threshold_cps": "10", "policy": "round-robin"})
    assert Rule.TURNS is balanced.snapshot.rule
    assert {A: 1.0, B: 3.0} == balanced.weights()
    assert "below threshold_cps: round robin by declared weight" == balanced.why(A)["reason"]
    assert ["threshold"] == balanced.kinds()


def test_a_threshold_may_be_below_one_call_a_second():
    """Without any call even half a call a second is not reached."""
    balanced = Balanced({A: 1}, settings={"threshold_cps": "0.5"})
    assert Rule.TURNS is balanced.snapshot.rule


def test_at_the_threshold_the_policy_decides():
    """Twenty calls with a time constant of two seconds are ten a second; nineteen are not."""
    balanced = Balanced({A: 1, B: 3}, settings={"threshold_cps": "10"})
    balanced.answer(A, times=19, now_s=0.0)
    balanced.decide(0.0)
    assert Rule.TURNS is balanced.snapshot.rule
    balanced.answer(A, now_s=0.0)
    balanced.decide(0.0)
    assert Rule.SOONEST is balanced.snapshot.rule
    assert ["threshold", "threshold"] == balanced.kinds()


def test_a_call_that_nothing_came_back_from_is_a_call_too():
    """A set whose proxies are silent has traffic all the same."""
    balanced = Balanced({A: 1}, settings={"threshold_cps": "10"})
    for calls, rule in ((19, Rule.TURNS), (1, Rule.SOONEST)):
        for _ in range(calls):
            balanced.balancer.on_silence(balanced.key(A), now_s=0.0)
        balanced.decide(0.0)
        assert rule is balanced.snapshot.rule


@pytest.mark.parametrize(("early_s", "rule"), [(0.001, Rule.SOONEST), (-0.001, Rule.TURNS)])
def test_a_volume_must_fall_a_tenth_below_the_threshold_to_be_below_it(early_s, rule):
    """Ten a second fade to nine in 2 ln(10 / 9) seconds; hovering at the threshold must not flap."""
    balanced = Balanced({A: 1}, settings={"threshold_cps": "10"})
    balanced.answer(A, times=20, now_s=0.0)
    balanced.decide(0.0)
    balanced.decide(2 * log(10 / 9) - early_s)
    assert rule is balanced.snapshot.rule


def test_below_the_threshold_nine_a_second_is_not_enough():
    """The way up is the threshold itself."""
    balanced = Balanced({A: 1}, settings={"threshold_cps": "10"})
    balanced.answer(A, times=20, now_s=0.0)
    balanced.decide(0.0)
    balanced.decide(10.0)
    balanced.answer(A, times=19, now_s=20.0)
    balanced.decide(20.0)
    assert Rule.TURNS is balanced.snapshot.rule
    balanced.declare({A: 1}, 20.0)
    balanced.decide(20.0)
    assert Rule.SOONEST is balanced.snapshot.rule
