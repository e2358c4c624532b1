"""How the benchmark sees shares from outside."""

import pytest

from bench import shares

QUARTER = [(25, 100)] * 20


def test_counts_become_steps():
    """The first queue's growth beside that of all."""
    assert [(10, 40), (5, 35)] == shares.from_counts([[0, 0], [10, 30], [15, 60]])


def test_a_queue_that_was_started_anew_counts_from_zero():
    """What it has counted is what it got."""
    assert [(3, 13)] == shares.from_counts([[500, 100], [3, 110]])


def test_calls_that_were_not_answered_in_time_are_the_silent_queues():
    """One of three in the first step, none in the second."""
    assert [(1, 3), (0, 1)] == shares.from_callers([10.0, 10.1, 10.4, 10.6], [10.0, 10.4, 10.6], 10.0, 2)


def test_what_the_others_do_not_get_is_the_healed_ones():
    """Four calls in the first step, of which the others get three; in the second they get both."""
    sent_s = [5.0, 5.1, 5.2, 5.3, 5.5, 5.6]
    assert [(1, 4), (0, 2)] == shares.from_others([[7, 7], [8, 9], [9, 10]], sent_s, 5.0)


def test_shares_are_those_of_windows():
    """All windows of two steps."""
    assert [20.0, 40.0] == shares.percents([(1, 10), (3, 10), (5, 10)], 2)


def test_a_share_settles_where_it_stays_within_bounds():
    """Six seconds at 25 %, then nothing: the first window without any begins there."""
    steps = [(25, 100)] * 12 + [(0, 100)] * 20
    assert shares.settled_s(steps, -1, 0) == pytest.approx(6.0)
    assert shares.settled_s(QUARTER, 20, 100) == pytest.approx(0.0)


def test_a_share_that_leaves_again_has_not_settled():
    """The last window counts."""
    assert shares.settled_s([*QUARTER, (100, 100)], 20, 30) is None


def test_a_steady_share_does_not_oscillate():
    """Only the last five seconds count."""
    assert shares.oscillation([(90, 100), *QUARTER]) == pytest.approx(0.0)
    assert shares.oscillation([(50, 100)] * 4 + [(0, 100)] * 6) == pytest.approx(50.0)
