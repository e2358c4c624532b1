"""Up or down, and when to ask again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.health import BACK_OFF_CAP_S, Health


def silent(count, *, fall=3):
    """Return a health after so many failed probes."""
    health = Health()
    for _ in range(count):
        health.on_silence(fall=fall)
    return health


def test_a_destination_is_up_until_it_proves_silent():
    """A proxy that was just declared gets the benefit of the doubt."""
    assert Health().up


def test_it_goes_down_at_the_last_of_fall_failed_probes_and_says_so_once():
    """Two of three leave it up, the third takes it down, the fourth is no news."""
    health = Health()
    assert [False, False, True, False] == [health.on_silence(fall=3) for _ in range(4)]
    assert not health.up
    assert 4 == health.silences


def test_an_answer_between_failed_probes_starts_their_count_again():
    """Only silences in a row count."""
    health = silent(2)
    health.on_answer(rise=2)
    assert [False, False] == [health.on_silence(fall=3) for _ in range(2)]
    assert health.up


def test_it_comes_up_at_the_last_of_rise_answers_and_says_so_once():
    """One of two leaves it down, the second brings it up, the third is no news."""
    health = silent(3)
    assert [False, True, False] == [health.on_answer(rise=2) for _ in range(3)]
    assert health.up


def test_a_failed_probe_between_answers_starts_their_count_again():
    """Only answers in a row count."""
    health = silent(3)
    health.on_answer(rise=2)
    health.on_silence(fall=3)
    assert not health.on_answer(rise=2)
    assert health.on_answer(rise=2)


def test_answers_to_one_that_is_up_are_no_news():
    """Being up is not said again."""
    health = Health()
    assert [False] * 5 == [health.on_answer(rise=1) for _ in range(5)]


def test_one_that_is_up_is_probed_at_its_interval():
    """A few silences do not change that."""
    assert 1.0 == Health().probe_interval(1.0, fall=3)
    assert 1.0 == silent(2).probe_interval(1.0, fall=3)


@pytest.mark.parametrize(("silences", "seconds"), [(3, 1.0), (4, 2.0), (5, 4.0), (6, 5.0), (7, 5.0), (100_000, 5.0)])
def test_one_that_stays_down_is_probed_ever_less_often(silences, seconds):
    """The interval doubles with every further silence, up to the cap."""
    assert 5.0 == BACK_OFF_CAP_S
    health = silent(3)
    health.silences = silences
    assert seconds == health.probe_interval(1.0, fall=3)


def test_an_interval_longer_than_the_cap_stays_as_it_is():
    """Being down never makes probes more frequent, and the operator's interval is not stretched."""
    assert 60.0 == silent(3).probe_interval(60.0, fall=3)
    assert 60.0 == silent(9).probe_interval(60.0, fall=3)


def test_one_that_answers_again_is_probed_at_its_interval_while_still_down():
    """Coming up takes `rise` probes, and they need not wait for the back-off."""
    health = silent(9)
    health.on_answer(rise=2)
    assert not health.up
    assert 1.0 == health.probe_interval(1.0, fall=3)


def test_a_fall_lowered_while_it_is_up_does_not_stretch_the_interval():
    """Only one that is down backs off."""
    assert 1.0 == silent(2).probe_interval(1.0, fall=1)


def test_a_fall_raised_while_it_is_down_does_not_shorten_the_interval():
    """The interval is never below the operator's."""
    assert 1.0 == silent(3).probe_interval(1.0, fall=10)


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5), st.integers(1, 5), st.floats(1, 3600))
def test_any_history_leaves_the_right_state(history, rise, fall, interval_s):
    """It is down exactly while no run of `rise` answers has followed the last run of `fall` silences."""
    health, up = Health(), True
    for number, answered in enumerate(history, start=1):
        wanted, run = (rise, True) if not up else (fall, False)
        recent = history[max(0, number - wanted) : number]
        turns = recent == [run] * wanted
        changed = health.on_answer(rise=rise) if answered else health.on_silence(fall=fall)
        assert turns is changed
        up = up is not turns
        assert up is health.up
        assert interval_s <= health.probe_interval(interval_s, fall=fall) <= max(interval_s, BACK_OFF_CAP_S)
