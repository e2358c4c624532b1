"""What answers say of a destination's capacity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.capacity import MIN_EVIDENCE, PRIOR, from_calls, from_pings
from steelyard.core.curve import ResponseCurve
from steelyard.core.weight import RESPONSE_TIME_FLOOR_S


def _curve(*samples: tuple[int, float], times: int = 1000) -> ResponseCurve:
    curve = ResponseCurve(10.0)
    for _ in range(times):
        for in_flight, time_s in samples:
            curve.add(in_flight, time_s, now_s=0.0)
    return curve


def test_too_few_answers_say_nothing():
    """Below MIN_EVIDENCE answers of the whole set there is no estimate."""
    enough = int(MIN_EVIDENCE)
    assert from_calls({"a": _curve((1, 0.1), times=enough - 1), "b": ResponseCurve(10.0)}, 0.0) is None
    assert from_calls({"a": _curve((1, 0.1), times=enough), "b": ResponseCurve(10.0)}, 0.0) is not None
    assert from_calls({}, 0.0) is None


def test_equal_destinations_are_equal():
    """The same answers give the same estimate: n requests, t seconds each, n / t per second."""
    estimates = from_calls({"a": _curve((2, 0.098)), "b": _curve((2, 0.098))}, 0.0)
    assert pytest.approx(2 / (0.098 + RESPONSE_TIME_FLOOR_S), rel=1e-4) == estimates["a"]
    assert estimates["a"] == estimates["b"]


def test_twice_as_fast_is_twice_the_capacity():
    """At the same number in flight, time alone decides."""
    estimates = from_calls({"a": _curve((1, 0.038)), "b": _curve((1, 0.078))}, 0.0)
    assert pytest.approx(2.0, rel=0.01) == estimates["a"] / estimates["b"]


def test_a_flat_destination_is_not_blamed_for_what_little_it_was_sent():
    """Half-way to the usual number, a destination with workers to spare needs no longer."""
    few, many = _curve((1, 0.098)), _curve((3, 0.098))
    estimates = from_calls({"few": few, "many": many}, 0.0)
    usual = 2.0
    assert pytest.approx((1 + usual) / 2 / 0.1, rel=0.01) == estimates["few"]
    assert pytest.approx((3 + usual) / 2 / 0.1, rel=0.01) == estimates["many"]


def test_a_saturated_destination_moves_its_line_at_its_own_speed():
    """Where time grows in proportion to the line, n / t is the capacity whatever n it is taken at."""
    saturated = _curve((4, 0.4), (8, 0.8), times=2000)
    estimates = from_calls({"saturated": saturated, "idle": _curve((1, 0.01))}, 0.0)
    assert pytest.approx(10.0, rel=0.05) == estimates["saturated"]


def test_a_destination_without_answers_is_taken_for_an_average_one():
    """The prior alone: the set's usual number over its usual time."""
    estimates = from_calls({"known": _curve((2, 0.098)), "new": ResponseCurve(10.0)}, 0.0)
    assert pytest.approx(estimates["known"]) == estimates["new"]


def test_the_prior_weighs_as_much_as_its_answers():
    """After PRIOR answers of its own a destination is judged half by them."""
    set_of = {"slow": _curve((1, 0.198), times=100_000), "new": _curve((1, 0.098), times=int(PRIOR))}
    estimates = from_calls(set_of, 0.0)
    assert pytest.approx(1 / 0.15, rel=1e-3) == estimates["new"]


def test_pings_alone_weigh_by_their_time():
    """Twice as fast is twice as much, and who has not answered yet is unknown."""
    estimates = from_pings({"a": 0.008, "b": 0.018, "c": None})
    assert {"a": pytest.approx(100.0), "b": pytest.approx(50.0), "c": None} == estimates


samples = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 30)), min_size=1, max_size=20)


@given(st.lists(samples, min_size=1, max_size=5))
def test_estimates_are_finite_and_above_zero(sets):
    """Whatever was answered, a capacity is a usable number."""
    curves = {str(number): _curve(*answers, times=5) for number, answers in enumerate(sets)}
    for estimate in from_calls(curves, 0.0).values():
        assert 0 < estimate < float("inf")


@pytest.mark.parametrize(("n", "t"), [(4, 0.4), (8, 0.8), (16, 1.6)])
def test_saturated_destinations_compare_by_what_they_clear(n, t):
    """Ten a second beside twenty a second, whatever lines stand before them: half the capacity."""
    slow = _curve((n - 1, t - t / n), (n + 1, t + t / n), times=5000)
    fast = _curve((n - 1, (t - t / n) / 2), (n + 1, (t + t / n) / 2), times=5000)
    estimates = from_calls({"slow": slow, "fast": fast}, 0.0)
    assert pytest.approx(2.0, rel=0.05) == estimates["fast"] / estimates["slow"]


def test_a_time_that_falls_with_the_load_counts_as_flat():
    """A destination that answered faster with more in hand was lucky, not better for being loaded."""
    falling = from_calls({"a": _curve((1, 0.2), (3, 0.1)), "b": _curve((4, 0.15))}, 0.0)
    flat = from_calls({"a": _curve((1, 0.15), (3, 0.15)), "b": _curve((4, 0.15))}, 0.0)
    assert pytest.approx(flat["a"]) == falling["a"]


def test_answers_fade_until_they_say_nothing():
    """MIN_EVIDENCE answers are enough at their own moment and too few a moment later."""
    curve = _curve((1, 0.1), times=int(MIN_EVIDENCE))
    assert from_calls({"a": curve}, 0.0) is not None
    assert from_calls({"a": curve}, 0.001) is None


def test_a_response_time_below_the_floor_makes_no_difference_worth_having():
    """A tenth of a millisecond beside a fifth is the scheduler's doing: five hundredths of capacity."""
    estimates = from_calls({"a": _curve((1, 0.0001)), "b": _curve((1, 0.0002))}, 0.0)
    assert pytest.approx((0.0002 + RESPONSE_TIME_FLOOR_S) / (0.0001 + RESPONSE_TIME_FLOOR_S), rel=1e-2) == (
        estimates["a"] / estimates["b"]
    )


@given(st.floats(0, 30), st.floats(0, 30))
def test_the_faster_at_pings_never_gets_less(one, other):
    """And equal ones the same."""
    estimates = from_pings({"one": one, "other": other})
    assert (one <= other) == (estimates["one"] >= estimates["other"]) or one == pytest.approx(other)


@given(st.integers(1, 50), st.floats(0.001, 10), st.integers(2, 5), st.integers(5, 200))
def test_equal_destinations_are_equal_however_many_there_are(n, t, count, times):
    """The order of destinations and their number do not matter."""
    estimates = from_calls({str(number): _curve((n, t), times=times) for number in range(count)}, 0.0)
    assert [pytest.approx(n / (t + RESPONSE_TIME_FLOOR_S))] * count == list(estimates.values())
