"""What is known of one destination from its own answers."""

import math
from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.feedback import Algorithm
from steelyard.core.load_report import LoadReport
from steelyard.core.observed import ALONE_S, DECAY_S, HOLD_DECAY_S, LINEAR_UTILIZATION, Observed
from steelyard.core.outcome import Outcome
from steelyard.core.throttle import Throttle


def answered(*response_times_s, now_s=0.0):
    """Return a destination that answered so, one call at a time, all at one moment."""
    observed = Observed("d1")
    for response_time_s in response_times_s:
        observed.on_answer(response_time_s, 1, 200, now_s=now_s)
    return observed


def test_nothing_is_known_of_a_new_destination():
    """It is up, without errors, evidence, ramp or exclusion."""
    observed = Observed("d1")
    assert observed.health.up
    assert 0.0 == observed.error_rate(0.0)
    assert not observed.has_evidence(0.0)
    assert not observed.hides_behind_100(0.0)
    assert observed.ramp_from_s is None
    assert not observed.disabled
    assert (1.0, 1.0) == (observed.capacity, observed.errors)
    assert 0 == observed.last_failures
    assert 0.0 == observed.retry_after_until_s


def test_a_success_is_counted_and_measured():
    """Its time goes into the curve."""
    observed = answered(0.1, 0.3)
    assert pytest.approx(0.2) == observed.curve.mean_time(0.0)
    assert 2.0 == observed.successes.at(0.0)
    assert 0.0 == observed.failures.at(0.0)


def test_a_failure_is_counted_and_not_measured():
    """A refusal within a millisecond says nothing of speed."""
    observed = answered(0.1)
    observed.on_answer(0.001, 1, 503, now_s=0.0)
    assert pytest.approx(0.1) == observed.curve.mean_time(0.0)
    assert 1.0 == observed.failures.at(0.0)
    assert pytest.approx(1 / (1 + 1 + 5)) == observed.error_rate(0.0)


@pytest.mark.parametrize(("status", "successes"), [(100, 0.0), (180, 0.0), (199, 0.0), (200, 1.0), (486, 1.0)])
def test_a_provisional_reply_is_measured_and_not_counted(status, successes):
    """How the call ends is not known yet: a 100 Trying must not end a row of failures."""
    observed = Observed("d1")
    observed.on_answer(0.1, 1, status, now_s=0.0)
    assert pytest.approx(0.1) == observed.curve.mean_time(0.0)
    assert successes == observed.successes.at(0.0)


def test_an_outcome_alone_moves_only_the_counts():
    """A call that nothing came back from has no time."""
    observed = Observed("d1")
    observed.on_outcome(Outcome.SUCCESS, now_s=0.0)
    observed.on_outcome(Outcome.SILENCE, now_s=0.0)
    assert (1.0, 1.0) == (observed.successes.at(0.0), observed.failures.at(0.0))
    assert not observed.curve.evidence(0.0)


def test_failures_in_a_row_are_counted_until_a_success():
    """Silence counts as a failure does, and one success ends the row."""
    observed = Observed("d1")
    rows = []
    for outcome in (Outcome.FAILURE, Outcome.SILENCE, Outcome.FAILURE, Outcome.SUCCESS, Outcome.SILENCE):
        observed.on_outcome(outcome, now_s=0.0)
        rows.append(observed.last_failures)
    assert [1, 2, 3, 0, 1] == rows


def test_a_pong_is_timed_apart_from_calls():
    """Pings are another kind of request."""
    observed = Observed("d1")
    observed.on_pong(0.02, Outcome.SUCCESS, now_s=0.0)
    assert pytest.approx(0.02) == observed.ping_time.value
    assert 0.0 == observed.curve.evidence(0.0)


def test_pings_fade_in_five_seconds_to_1_over_e():
    """There are few of them, and they are cheap to repeat."""
    observed = Observed("d1")
    observed.on_pong(0.01, Outcome.SUCCESS, now_s=0.0)
    observed.on_pong(0.03, Outcome.SUCCESS, now_s=5.0)
    assert pytest.approx((0.01 * exp(-1) + 0.03) / (exp(-1) + 1)) == observed.ping_time.value


def test_a_pong_that_refuses_is_a_failure_and_a_good_one_is_no_success():
    """A proxy may well answer pings and fail at calls: good pongs neither end a row nor thin out failures."""
    observed = Observed("d1")
    observed.on_outcome(Outcome.FAILURE, now_s=0.0)
    observed.on_pong(0.02, Outcome.SUCCESS, now_s=0.0)
    assert (0.0, 1.0, 1) == (observed.successes.at(0.0), observed.failures.at(0.0), observed.last_failures)
    observed.on_pong(0.02, Outcome.FAILURE, now_s=0.0)
    assert (0.0, 2.0, 1) == (observed.successes.at(0.0), observed.failures.at(0.0), observed.last_failures)


def test_outcomes_fade_in_ten_seconds_to_1_over_e():
    """Ten failures ten seconds ago count as 10 / e."""
    observed = Observed("d1")
    for _ in range(10):
        observed.on_outcome(Outcome.FAILURE, now_s=100.0)
    left = 10 * exp(-1)
    assert 10.0 == DECAY_S
    assert pytest.approx(left / (left + 5)) == observed.error_rate(110.0)


def test_calls_that_all_fail_after_a_100_are_failures_in_a_row():
    """Most proxies send 100 before they refuse."""
    observed = Observed("d1")
    for _ in range(3):
        observed.on_answer(0.001, 1, 100, now_s=0.0)
        observed.on_outcome(Outcome.FAILURE, now_s=0.0)
    assert 3 == observed.last_failures
    assert pytest.approx(3 / (3 + 5)) == observed.error_rate(0.0)


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.floats(0, 30)), max_size=40))
def test_an_error_rate_is_from_0_to_1_after_any_history(history):
    """It never gets to 1: five requests more are taken to have gone well."""
    observed, now_s = Observed("d1"), 0.0
    for outcome, gap_s in history:
        now_s += gap_s
        observed.on_outcome(outcome, now_s=now_s)
        assert 0.0 <= observed.error_rate(now_s) < 1.0


def test_a_restart_forgets_what_calls_said_and_ramps_up_again():
    """A proxy that comes back is another one; its key, its pings and its switches stay."""
    observed = answered(*[0.1] * 10)
    observed.on_outcome(Outcome.FAILURE, now_s=0.0)
    observed.ping_time.add(0.01, now_s=0.0)
    observed.capacity, observed.errors, observed.disabled = 3.0, 0.3, True
    observed.on_restart(now_s=7.0)
    assert 7.0 == observed.ramp_from_s
    assert (1.0, 1.0) == (observed.capacity, observed.errors)
    assert 0.0 == observed.error_rate(7.0)
    assert 0 == observed.last_failures
    assert not observed.has_evidence(7.0)
    assert pytest.approx(0.01) == observed.ping_time.value
    assert ("d1", True) == (observed.key, observed.disabled)


def test_what_is_learned_after_a_restart_counts_again():
    """The restart leaves fresh counts, not dead ones."""
    observed = answered(0.1)
    observed.on_restart(now_s=1.0)
    observed.on_answer(0.5, 1, 200, now_s=1.0)
    assert pytest.approx(0.5) == observed.curve.mean_time(1.0)
    assert 1.0 == observed.successes.at(1.0)


def test_five_answers_are_evidence_until_they_fade():
    """Four are not, and five are worth less than five a moment later."""
    assert not answered(*[0.1] * 4).has_evidence(0.0)
    assert answered(*[0.1] * 5).has_evidence(0.0)
    assert not answered(*[0.1] * 5).has_evidence(0.001)


def hiding(*, trying_s=0.001, beyond_s=0.2, times=5):
    """Return a destination that sent 100 Trying and what followed at these times."""
    observed = Observed("d1")
    for _ in range(times):
        observed.trying_time.add(trying_s, now_s=0.0)
        observed.beyond_time.add(beyond_s, now_s=0.0)
    return observed


def test_a_100_within_a_hundredth_of_what_follows_hides_the_work():
    """The hundredth is pinned on both sides."""
    assert hiding(trying_s=0.00199, beyond_s=0.2).hides_behind_100(0.0)
    assert not hiding(trying_s=0.00201, beyond_s=0.2).hides_behind_100(0.0)


def test_what_follows_within_20_ms_is_not_worth_a_word():
    """The limit is pinned on both sides."""
    assert not hiding(trying_s=0.00001, beyond_s=0.0199).hides_behind_100(0.0)
    assert hiding(trying_s=0.00001, beyond_s=0.0201).hides_behind_100(0.0)


def test_a_few_replies_do_not_make_it_hide_behind_100():
    """Five are needed, and they must be of late."""
    assert not hiding(times=4).hides_behind_100(0.0)
    assert hiding(times=5).hides_behind_100(0.0)
    assert not hiding(times=5).hides_behind_100(10.0)


def test_a_destination_that_sends_no_100_hides_behind_nothing():
    """One of the two times alone says nothing."""
    observed = Observed("d1")
    observed.beyond_time.add(1.0, now_s=0.0)
    assert not observed.hides_behind_100(0.0)
    observed = Observed("d1")
    observed.trying_time.add(0.001, now_s=0.0)
    assert not observed.hides_behind_100(0.0)


def test_failures_in_a_row_are_forgotten_once_they_have_faded():
    """A destination that was left alone is not judged by what it did minutes ago."""
    observed = Observed("d1")
    for _ in range(10):
        observed.on_outcome(Outcome.FAILURE, now_s=0.0)
    fades_s = DECAY_S * math.log(10)  # when ten failures weigh one
    assert 11 == observed.failed_in_a_row(fades_s - 1e-6)
    assert 0 == observed.failed_in_a_row(fades_s + 1e-6)


@pytest.mark.parametrize(("failures", "row", "later"), [(2, 2, 3), (3, 3, 4)])
def test_a_second_without_a_good_answer_makes_a_row_longer(failures, row, later):
    """Where two or more failed: they keep away the calls by which a longer row would show."""
    observed = Observed("d1")
    for _ in range(failures):
        observed.on_outcome(Outcome.FAILURE, now_s=0.0)
    assert row == observed.failed_in_a_row(ALONE_S - 1e-6)
    assert later == observed.failed_in_a_row(ALONE_S)
    observed.on_outcome(Outcome.SUCCESS, now_s=ALONE_S)
    assert 0 == observed.failed_in_a_row(ALONE_S)


def test_one_failure_alone_makes_no_row_of_two():
    """However long ago it was."""
    observed = Observed("d1")
    for now_s in (0.0, 0.1):
        observed.on_outcome(Outcome.SUCCESS, now_s=now_s)
    observed.failures.add(5.0, now_s=0.1)  # pings that were refused
    observed.on_outcome(Outcome.FAILURE, now_s=0.1)
    assert 1 == observed.failed_in_a_row(0.1 + ALONE_S)


def test_a_bend_is_base_time_times_capacity():
    """80 ms at 1.5 times 40 calls/s; one request while nothing is known, and never less."""
    observed = Observed("d1", capacity=1.5)
    assert 1.0 == observed.bend(40.0)
    observed.base_s = 0.08
    assert pytest.approx(4.8) == observed.bend(40.0)
    assert 1.0 == observed.bend(1.0)


# --- how long requests are held ---


def told(observed, utilization, *, now_s=0.0):
    """Have a destination report a utilization."""
    observed.on_report(LoadReport({"cpu_utilization": utilization}, 50.0), "sip", interval_s=1.0, now_s=now_s)
    return observed


@pytest.mark.parametrize(
    ("utilization", "hold_s"),
    [(0.0, 0.1), (LINEAR_UTILIZATION - 0.001, 0.1), (LINEAR_UTILIZATION, None), (1.0, None), (10.0, None)],
)
def test_the_time_that_requests_are_held_is_learned_while_a_destination_is_not_crowded(utilization, hold_s):
    """Above 85 % it is mostly waiting, which is no room; the limit is pinned on both sides."""
    assert hold_s == told(answered(*[0.1] * 5), utilization).hold_time.value


def test_without_enough_answers_no_time_is_learned():
    """Four are not evidence, and answers within no time at all say nothing."""
    assert told(answered(*[0.1] * 4), 0.5).hold_time.value is None
    assert told(answered(*[0.0] * 5), 0.5).hold_time.value is None


def test_times_that_requests_are_held_fade_in_half_a_minute_to_1_over_e():
    """Room changes more slowly than load."""
    assert 30.0 == HOLD_DECAY_S
    observed = told(answered(*[0.1] * 5), 0.5)
    for _ in range(100_000):
        observed.on_answer(0.3, 1, 200, now_s=HOLD_DECAY_S)
    told(observed, 0.5, now_s=HOLD_DECAY_S)
    assert pytest.approx((0.1 * exp(-1) + 0.3) / (exp(-1) + 1), rel=1e-3) == observed.hold_time.value


def test_a_restart_forgets_how_long_requests_are_held():
    """It may be another machine."""
    observed = told(answered(*[0.1] * 5), 0.5)
    observed.on_restart(now_s=1.0)
    assert observed.hold_time.value is None


# --- overload control ---


def loss(oc):
    """Return a throttle by loss."""
    return Throttle(oc, Algorithm.LOSS, None, 10**15)


def rate(oc):
    """Return a throttle by rate."""
    return Throttle(oc, Algorithm.RATE, None, 10**15)


@pytest.mark.parametrize(("throttle", "percent"), [(None, 0.0), (loss(1), 1.0), (loss(100), 100.0), (rate(5), 0.0)])
def test_what_is_asked_by_loss_is_what_is_to_be_kept_away(throttle, percent):
    """A rate asks for nothing to be kept away while nobody sends more."""
    observed = Observed("d1")
    observed.on_throttled(throttle, 0, now_s=0.0)
    assert percent == observed.overload_percent(0.0)


def test_a_rate_keeps_away_the_part_that_was_shed_of_all_that_came():
    """Ten a second shed beside thirty a second answered are a quarter."""
    observed = Observed("d1")
    for number in range(600):
        now_s = number / 10
        for _ in range(3):
            observed.on_answer(0.01, 1, 200, now_s=now_s)
        observed.on_throttled(rate(30), number, now_s=now_s)
    assert pytest.approx(25.0, rel=0.05) == observed.overload_percent(59.9)


def test_what_was_shed_counts_once():
    """A counter that stands still, or begins anew, sheds nothing."""
    observed = Observed("d1")
    for shed in (10, 10, 0, 4):
        observed.on_throttled(rate(5), shed, now_s=0.0)
    assert pytest.approx(14.0) == observed.shed_per_s.at(0.0)
    assert 4 == observed.shed


def test_what_was_shed_fades_in_two_seconds_to_1_over_e():
    """An overload that is over is not told on."""
    observed = Observed("d1")
    observed.on_throttled(rate(5), 100, now_s=0.0)
    assert pytest.approx(100 * exp(-1)) == observed.shed_per_s.at(2.0)
    observed.on_throttled(None, 100, now_s=2.0)
    assert 0.0 == observed.overload_percent(2.0)
