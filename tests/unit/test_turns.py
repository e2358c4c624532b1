"""Whose turn it is: exact shares, evenly spread."""

from collections import Counter
from math import isfinite

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steelyard.core.turns import Leads, Turns

KEYS = "abcdefgh"
WHOLE_WEIGHTS = st.dictionaries(st.sampled_from(KEYS), st.integers(1, 20), min_size=1)
WEIGHTS = st.dictionaries(st.sampled_from(KEYS), st.floats(0.01, 100), min_size=1)
PHASES = st.floats(0, 1)


def started(weights, **phase):
    """Start a round."""
    new = Turns()
    new.reweigh(weights, **phase)
    return new


def take(turns, count, excluded=()):
    """Take so many turns."""
    return [turns.next(excluded) for _ in range(count)]


def test_nobody_in_the_round_is_nobodys_turn():
    """Before the first weights, and after the last one left."""
    assert Turns().next() is None
    empty = started({"a": 1.0})
    empty.reweigh({})
    assert empty.next() is None


@pytest.mark.parametrize(
    ("weights", "cycle"),
    [({"a": 4, "b": 1}, "aabaa"), ({"a": 5, "b": 2}, "abaaaba"), ({"a": 5, "b": 1, "c": 1}, "aaabcaa")],
)
def test_turns_are_spread_over_the_cycle(weights, cycle):
    """A small weight comes in the middle and not at the end; every further cycle is the same."""
    assert cycle * 3 == "".join(take(started(weights), 3 * len(cycle)))


def test_equal_weights_alternate():
    """Plain round robin is the case of equal weights."""
    assert "abcabcabc" == "".join(take(started({"a": 0.3, "b": 0.3, "c": 0.3}), 9))


@given(WHOLE_WEIGHTS, PHASES)
def test_after_as_many_turns_as_the_weights_sum_to_each_has_had_exactly_its_own(weights, phase):
    """Shares are exact cycle by cycle, whatever the phase."""
    turns = started(weights, phase=lambda: phase)
    for _ in range(3):
        assert weights == Counter(take(turns, sum(weights.values())))


@given(WEIGHTS, st.integers(1, 300))
def test_at_any_moment_nobody_is_far_from_its_share(weights, count):
    """
    Everybody is within half a turn of the virtual clock, and the clock within half a turn per destination of the count.

    So |taken - share| <= 1/2 + share of the weight x number of destinations / 2.
    """
    taken = Counter(take(started(weights), count))
    total = sum(weights.values())
    for key, weight in weights.items():
        bound = 0.5 + weight / total * len(weights) / 2
        assert abs(taken[key] - count * weight / total) <= bound + 1e-6


@given(WEIGHTS, st.integers(1, 100))
def test_the_scale_of_weights_does_not_matter(weights, count):
    """Weights count against each other only: times eight is no change."""
    scaled = {key: 8 * weight for key, weight in weights.items()}
    assert take(started(weights), count) == take(started(scaled), count)


@given(WHOLE_WEIGHTS, st.randoms(use_true_random=False))
def test_the_order_of_destinations_does_not_matter_for_their_shares(weights, rng):
    """Order decides between equal deadlines only: any order gives the same counts after a cycle."""
    names = list(weights)
    rng.shuffle(names)
    shuffled = {name: weights[name] for name in names}
    count = sum(weights.values())
    assert Counter(take(started(weights), count)) == Counter(take(started(shuffled), count))


@given(WEIGHTS, st.lists(st.sets(st.sampled_from(KEYS)), max_size=60))
def test_an_excluded_key_never_has_the_turn(weights, exclusions):
    """None is returned exactly when everybody is excluded."""
    turns = started(weights)
    for excluded in exclusions:
        key = turns.next(excluded)
        assert (key is None) is (weights.keys() <= excluded)
        assert key is None or key in weights.keys() - excluded


def test_who_was_excluded_keeps_its_place():
    """It is next as soon as it may be."""
    turns = started({"a": 1, "b": 1, "c": 1})
    assert "b" == turns.next({"a"})
    assert "a" == turns.next()
    assert "c" == turns.next()


def test_a_round_in_which_all_are_excluded_changes_nothing():
    """A call that nobody may have costs nobody a turn."""
    turns = started({"a": 2, "b": 1})
    assert [None] * 5 == take(turns, 5, {"a", "b"})
    assert "aba" == "".join(take(turns, 3))


@given(WHOLE_WEIGHTS, st.integers(0, 40), st.integers(1, 3))
def test_the_same_weights_again_change_nothing(weights, taken, times):
    """A refresh goes on where the round was: the cycle is still exact."""
    turns = started(weights)
    counts = Counter()
    for number in range(times * sum(weights.values())):
        if number % (taken + 1) == taken:
            turns.reweigh(weights)
        counts[turns.next()] += 1
    assert {key: times * weight for key, weight in weights.items()} == counts


@pytest.mark.parametrize("every", [1, 2, 7, 100])
def test_frequent_refreshes_do_not_starve_a_small_weight(every):
    """Weights that change all the time leave 1 in 101 to the small one, though its turn never comes in between."""
    turns = started({"big": 100.0, "small": 1.0})
    counts = Counter()
    for number in range(101 * 20):
        if number % every == 0:
            turns.reweigh({"big": 100.0 + number % 3, "small": 1.0})
        counts[turns.next()] += 1
    assert 20 == pytest.approx(counts["small"], abs=1)


def test_a_weight_that_grows_shortens_the_wait_that_is_left():
    """Half a turn away at weight 1 is an eighth of the time at weight 4."""
    turns = started({"a": 1.0, "b": 2.0})
    turns.reweigh({"a": 4.0, "b": 2.0})
    assert "a" == turns.next()


def test_a_newcomer_waits_for_its_phase_of_a_turn():
    """Phase 0 is first at once, phase 1 waits a whole turn."""
    for phase, order in ((0.0, "babab"), (1.0, "ababa")):
        turns = started({"a": 1.0}, phase=lambda: 0.5)
        turns.reweigh({"a": 1.0, "b": 1.0}, phase=iter([phase]).__next__)
        assert order == "".join(take(turns, 5))


def test_a_newcomer_waits_no_longer_after_many_turns_and_refreshes():
    """What went before counts only as the others' places in their turns."""
    turns = started({"a": 1.0})
    for _ in range(10):
        turns.next()
        turns.reweigh({"a": 1.0})
    turns.reweigh({"a": 1.0, "b": 1.0})
    assert {"a": 2, "b": 2} == Counter(take(turns, 4))


def test_who_left_the_round_has_no_more_turns_and_comes_back_as_a_newcomer():
    """Nothing is owed for the time away."""
    turns = started({"a": 1.0, "b": 1.0})
    take(turns, 3)
    turns.reweigh({"b": 1.0})
    assert ["b"] * 4 == take(turns, 4)
    turns.reweigh({"a": 1.0, "b": 1.0})
    assert {"a": 3, "b": 3} == Counter(take(turns, 6))


def test_a_large_set_takes_its_turns_in_order_too():
    """A thousand equal destinations have one turn each."""
    names = [f"d{number}" for number in range(1000)]
    turns = started(dict.fromkeys(names, 1.0))
    assert names == take(turns, 1000)
    assert names == take(turns, 1000)


def compared(weights, **phase):
    """Start a set whose leads are compared."""
    new = Leads()
    new.reweigh(weights, **phase)
    return new


def test_a_newcomers_lead_is_its_phase_of_a_turn():
    """A turn is 1 / weight long."""
    leads = compared({"a": 1.0, "b": 4.0}, phase=lambda: 0.5)
    assert (0.5, 0.125) == (leads.lead("a"), leads.lead("b"))


def test_a_turn_taken_is_a_turn_ahead_and_brings_the_others_nearer_to_theirs():
    """The virtual clock moves by 1 / sum of weights with every turn that anybody takes."""
    leads = compared({"a": 1.0, "b": 1.0}, phase=lambda: 0.5)
    leads.take("a")
    assert (1.0, 0.0) == (leads.lead("a"), leads.lead("b"))


def test_nobody_is_owed_and_nobody_is_more_than_a_turn_ahead():
    """However often one is picked and the other passed over, leads stay from 0 to a whole turn."""
    leads = compared({"a": 2.0, "b": 2.0})
    for _ in range(100):
        leads.take("a")
    assert (0.5, 0.0) == (leads.lead("a"), leads.lead("b"))
    leads.take("b")
    assert (0.5, 0.25) == (leads.lead("a"), leads.lead("b"))


def test_new_weights_keep_each_ones_part_of_a_turn():
    """A whole turn ahead at weight 2 is a whole one at weight 4; the newcomer has its phase; who left is gone."""
    leads = compared({"a": 2.0, "b": 2.0}, phase=lambda: 0.5)
    leads.take("a")
    leads.reweigh({"a": 4.0, "c": 2.0}, phase=lambda: 0.25)
    assert (0.25, 0.125) == (leads.lead("a"), leads.lead("c"))
    with pytest.raises(KeyError):
        leads.lead("b")


def test_leads_of_nobody_are_none():
    """An empty set can be put in force."""
    leads = compared({"a": 1.0})
    leads.reweigh({})
    with pytest.raises(KeyError):
        leads.lead("a")


@given(WEIGHTS, st.lists(st.integers(0, 7), max_size=60), PHASES)
def test_a_lead_is_never_below_0_or_above_a_turn(weights, taken, phase):
    """Whoever is picked, in any order, and after new weights too."""
    leads = compared(weights, phase=lambda: phase)
    names = list(weights)
    for number in taken:
        leads.take(names[number % len(names)])
        if number == 7:
            leads.reweigh(weights, phase=lambda: phase)
        for key, weight in weights.items():
            assert isfinite(leads.lead(key))
            assert 0.0 <= leads.lead(key) <= 1.0 / weight


@settings(max_examples=20)
@given(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 9), min_size=1))
def test_taking_the_least_lead_each_time_keeps_the_weights(weights):
    """With nothing else to speak for or against anybody, five cycles after the first few give each its share."""
    leads = compared(weights)
    cycle = sum(weights.values())
    taken = []
    for _ in range(10 * cycle):
        taken.append(min(weights, key=leads.lead))
        leads.take(taken[-1])
    counts = Counter(taken[5 * cycle :])
    assert all(abs(5 * weight - counts[key]) <= 1 for key, weight in weights.items())
