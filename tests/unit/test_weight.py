"""The arithmetic of weights."""

from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.weight import (
    Factors,
    capacity_factors,
    error_factor,
    error_rate,
    holding,
    limit_change,
    shares,
    slow_start_factor,
)

NAMES = st.sampled_from("abcdefgh")
ESTIMATES = st.dictionaries(NAMES, st.none() | st.floats(min_value=1e-6, max_value=1e6))
RATES = st.dictionaries(NAMES, st.floats(min_value=0, max_value=1))
COUNTS = st.floats(min_value=0, max_value=1e9)


def test_a_weight_is_the_product_of_its_factors():
    """Declared x capacity x errors x slow start."""
    assert 2.0 * 3.0 * 0.5 * 0.1 == Factors(2.0, capacity=3.0, errors=0.5, slow_start=0.1).weight


def test_factors_that_are_not_known_change_nothing():
    """A destination that nothing was learned of has its declared weight."""
    assert 7.0 == Factors(7.0).weight


def test_a_capacity_is_measured_by_the_median_of_the_known_ones():
    """Twice the median is 2, half of it 0.5."""
    assert {"a": 0.5, "b": 1.0, "c": 2.0} == capacity_factors({"a": 50.0, "b": 100.0, "c": 200.0})


def test_the_median_of_two_lies_between_them():
    """1 and 3 have the median 2."""
    assert {"a": 0.5, "b": 1.5} == capacity_factors({"a": 1.0, "b": 3.0})


def test_who_is_unknown_counts_like_the_median_and_does_not_move_it():
    """A newcomer is tried like a median proxy."""
    assert {"a": 0.5, "new": 1.0, "b": 1.5} == capacity_factors({"a": 1.0, "new": None, "b": 3.0})


def test_where_nothing_is_known_all_are_neutral():
    """No estimate at all changes nothing, for an empty set too."""
    assert {"a": 1.0, "b": 1.0} == capacity_factors({"a": None, "b": None})
    assert {} == capacity_factors({})


@pytest.mark.parametrize(
    ("estimate", "factor"), [(9.9, 9.9), (10.0, 10.0), (10.1, 10.0), (0.11, 0.11), (0.1, 0.1), (0.09, 0.1)]
)
def test_a_capacity_stays_within_a_tenth_and_ten_times_the_median(estimate, factor):
    """Both caps are pinned on both sides."""
    assert factor == capacity_factors({"a": 1.0, "b": 1.0, "c": estimate})["c"]


@given(ESTIMATES)
def test_capacity_factors_are_finite_and_within_their_caps(estimates):
    """Whatever was measured, every destination gets a factor from 0.1 to 10, in the order of the estimates."""
    factors = capacity_factors(estimates)
    assert estimates.keys() == factors.keys()
    assert all(0.1 <= factor <= 10.0 for factor in factors.values())
    known = sorted((estimate, name) for name, estimate in estimates.items() if estimate is not None)
    in_order = [factors[name] for _, name in known]
    assert sorted(in_order) == in_order


@given(ESTIMATES)
def test_the_order_of_destinations_does_not_move_capacity_factors(estimates):
    """A mapping has no order."""
    assert capacity_factors(estimates) == capacity_factors(dict(reversed(estimates.items())))


@pytest.mark.parametrize(
    ("successes", "failures", "rate"),
    [(0.0, 0.0, 0.0), (100.0, 0.0, 0.0), (0.0, 1.0, 1 / 6), (0.0, 5.0, 0.5), (45.0, 50.0, 0.5), (0.0, 95.0, 0.95)],
)
def test_an_error_rate_leans_to_0_while_there_is_little_to_go_by(successes, failures, rate):
    """Five more requests are taken to have gone well."""
    assert pytest.approx(rate) == error_rate(successes, failures)


@given(COUNTS, COUNTS)
def test_an_error_rate_is_from_0_to_1(successes, failures):
    """Any two counts give a part of a whole."""
    assert 0.0 <= error_rate(successes, failures) <= 1.0


@pytest.mark.parametrize(("rate", "factor"), [(0.0, 1.0), (0.1, 0.81), (0.5, 0.25), (0.75, 0.0625), (0.8, 0.05)])
def test_an_error_rate_costs_its_square(rate, factor):
    """Who fails half of its calls loses three quarters."""
    assert pytest.approx(factor) == error_factor(rate, 0)


@pytest.mark.parametrize(
    ("failed_in_a_row", "factor"), [(0, 1.0), (2, 1.0), (3, 0.25), (4, 0.125), (5, 0.0625), (6, 0.05), (10**6, 0.05)]
)
def test_a_row_of_more_than_two_failures_halves_the_factor_for_each_after_the_first(failed_in_a_row, factor):
    """Two are forgiven; a rate alone would be too slow."""
    assert factor == error_factor(0.0, failed_in_a_row)


def test_the_worse_of_rate_and_row_counts():
    """They are two looks at the same failures and do not add up."""
    assert 0.16 == pytest.approx(error_factor(0.6, 3))
    assert 0.25 == error_factor(0.1, 3)


@given(st.floats(0, 1), st.integers(0, 5000))
def test_who_fails_everything_is_still_tried(rate, failed_in_a_row):
    """A proxy that heals must be found healed: the factor is never below 0.05."""
    assert 0.05 <= error_factor(rate, failed_in_a_row) <= 1.0


def outcomes(**rates):
    """Return so many outcomes at each rate that the prior of five hardly moves it."""
    return {name: (1e6 * (1 - rate), 1e6 * rate) for name, rate in rates.items()}


def test_a_lone_destination_holds():
    """There is no other one that fails alike."""
    assert {"a"} == holding(outcomes(a=0.9))
    assert set() == holding({})


def test_who_is_worse_than_a_clean_one_holds_and_the_clean_one_does_not():
    """Failures count as load at the one that fails, not at the one that takes over."""
    assert {"bad"} == holding(outcomes(bad=0.5, good=0.0))


def test_where_all_fail_alike_none_holds():
    """Held places would only hide the real load."""
    assert set() == holding(outcomes(a=0.5, b=0.5, c=0.55))


def test_with_a_clean_one_beside_it_everybody_holds_from_the_first_failure_on():
    """While the best other one hardly fails, no failure is everybody's."""
    assert {"a", "b"} == holding(outcomes(a=0.0, b=0.0199))
    assert {"b"} == holding(outcomes(a=0.0, b=0.0201))


@pytest.mark.parametrize(("rate", "holds"), [(0.3, False), (0.3999, False), (0.4001, True), (1.0, True)])
def test_a_destination_holds_from_a_tenth_above_the_best_other_one_on(rate, holds):
    """The margin is pinned on both sides."""
    assert holds is ("c" in holding(outcomes(a=0.3, b=0.35, c=rate)))


def test_who_has_had_no_calls_is_taken_to_fail_like_the_set():
    """Asked less where all fail, it must not look better and make all others hold."""
    assert set() == holding({**outcomes(a=0.5, b=0.5), "starved": (0.0, 0.0)})
    assert {"a", "b"} == holding({**outcomes(a=0.5, b=0.5), "clean": (50.0, 0.0)})


@given(RATES)
def test_the_order_of_destinations_does_not_decide_who_holds(rates):
    """Equal rates are treated alike, wherever they stand."""
    held = holding(outcomes(**rates))
    if len(rates) > 2:
        assert all((a in held) is (b in held) for a in rates for b in rates if rates[a] == rates[b])


@given(RATES)
def test_who_fails_more_than_one_that_holds_holds_too(rates):
    """Holding grows with the error rate."""
    held = holding(outcomes(**rates))
    worst = max(rates, key=rates.__getitem__, default=None)
    assert not held or worst in held


@pytest.mark.parametrize(
    ("age_s", "factor"),
    [(0.0, 0.1), (1.0, 0.1), (2.0, 0.1), (2.2, 0.11), (10.0, 0.5), (19.0, 0.95), (20.0, 1.0), (1e6, 1.0), (None, 1.0)],
)
def test_slow_start_is_a_tenth_at_first_and_then_as_much_as_the_time_gone(age_s, factor):
    """Linear over its duration, from the floor to all of it."""
    assert pytest.approx(factor) == slow_start_factor(age_s, 20.0)


def test_a_duration_of_0_is_no_slow_start():
    """The whole weight at once."""
    assert 1.0 == slow_start_factor(0.0, 0.0)


def test_a_start_that_lies_ahead_is_the_beginning_of_the_ramp():
    """A fact may carry a time a little after the tick that reads it."""
    assert 0.1 == slow_start_factor(-0.01, 20.0)


def test_a_start_that_lies_ahead_is_none_where_there_is_no_ramp():
    """Without a ramp the age does not matter."""
    assert 1.0 == slow_start_factor(-0.01, 0.0)


def test_a_factor_within_reach_is_in_force_at_once():
    """Small changes are not limited."""
    assert 0.9 == limit_change(0.9, 1.0, 1.0)
    assert 1.1 == limit_change(1.1, 1.0, 1.0)
    assert 1.0 == limit_change(1.0, 1.0, 0.0)


@pytest.mark.parametrize(("elapsed_s", "least"), [(0.0, 1.0), (0.5, 0.5**0.5), (1.0, 0.5), (3.0, 0.125)])
def test_a_factor_halves_at_most_once_a_second(elapsed_s, least):
    """Fast down, but one bad second does not take everything."""
    assert pytest.approx(least) == limit_change(0.001, 1.0, elapsed_s)


@pytest.mark.parametrize(("elapsed_s", "most"), [(0.0, 1.0), (0.5, 1.15**0.5), (1.0, 1.15), (3.0, 1.15**3)])
def test_a_factor_grows_at_most_by_15_percent_a_second(elapsed_s, most):
    """Slow up: a healed proxy's caches are cold."""
    assert pytest.approx(most) == limit_change(100.0, 1.0, elapsed_s)


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0, 3600))
def test_a_limited_factor_lies_between_the_old_and_the_wanted_one(factor, previous, elapsed_s):
    """It never overshoots and never moves away."""
    limited = limit_change(factor, previous, elapsed_s)
    assert isfinite(limited)
    assert min(factor, previous) <= limited <= max(factor, previous)


@given(st.floats(0.001, 10), st.floats(0.001, 10), st.floats(0, 30))
def test_it_does_not_matter_how_often_a_factor_is_limited(factor, previous, elapsed_s):
    """Two halves of a time allow what the whole allows: more decisions make no faster change."""
    half_way = limit_change(factor, previous, elapsed_s / 2)
    assert pytest.approx(limit_change(factor, previous, elapsed_s)) == limit_change(factor, half_way, elapsed_s / 2)


def test_a_factor_is_limited_after_hours_of_nothing_too():
    """A process that was stopped for two hours decides again."""
    assert 2.0 == limit_change(2.0, 1.0, 7200.0)


def test_shares_are_percent_of_the_sum():
    """1, 1 and 2 are 25, 25 and 50 %."""
    assert {"a": 25.0, "b": 25.0, "c": 50.0} == shares({"a": 1.0, "b": 1.0, "c": 2.0})


def test_no_weight_at_all_is_no_share_for_anybody():
    """Nothing is divided by 0."""
    assert {"a": 0.0, "b": 0.0} == shares({"a": 0.0, "b": 0.0})
    assert {} == shares({})


@given(st.dictionaries(NAMES, st.floats(min_value=0, max_value=1e7)))
def test_shares_sum_to_100_or_to_0(weights):
    """Every share is finite and >= 0."""
    percent = shares(weights)
    assert all(isfinite(share) and share >= 0 for share in percent.values())
    assert pytest.approx(100.0 if any(weights.values()) else 0.0) == sum(percent.values())
