"""How a response time goes with the number of requests in hand."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.curve import ResponseCurve


def curve(*samples, times=1):
    """Return a curve of (in flight, seconds) samples of one moment, each taken so many times."""
    new = ResponseCurve(10.0)
    for in_flight, response_time_s in samples * times:
        new.add(in_flight, response_time_s, now_s=0.0)
    return new


def test_a_curve_without_a_sample_says_nothing():
    """No mean, no slope, no evidence."""
    empty = curve()
    assert empty.mean_time(0.0) is None
    assert (0.0, 0.0, 0.0, 0.0) == (
        empty.slope(0.0),
        empty.evidence(0.0),
        empty.in_flight_sum(0.0),
        empty.time_sum(0.0),
    )


def test_sums_and_mean_are_those_of_the_samples():
    """Two answers: 1 in flight after 0.1 s, 3 in flight after 0.3 s."""
    two = curve((1, 0.1), (3, 0.3))
    assert 2.0 == two.evidence(0.0)
    assert 4.0 == two.in_flight_sum(0.0)
    assert pytest.approx(0.4) == two.time_sum(0.0)
    assert pytest.approx(0.2) == two.mean_time(0.0)


def test_sums_fade_and_the_mean_stays():
    """Ten seconds on, everything is worth 1 / e."""
    one = curve((2, 0.4))
    assert pytest.approx(exp(-1)) == one.evidence(10.0)
    assert pytest.approx(2 * exp(-1)) == one.in_flight_sum(10.0)
    assert pytest.approx(0.4 * exp(-1)) == one.time_sum(10.0)
    assert pytest.approx(0.4) == one.mean_time(10.0)


def test_a_slope_is_believed_by_half_after_fifty_answers():
    """On the line t = 0.1 n + 0.2 the full slope would be 0.1 s per request in flight."""
    assert pytest.approx(0.05) == curve((1, 0.3), (5, 0.7), times=25).slope(0.0)
    assert pytest.approx(0.1, rel=0.01) == curve((1, 0.3), (5, 0.7), times=5000).slope(0.0)


def test_a_slope_may_fall():
    """A busier moment may have been a faster one; what to make of it is not decided here."""
    assert pytest.approx(-0.05) == curve((1, 0.5), (3, 0.3), times=25).slope(0.0)


def test_where_the_number_in_flight_hardly_varies_there_is_no_slope():
    """Twice as many once in fifty is a variance of 0.0196, below the limit; once in forty-eight is above it."""
    assert 0.0 == curve((1, 0.1), times=50).slope(0.0)
    assert 0.0 == curve(*[(1, 0.1)] * 49, (2, 0.2)).slope(0.0)
    assert 0.0 < curve(*[(1, 0.1)] * 47, (2, 0.2)).slope(0.0)


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
