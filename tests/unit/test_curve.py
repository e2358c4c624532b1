"""How a response time goes with the number of requests in hand."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.curve import LEAST_BEND, ResponseCurve, Usual

USUAL = Usual(base_s=0.05, bend=2.0)
FLOOR_S = 0.002


def curve(*samples, times=1):
    """Return a curve of (in flight, seconds) samples of one moment, each taken so many times."""
    new = ResponseCurve(10.0)
    for in_flight, response_time_s in samples * times:
        new.add(in_flight, response_time_s, now_s=0.0)
    return new


def fitted(samples, *, rounds=20, times=200, usual=USUAL, floor_s=1e-9):
    """Feed and fit by turns, and return the curve with the last (base, capacity)."""
    new, result = ResponseCurve(10.0), (0.0, 0.0)
    for number in range(rounds):
        for in_flight, response_time_s in samples * times:
            new.add(in_flight, response_time_s, now_s=10.0 * number)
        result = new.fit(usual, doubt=5.0, floor_s=floor_s, now_s=10.0 * number)
    return new, result


def hinge(base_s, capacity, numbers):
    """Return what a destination with a bend answers at these numbers in flight."""
    return [(n, max(base_s, n / capacity)) for n in numbers]


def test_a_curve_without_a_sample_says_nothing():
    """No mean, no evidence, the least bend."""
    empty = curve()
    assert empty.mean_time(0.0) is None
    assert (0.0, 0.0, LEAST_BEND) == (empty.evidence(0.0), empty.base_sum(0.0), empty.bend)


def test_the_mean_is_that_of_the_samples():
    """Two answers: 1 in flight after 0.1 s, 3 in flight after 0.3 s."""
    two = curve((1, 0.1), (3, 0.3))
    assert 2.0 == two.evidence(0.0)
    assert pytest.approx(0.2) == two.mean_time(0.0)


def test_evidence_fades_and_the_mean_stays():
    """Ten seconds on, everything is worth 1 / e."""
    one = curve((2, 0.4))
    assert pytest.approx(exp(-1)) == one.evidence(10.0)
    assert pytest.approx(0.4) == one.mean_time(10.0)


def test_without_answers_it_is_what_is_usual():
    """Base and capacity are the set's, and so is the bend."""
    empty = curve()
    base_s, capacity = empty.fit(USUAL, doubt=5.0, floor_s=FLOOR_S, now_s=0.0)
    assert pytest.approx(0.052) == base_s
    assert pytest.approx(2.0 / 0.052) == capacity
    assert pytest.approx(2.0) == empty.bend


def test_doubt_weighs_as_many_answers():
    """Five answers of 0.15 s beside a usual of 0.05: half-way."""
    few = curve((1, 0.15), times=5)
    assert pytest.approx(0.1) == few.fit(USUAL, doubt=5.0, floor_s=0.0, now_s=0.0)[0]


@pytest.mark.parametrize(("base_s", "capacity"), [(0.08, 50.0), (0.02, 200.0), (0.04, 25.0), (0.01, 2000.0)])
def test_base_capacity_and_bend_are_found(base_s, capacity):
    """From answers on both sides of the bend, wherever it is."""
    bend = base_s * capacity
    found, (base, rate) = fitted(hinge(base_s, capacity, range(1, int(3 * bend) + 3)))
    assert pytest.approx(base_s, rel=0.03) == base
    assert pytest.approx(capacity, rel=0.05) == rate
    assert pytest.approx(max(bend, LEAST_BEND), rel=0.06) == found.bend


@pytest.mark.parametrize("seen", [1, 2, 3])
def test_more_workers_than_were_ever_needed_are_not_assumed(seen):
    """Four workers, of which at most three were busy: it clears what three clear."""
    found, (base, rate) = fitted(hinge(0.08, 50.0, range(1, seen + 1)), usual=Usual(0.08, 1.0))
    assert pytest.approx(0.08, rel=0.01) == base
    assert found.bend <= seen + 0.01
    assert rate <= seen / 0.08 * 1.01


def test_a_bend_that_was_too_far_comes_back():
    """It lost half of its workers: answers at the old bend now wait."""
    found = fitted(hinge(0.08, 100.0, range(1, 17)))[0]
    assert pytest.approx(8.0, rel=0.05) == found.bend
    for number in range(20, 80):
        for in_flight, response_time_s in hinge(0.08, 50.0, range(1, 17)) * 50:
            found.add(in_flight, response_time_s, now_s=10.0 * number)
        found.fit(USUAL, doubt=5.0, floor_s=1e-9, now_s=10.0 * number)
    assert pytest.approx(4.0, rel=0.05) == found.bend


def test_times_without_the_wait_are_what_is_usual_of_a_set():
    """Four in hand at a bend of 1 took four times as long as one alone would have."""
    assert pytest.approx(0.1 + 0.1) == curve((1, 0.1), (4, 0.4)).base_sum(0.0)


def test_noise_below_the_floor_makes_no_difference_worth_having():
    """A tenth of a millisecond beside a fifth is the scheduler's doing."""
    bases = [
        curve((1, time_s), times=1000).fit(Usual(time_s, 1.0), doubt=5.0, floor_s=FLOOR_S, now_s=0.0)[0]
        for time_s in (0.0001, 0.0002)
    ]
    assert pytest.approx(0.0022 / 0.0021) == bases[1] / bases[0]


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 30), st.floats(0, 20)), min_size=1, max_size=30))
def test_a_mean_time_lies_between_the_samples_whatever_their_gaps(samples):
    """Rounding of long gone samples never brings it outside."""
    new, now_s = ResponseCurve(10.0), 0.0
    for in_flight, response_time_s, gap_s in samples:
        now_s += gap_s
        new.add(in_flight, response_time_s, now_s=now_s)
    times = [response_time_s for _, response_time_s, _ in samples]
    assert min(times) - 1e-9 <= new.mean_time(now_s) <= max(times) + 1e-9
    assert 0.0 < new.evidence(now_s) <= len(samples)


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 30)), max_size=30), st.floats(0, 30), st.floats(0, 1000))
def test_a_fit_is_usable_whatever_was_answered(samples, base_s, bend):
    """Finite and above zero, again and again."""
    new = curve(*samples)
    for _ in range(3):
        base, rate = new.fit(Usual(base_s, bend), doubt=5.0, floor_s=FLOOR_S, now_s=1.0)
        assert 0 < base < 100
        assert 0 < rate < 1e9
        assert LEAST_BEND <= new.bend < 1e9
