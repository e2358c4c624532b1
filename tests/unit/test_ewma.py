"""Sums and means that forget by time."""

from math import exp, isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.ewma import DecayedMean, DecayedSum

TIMES = st.floats(min_value=0, max_value=1e4)
SAMPLES = st.lists(st.tuples(TIMES, st.floats(min_value=-1e6, max_value=1e6)), min_size=1, max_size=20)


def test_a_sum_starts_at_nothing():
    """Nothing added is nothing, at any time."""
    assert 0.0 == DecayedSum(10.0).at(0.0)
    assert 0.0 == DecayedSum(10.0).at(1e6)


def test_a_part_fades_to_1_over_e_in_one_time_constant():
    """The weight of a part is exp(-age / decay_s)."""
    total = DecayedSum(10.0)
    total.add(2.0, now_s=100.0)
    assert 2.0 == total.at(100.0)
    assert pytest.approx(2.0 * exp(-1)) == total.at(110.0)
    assert pytest.approx(2.0 * exp(-3)) == total.at(130.0)


def test_parts_fade_each_by_its_own_age():
    """Two parts ten seconds apart, read ten seconds later."""
    total = DecayedSum(10.0)
    total.add(1.0, now_s=0.0)
    total.add(3.0, now_s=10.0)
    assert pytest.approx(exp(-2) + 3.0 * exp(-1)) == total.at(20.0)


def test_reading_a_sum_does_not_change_it():
    """A look into the future leaves the present as it is."""
    total = DecayedSum(10.0)
    total.add(1.0, now_s=5.0)
    total.at(1000.0)
    assert 1.0 == total.at(5.0)


def test_a_time_before_the_last_one_counts_as_the_last_one():
    """Facts of several workers may come out of order; nothing grows by it."""
    total = DecayedSum(10.0)
    total.add(1.0, now_s=50.0)
    assert 1.0 == total.at(40.0)
    total.add(1.0, now_s=40.0)
    assert 2.0 == total.at(50.0)
    assert pytest.approx(2.0 * exp(-1)) == total.at(60.0)


def test_a_mean_without_a_sample_is_unknown():
    """None is not 0."""
    mean = DecayedMean(10.0)
    assert mean.value is None
    assert 0.0 == mean.evidence(0.0)


def test_a_mean_of_one_sample_is_that_sample_and_fading_does_not_move_it():
    """What fades is how much it counts."""
    mean = DecayedMean(10.0)
    mean.add(0.3, now_s=7.0)
    assert pytest.approx(0.3) == mean.value
    assert pytest.approx(exp(-1)) == mean.evidence(17.0)
    assert pytest.approx(0.3) == mean.value


def test_a_mean_weighs_its_samples_by_their_age():
    """A sample one time constant old weighs 1/e against a fresh one's 1."""
    mean = DecayedMean(5.0)
    mean.add(1.0, now_s=0.0)
    mean.add(3.0, now_s=5.0)
    assert pytest.approx((exp(-1) + 3.0) / (exp(-1) + 1.0)) == mean.value
    assert pytest.approx(exp(-1) + 1.0) == mean.evidence(5.0)


def test_samples_of_one_moment_have_their_plain_mean():
    """Without age there is no decay."""
    mean = DecayedMean(5.0)
    for value in (1.0, 2.0, 6.0):
        mean.add(value, now_s=9.0)
    assert pytest.approx(3.0) == mean.value
    assert 3.0 == mean.evidence(9.0)


def test_a_sample_of_long_ago_leaves_no_trace_in_the_mean():
    """After an hour of nothing the next sample decides alone."""
    mean = DecayedMean(5.0)
    mean.add(100.0, now_s=0.0)
    mean.add(1.0, now_s=3600.0)
    assert pytest.approx(1.0) == mean.value


@given(SAMPLES)
def test_a_sum_equals_its_formula(samples):
    """Adding one by one gives the same as weighing each part at the end."""
    total = DecayedSum(10.0)
    for at_s, amount in sorted(samples):
        total.add(amount, now_s=at_s)
    end_s = max(at_s for at_s, _ in samples) + 3.0
    wanted = sum(amount * exp(-(end_s - at_s) / 10.0) for at_s, amount in samples)
    assert pytest.approx(wanted, rel=1e-6, abs=1e-6) == total.at(end_s)


@given(SAMPLES)
def test_a_mean_lies_between_its_samples_in_any_order_of_times(samples):
    """No order of times, and no gap between them, brings it outside or makes it infinite."""
    mean = DecayedMean(10.0)
    for at_s, value in samples:
        mean.add(value, now_s=at_s)
    values = [value for _, value in samples]
    slack = 1e-9 * max(map(abs, values))
    assert isfinite(mean.value)
    assert min(values) - slack <= mean.value <= max(values) + slack
    assert 0.0 <= mean.evidence(1e9) <= mean.evidence(0.0) <= len(samples) + 1e-9
