"""What reports and answers say of a destination's capacity."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.capacity import MIN_EVIDENCE, PRIOR, ByReports, blend, from_calls, from_pings
from steelyard.core.curve import ResponseCurve


def _curve(*samples: tuple[int, float], times: int = 1000) -> ResponseCurve:
    curve = ResponseCurve(10.0)
    for _ in range(times):
        for in_flight, time_s in samples:
            curve.add(in_flight, time_s, now_s=0.0)
    return curve


def test_too_few_answers_say_nothing():
    """Below MIN_EVIDENCE answers of the whole set there is no estimate."""
    enough = int(MIN_EVIDENCE)
    assert {} == from_calls({"a": _curve((1, 0.1), times=enough - 1), "b": ResponseCurve(10.0)}, 0.0)
    assert {"a", "b"} == set(from_calls({"a": _curve((1, 0.1), times=enough), "b": ResponseCurve(10.0)}, 0.0))
    assert {} == from_calls({}, 0.0)


def test_twice_as_fast_is_twice_the_capacity_and_half_the_time():
    """With as many in hand."""
    times = from_calls({"a": _curve((1, 0.038)), "b": _curve((1, 0.078))}, 0.0)
    assert pytest.approx(2.0, rel=0.02) == times["a"].capacity / times["b"].capacity
    assert pytest.approx(0.5, rel=0.02) == times["a"].base_s / times["b"].base_s


def test_a_saturated_destination_moves_its_line_at_its_own_speed():
    """Where time grows in proportion to the line, n / t is the capacity whatever n it is taken at."""
    saturated = _curve((4, 0.4), (8, 0.8), times=2000)
    times = from_calls({"saturated": saturated, "idle": _curve((1, 0.01))}, 0.0)
    assert pytest.approx(10.0, rel=0.05) == times["saturated"].capacity


def test_a_destination_without_answers_is_taken_for_an_average_one():
    """The set's time and the set's bend."""
    times = from_calls({"known": _curve((1, 0.098)), "new": ResponseCurve(10.0)}, 0.0)
    assert pytest.approx(times["known"].base_s) == times["new"].base_s
    assert pytest.approx(times["known"].capacity) == times["new"].capacity


def test_the_prior_weighs_as_much_as_its_answers():
    """After PRIOR answers of its own a destination is judged half by them."""
    set_of = {"slow": _curve((1, 0.198), times=100_000), "new": _curve((1, 0.098), times=int(PRIOR))}
    assert pytest.approx(0.15, rel=1e-3) == from_calls(set_of, 0.0)["new"].base_s


def test_answers_fade_until_they_say_nothing():
    """MIN_EVIDENCE answers are enough at their own moment and too few a moment later."""
    curve = _curve((1, 0.1), times=int(MIN_EVIDENCE))
    assert from_calls({"a": curve}, 0.0)
    assert {} == from_calls({"a": curve}, 0.001)


samples = st.lists(st.tuples(st.integers(1, 500), st.floats(0, 30)), min_size=1, max_size=20)


@given(st.lists(samples, min_size=1, max_size=5))
def test_estimates_are_finite_and_above_zero(sets):
    """Whatever was answered, a capacity is a usable number."""
    curves = {str(number): _curve(*answers, times=5) for number, answers in enumerate(sets)}
    for times in from_calls(curves, 0.0).values():
        assert 0 < times.capacity < float("inf")
        assert 0 < times.base_s < float("inf")


@given(st.integers(1, 50), st.floats(0.001, 10), st.integers(2, 5), st.integers(5, 200))
def test_equal_destinations_are_equal_however_many_there_are(n, t, count, times):
    """The order of destinations and their number do not matter."""
    found = from_calls({str(number): _curve((n, t), times=times) for number in range(count)}, 0.0)
    first, *others = found.values()
    for other in others:
        assert pytest.approx(first.capacity) == other.capacity
        assert pytest.approx(first.base_s) == other.base_s


def test_pings_alone_weigh_by_their_time():
    """Twice as fast is twice as much, and who has not answered yet is unknown."""
    estimates = from_pings({"a": 0.008, "b": 0.018, "c": None})
    assert {"a": pytest.approx(100.0), "b": pytest.approx(50.0), "c": None} == estimates


@given(st.floats(0, 30), st.floats(0, 30))
def test_the_faster_at_pings_never_gets_less(one, other):
    """And equal ones the same."""
    estimates = from_pings({"one": one, "other": other})
    assert (one <= other) == (estimates["one"] >= estimates["other"]) or one == pytest.approx(other)


# --- reports before answers ---


def test_a_report_that_counts_in_full_is_the_capacity():
    """Whatever the answers say."""
    by_reports = {"a": ByReports(50.0, 1.0), "b": ByReports(200.0, 1.0)}
    assert {"a": 50.0, "b": 200.0} == pytest.approx(blend({"a": 7.0, "b": 7.0}, by_reports))
    assert {"a": 50.0, "b": 200.0} == pytest.approx(blend({"a": None, "b": 7.0}, by_reports))


def test_a_report_that_does_not_count_is_as_if_there_were_none():
    """It does not even set the unit."""
    assert {"a": 7.0, "b": 9.0} == pytest.approx(blend({"a": 7.0, "b": 9.0}, {"a": ByReports(5000.0, 0.0)}))
    assert blend({"a": None}, {"a": ByReports(5000.0, 0.0)})["a"] is None


@pytest.mark.parametrize(("trust", "capacity"), [(1.0, 200.0), (0.5, 100 * math.sqrt(2)), (0.25, 100 * 2**0.25)])
def test_between_the_two_the_way_is_geometric(trust, capacity):
    """Equal answers put both at the mean of the reports, 100; from there each goes as far as its report counts."""
    by_reports = {"a": ByReports(50.0, trust), "b": ByReports(200.0, trust)}
    blended = blend({"a": 7.0, "b": 7.0}, by_reports)
    assert {"a": 100 * 100 / capacity, "b": capacity} == pytest.approx(blended)


def test_who_does_not_report_is_brought_to_the_unit_of_those_who_do():
    """Who answers half as fast as one that takes 100 a second takes 50."""
    assert 50.0 == pytest.approx(blend({"a": 8.0, "b": 4.0}, {"a": ByReports(100.0, 1.0)})["b"])


def test_the_unit_is_that_of_the_reports_as_far_as_each_counts():
    """A ratio of 10 that counts in full and one of 80 that counts by half make 10 x 8^(1/3), which is 20."""
    by_reports = {"a": ByReports(10.0, 1.0), "b": ByReports(80.0, 0.5)}
    assert 20.0 == pytest.approx(blend({"a": 1.0, "b": 1.0, "c": 1.0}, by_reports)["c"])


def test_a_report_beside_no_answer_is_taken_as_it_is_and_sets_no_unit():
    """There is nothing to compare it with, and nothing to fade to."""
    blended = blend({"a": None, "b": 3.0}, {"a": ByReports(100.0, 0.2)})
    assert {"a": 100.0, "b": 3.0} == pytest.approx(blended)


def test_nothing_is_known_of_who_neither_reports_nor_answers():
    """It is left to be taken for a median one."""
    assert blend({"a": None, "b": 4.0}, {"b": ByReports(100.0, 1.0)})["a"] is None
    assert {} == blend({}, {})


capacities = st.floats(1e-3, 1e6)
known = st.dictionaries(st.sampled_from("abcdef"), capacities, min_size=1)


@given(known, st.data())
def test_a_blend_lies_between_what_answers_and_reports_say(answers, data):
    """In the reports' unit, and it is a usable number."""
    reports = {
        uri: ByReports(data.draw(capacities), data.draw(st.floats(0, 1))) for uri in answers if data.draw(st.booleans())
    }
    blended = blend(answers, reports)
    scales = [report.capacity / answers[uri] for uri, report in reports.items() if report.trust > 0] or [1.0]
    for uri, capacity in blended.items():
        low, high = answers[uri] * min(scales), answers[uri] * max(scales)
        if uri in reports and reports[uri].trust > 0:
            low, high = min(low, reports[uri].capacity), max(high, reports[uri].capacity)
        assert low * 0.999 <= capacity <= high * 1.001


@given(known, st.floats(0.01, 100), st.data())
def test_the_unit_of_answers_does_not_matter_where_there_is_a_report(answers, unit, data):
    """Seconds or milliseconds: the same capacities come out."""
    uri = data.draw(st.sampled_from(sorted(answers)))
    by_reports = {uri: ByReports(data.draw(capacities), data.draw(st.floats(0.01, 1)))}
    other = {uri: answer * unit for uri, answer in answers.items()}
    assert blend(answers, by_reports) == pytest.approx(blend(other, by_reports))
