"""Who is out, for how long, and what happens when all are."""

import pytest
from steelyard.core.balancer import Probe
from steelyard.core.snapshot import Rule

from tests.unit.balanced import A, B, Balanced, C

# --- health ---


def test_a_destination_goes_down_at_the_last_of_fall_lost_pings():
    """Two of three leave it in; the third takes it out at once, and its reason says so."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0, times=2)
    assert {A, B} == balanced.entries().keys()
    now_s = balanced.fall(A, now_s=now_s, times=1)
    assert {B} == balanced.entries().keys()
    assert {A: False, B: True} == balanced.balancer.up()
    assert ["joined", "down"] == balanced.kinds(A)
    assert "down: 3 pings in a row unanswered" == balanced.why(A)["reason"]


@pytest.mark.parametrize(("late_s", "up"), [(0.0, True), (0.001, False)])
def test_an_answer_that_comes_after_its_timeout_is_none(late_s, up):
    """The timeout itself is still in time."""
    balanced = Balanced({A: 1, B: 1}, settings={"fall": "1"})
    balanced.ping(A, now_s=0.0, response_time_s=1.0 + late_s)
    balanced.decide(1.0)
    assert up is balanced.balancer.up()[A]
    assert ("" if not up else "1000.000") == balanced.why(A)["ping_ms"]


def test_who_goes_down_is_out_with_the_next_decision():
    """It does not wait for the period."""
    balanced = Balanced({A: 1, B: 1}, settings={f"fall@{A}": "1", f"probe_timeout_s@{A}": "0.1"})
    balanced.ping(A, now_s=0.0)
    balanced.decide(0.2)
    assert {B} == balanced.entries().keys()


def test_a_destination_has_its_own_probe_settings():
    """Timeout and fall of one do not count for the other."""
    balanced = Balanced({A: 1, B: 1}, settings={f"fall@{A}": "1", f"probe_timeout_s@{A}": "0.1"})
    balanced.ping(A, now_s=0.0, call_id="a")
    balanced.ping(B, now_s=0.0, call_id="b")
    balanced.decide(0.2)
    assert {A: False, B: True} == balanced.balancer.up()
    assert Probe(1.0, 0.1) == balanced.probes[A]
    assert Probe(1.0, 1.0) == balanced.probes[B]


def test_a_destination_comes_back_after_rise_answers_and_ramps_up():
    """Nothing of before counts: it starts at a tenth, without errors."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, times=20, status=500)
    now_s = balanced.fall(A, now_s=0.0)
    balanced.ping(A, now_s=now_s, response_time_s=0.01)
    balanced.decide(now_s)
    assert {B} == balanced.entries().keys()
    balanced.ping(A, now_s=now_s, response_time_s=0.01)
    balanced.decide(now_s + 0.01)
    assert {A: 0.1, B: 1.0} == balanced.weights()
    assert "0.000" == balanced.why(A)["error_rate"]
    assert ["joined", "down", "up"] == balanced.kinds(A)
    balanced.decide(now_s + 20.01)
    assert {A: 1.0, B: 1.0} == balanced.weights()


def test_answers_to_calls_bring_a_destination_back_too():
    """Any answer is a sign of life; in panic it may be the only one."""
    balanced = Balanced({A: 1, B: 1}, settings={"rise": "2"})
    key = balanced.key(A)
    now_s = balanced.fall(A, now_s=0.0)
    for _ in range(2):
        balanced.balancer.on_answer(key, 0.1, 1, 486, 0.0, now_s=now_s)
    balanced.decide(now_s)
    assert balanced.balancer.up()[A]


def test_without_a_ramp_a_destination_is_back_with_all_of_its_weight():
    """slow_start_s 0."""
    balanced = Balanced({A: 1, B: 1}, settings={"slow_start_s": "0", "rise": "1"})
    now_s = balanced.fall(A, now_s=0.0)
    balanced.ping(A, now_s=now_s, response_time_s=0.1)
    balanced.decide(now_s + 0.1)
    assert {A: 1.0, B: 1.0} == balanced.weights()


def test_a_pong_stamped_a_little_after_the_tick_does_not_break_a_decision():
    """Workers go on filing facts after the control process has read its clock."""
    balanced = Balanced({A: 1, B: 1}, settings={"slow_start_s": "0", "rise": "1"})
    now_s = balanced.fall(A, now_s=0.0)
    balanced.ping(A, now_s=now_s, response_time_s=0.1)
    balanced.decide(now_s + 0.099)
    assert {A: 1.0, B: 1.0} == balanced.weights()


# --- Retry-After ---


def test_retry_after_keeps_new_requests_away_for_as_long():
    """From the next decision on, until the moment it ends, which does not wait for the period."""
    balanced = Balanced({A: 1, B: 1})
    balanced.refuse(A, retry_after_s=10.0, now_s=0.5)
    balanced.decide(0.5)
    assert {B} == balanced.entries().keys()
    assert "asked by Retry-After to be left alone for 10 s" == balanced.why(A)["reason"]
    balanced.decide(10.4)
    assert {B} == balanced.entries().keys()
    balanced.decide(10.499)
    assert {B} == balanced.entries().keys()
    balanced.decide(10.5)
    assert {A, B} == balanced.entries().keys()
    assert ["joined", "retry-after"] == balanced.kinds(A)


def test_retry_after_counts_in_a_later_reply_too():
    """180 Ringing, then 503 with Retry-After."""
    balanced = Balanced({A: 1, B: 1})
    balanced.balancer.on_final(balanced.key(A), 503, 10.0, now_s=0.0)
    balanced.decide(0.0)
    assert {B} == balanced.entries().keys()


def test_retry_after_is_capped():
    """A proxy that asks for a day gets what the operator allows."""
    balanced = Balanced({A: 1, B: 1}, settings={f"retry_after_cap_s@{A}": "5"})
    balanced.refuse(A, retry_after_s=86400.0, now_s=0.0)
    balanced.decide(4.999)
    assert {B} == balanced.entries().keys()
    balanced.decide(5.0)
    assert {A, B} == balanced.entries().keys()


def test_the_longest_retry_after_counts_and_is_told_once():
    """Calls that were under way bring more of them: a shorter one changes nothing, a longer one goes on."""
    balanced = Balanced({A: 1, B: 1})
    for retry_after_s in (10.0, 5.0, 20.0):
        balanced.refuse(A, retry_after_s=retry_after_s, now_s=0.5)
    balanced.decide(19.0)
    assert {B} == balanced.entries().keys()
    assert ["joined", "retry-after"] == balanced.kinds(A)


def test_without_retry_after_only_that_request_moves_on():
    """A 503 alone keeps nobody out."""
    balanced = Balanced({A: 1, B: 1})
    balanced.answer(A, status=503, now_s=0.0)
    balanced.decide(1.0)
    assert {A, B} == balanced.entries().keys()
    assert ["joined"] == balanced.kinds(A)


def test_a_cap_of_0_means_that_retry_after_is_ignored():
    """Nothing is told and nothing is weighed for it."""
    balanced = Balanced({A: 1, B: 1}, settings={"retry_after_cap_s": "0"})
    for now_s in (0.1, 0.2, 0.3):
        balanced.refuse(A, retry_after_s=10.0, now_s=now_s)
        balanced.decide(now_s)
    assert ["joined"] == balanced.kinds(A)


# --- panic ---


def test_when_nobody_is_usable_all_are_tried_by_declared_weight():
    """What was learned is forgotten for the moment, and every destination may be tried for one request."""
    balanced = Balanced({A: 1, B: 3, C: 5}, state={C: "drain"})
    balanced.answer(A, times=20, status=500)
    balanced.fall(A, now_s=0.0)
    balanced.fall(B, now_s=3.3)
    assert balanced.snapshot.panic
    assert {A: 1.0, B: 3.0} == balanced.weights()
    assert {A: 25.0, B: 75.0, C: 0.0} == balanced.shares()
    assert (Rule.LEAST, 8) == (balanced.snapshot.rule, balanced.snapshot.max_attempts)
    assert ["panic"] == balanced.kinds()
    assert "panic: tried by declared weight although down" in balanced.why(A)["reason"]


def test_panic_is_over_when_one_is_usable_again():
    """It is told once, and the usual number of attempts is back."""
    balanced = Balanced({A: 1}, settings={"rise": "1", "max_attempts": "2"})
    now_s = balanced.fall(A, now_s=0.0)
    assert balanced.snapshot.panic
    balanced.ping(A, now_s=now_s, response_time_s=0.01)
    balanced.decide(now_s + 0.01)
    assert not balanced.snapshot.panic
    assert 2 == balanced.snapshot.max_attempts
    assert ["panic", "panic over"] == balanced.kinds()


@pytest.mark.parametrize(("percent", "panic"), [("24.9", False), ("25", False), ("25.1", True)])
def test_panic_starts_below_panic_percent_of_the_declared_weight(percent, panic):
    """One of four is usable: the limit is pinned on both sides."""
    balanced = Balanced({A: 2, B: 6}, settings={"panic_percent": percent})
    balanced.fall(B, now_s=0.0)
    assert panic is balanced.snapshot.panic
    assert ({A, B} if panic else {A}) == balanced.entries().keys()


def test_what_the_operator_took_out_does_not_count_for_panic():
    """Draining three of four is no emergency."""
    balanced = Balanced({A: 1, B: 3, C: 1}, state={B: "drain"}, settings={"panic_percent": "50"})
    balanced.fall(C, now_s=0.0)
    assert not balanced.snapshot.panic
    balanced.balancer.on_disabled(C, disabled=True)
    balanced.decide(10.0)
    assert not balanced.snapshot.panic


def test_a_destination_that_is_no_longer_pinged_is_taken_as_up():
    """Without pings and without calls nothing could bring it back."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0)
    assert {B} == balanced.entries().keys()
    balanced.declare({A: 1, B: 1}, now_s, settings={"probe_method": "none"})
    balanced.decide(now_s)
    assert {A, B} == balanced.entries().keys()
