"""Who gets a request."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.picker import SCAN_LIMIT, Picker
from steelyard.core.snapshot import Entry, Rule, Snapshot


def _entries(*weights: float, **fields) -> list[Entry]:
    return [Entry(f"d{number}", f"sip:{number}", weight, **fields) for number, weight in enumerate(weights)]


def _picker(entries: list[Entry], rule: Rule = Rule.LEAST, seed: int = 1) -> Picker:
    picker = Picker(random.Random(seed))  # noqa: S311 - traffic
    picker.refresh(Snapshot(1, rule, entries=tuple(entries)))
    return picker


def _idle(_key: str) -> int:
    return 0


def _counts(picker: Picker, picks: int, in_flight=_idle) -> Counter[str]:
    return Counter(picker.pick(in_flight).key for _ in range(picks))


def test_nobody_is_picked_from_an_empty_snapshot():
    """Before the first list there is nobody."""
    assert Picker(random.Random(1)).pick(_idle) is None  # noqa: S311
    assert _picker([]).pick(_idle) is None


def test_entries_are_found_by_their_keys():
    """A reply finds its destination, unless it has left."""
    picker = _picker(_entries(1))
    assert "sip:0" == picker.entry("d0").uri
    assert picker.entry("d9") is None


@pytest.mark.parametrize("rule", list(Rule))
@pytest.mark.parametrize("count", [3, SCAN_LIMIT + 3])
def test_an_idle_set_is_served_in_exact_proportion(rule, count):
    """Each within one turn of its share after any whole number of rounds."""
    weights = [1 + number % 3 for number in range(count)]
    counts = _counts(_picker(_entries(*weights), rule), 10 * sum(weights))
    for number, weight in enumerate(weights):
        assert abs(10 * weight - counts[f"d{number}"]) <= 1


def test_the_least_in_flight_for_its_weight_is_picked():
    """4 in flight at weight 4 is less than 2 at weight 1."""
    load = {"d0": 2, "d1": 4}
    assert {"d1": 1} == _counts(_picker(_entries(1, 4)), 1, load.__getitem__)


def test_a_busy_destination_is_passed_over_and_owed_nothing():
    """When its load is gone, it gets its share and not what it missed."""
    picker = _picker(_entries(1, 1))
    assert {"d1": 50} == _counts(picker, 50, {"d0": 9, "d1": 0}.__getitem__)
    counts = _counts(picker, 20)
    assert abs(counts["d0"] - counts["d1"]) <= 2


@pytest.mark.parametrize("count", [2, SCAN_LIMIT + 1])
def test_a_manual_destination_gets_its_share_whatever_the_load(count):
    """The operator's share is kept by turns alone."""
    manual = Entry("m", "sip:m", 1.0, manual=True)
    picker = _picker([manual, *_entries(*[1.0] * (count - 1))])
    assert abs(100 - _counts(picker, 100 * count, lambda key: 50 if key == "m" else 0)["m"]) <= 1
    assert abs(100 - _counts(picker, 100 * count, lambda key: 0 if key == "m" else 50)["m"]) <= 2


def test_a_manual_destination_is_used_when_only_it_is_left():
    """Not due is better than nobody."""
    picker = _picker([Entry("m", "sip:m", 0.1, manual=True), *_entries(1.0)])
    for _ in range(5):
        assert "m" == picker.pick(_idle, ["d0"]).key


def test_a_large_set_compares_the_next_in_turn_with_drawn_ones():
    """The head of the round has the request unless a rival is better by half a request."""
    count = SCAN_LIMIT + 12
    loaded = {f"d{number}": 5 if number < count // 2 else 0 for number in range(count)}
    counts = _counts(_picker(_entries(*[1.0] * count)), 2000, loaded.__getitem__)
    busy = sum(counts[f"d{number}"] for number in range(count // 2))
    assert 0.08 < busy / 2000 < 0.18  # a busy head is kept when both drawn ones are busy: a half times a quarter


def test_the_first_tier_with_somebody_left_is_used():
    """A higher number waits until the lower ones have all been tried."""
    picker = _picker([*_entries(1, 1), Entry("spare", "sip:s", 5.0, tier=7)])
    assert {"d0", "d1"} == set(_counts(picker, 20))
    assert "spare" == picker.pick(_idle, ["d0", "d1"]).key
    assert picker.pick(_idle, ["d0", "d1", "spare"]) is None


@pytest.mark.parametrize("rule", list(Rule))
def test_turns_go_on_when_the_snapshot_changes(rule):
    """A refresh before every pick starves nobody."""
    entries = _entries(1, 1, 8)
    picker = _picker(entries, rule)
    counts: Counter[str] = Counter()
    for version in range(2, 1002):
        picker.refresh(Snapshot(version, rule, entries=tuple(entries)))
        counts[picker.pick(_idle).key] += 1
    assert abs(100 - counts["d0"]) <= 2
    assert abs(800 - counts["d2"]) <= 2


@pytest.mark.parametrize("rule", list(Rule))
def test_workers_are_out_of_step(rule):
    """Workers with random numbers of their own do not all begin with the same destination."""
    firsts = {_picker(_entries(*[1.0] * 8), rule, seed).pick(_idle).key for seed in range(20)}
    assert len(firsts) > 4


weights = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)


@given(weights, st.sampled_from(Rule), st.data())
def test_whoever_was_tried_is_not_picked_again(weights, rule, data):
    """And as long as somebody is left, somebody is picked."""
    entries = _entries(*weights)
    picker = _picker(entries, rule)
    load = {entry.key: data.draw(st.integers(0, 1000)) for entry in entries}
    tried: list[str] = []
    for _ in entries:
        entry = picker.pick(load.__getitem__, tried)
        assert entry.key not in tried
        tried.append(entry.key)
    assert picker.pick(load.__getitem__, tried) is None
