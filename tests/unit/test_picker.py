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
    # A busy head is kept when both drawn ones are busy, a half times a quarter, and so is whoever is remembered.
    assert 0.01 < busy / 2000 < 0.05


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


whole_weights = st.lists(st.integers(1, 12), min_size=1, max_size=SCAN_LIMIT + 4)
few_weights = st.lists(st.integers(1, 12), min_size=1, max_size=SCAN_LIMIT)
seeds = st.integers(0, 999)


@given(whole_weights, seeds)
def test_turns_alone_give_an_idle_set_exact_shares(weights, seed):
    """After as many picks as the weights sum to each has had exactly its own, whatever the workers' step."""
    counts = _counts(_picker(_entries(*weights), Rule.TURNS, seed), 3 * sum(weights))
    assert {f"d{number}": 3 * weight for number, weight in enumerate(weights)} == counts


@given(whole_weights, seeds)
def test_the_least_in_flight_rule_keeps_an_idle_set_within_a_turn_of_its_shares(weights, seed):
    """Where all loads are alike the turns decide."""
    counts = _counts(_picker(_entries(*weights), Rule.LEAST, seed), 3 * sum(weights))
    for number, weight in enumerate(weights):
        assert abs(3 * weight - counts[f"d{number}"]) <= 1


@given(few_weights, seeds, st.data())
def test_whose_load_is_less_by_a_request_is_picked(weights, seed, data):
    """However the turns stand: they are worth at most one request, the lighter the destination the dearer."""
    picker = _picker(_entries(*weights), Rule.LEAST, seed)
    for _ in range(20):
        load = {f"d{number}": data.draw(st.integers(0, 30)) for number in range(len(weights))}
        picked = picker.pick(load.__getitem__)
        for number, weight in enumerate(weights):
            assert load[picked.key] / picked.weight <= (load[f"d{number}"] + 1) / weight + 1e-9


@given(whole_weights, seeds, st.data())
def test_turns_alone_do_not_look_at_loads(weights, seed, data):
    """The same picks come in the same order, idle or not."""
    idle, busy = (_picker(_entries(*weights), Rule.TURNS, seed) for _ in range(2))
    for _ in range(20):
        assert idle.pick(_idle).key == busy.pick(lambda _: data.draw(st.integers(0, 30))).key


@pytest.mark.parametrize("load", [0, 9])
@pytest.mark.parametrize(("manual", "others"), [(2, [3]), (5, [1]), (1, [1, 1]), (7, [1, 1, 1])])
def test_a_manual_destination_of_a_few_gets_exactly_its_share(manual, others, load):
    """Whatever part of the weights it has: 5 of 6 are five calls in six."""
    picker = _picker([Entry("m", "sip:m", float(manual), manual=True), *_entries(*others)])
    counts = _counts(picker, 100 * (manual + sum(others)), lambda key: load if key == "m" else 0)
    assert abs(100 * manual - counts["m"]) <= 1


@pytest.mark.parametrize(("manual", "others"), [((11, 10), (1,)), ((3, 4), (5,)), ((2, 5, 12, 6, 11), ())])
def test_several_manual_destinations_of_a_few_get_exactly_their_shares(manual, others):
    """One's turn does not cost another one's, and where all are manual each has its declared weight."""
    entries = [Entry(f"m{number}", f"sip:m{number}", float(w), manual=True) for number, w in enumerate(manual)]
    counts = _counts(_picker([*entries, *_entries(*others)]), 20 * (sum(manual) + sum(others)))
    for number, weight in enumerate(manual):
        assert abs(20 * weight - counts[f"m{number}"]) <= 1


@given(st.lists(st.integers(1, 12), min_size=SCAN_LIMIT, max_size=SCAN_LIMIT + 4), st.integers(1, 12), seeds, st.data())
def test_a_manual_destination_of_many_gets_exactly_its_share(others, manual, seed, data):
    """Rivals are drawn against other heads of the round alone, and it is never drawn as one."""
    picker = _picker([Entry("m", "sip:m", float(manual), manual=True), *_entries(*others)], Rule.LEAST, seed)
    load = {key: data.draw(st.integers(0, 30)) for key in ("m", *(f"d{number}" for number in range(len(others))))}
    assert 3 * manual == _counts(picker, 3 * (manual + sum(others)), load.__getitem__)["m"]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=12), seeds, st.data())
def test_a_pick_is_of_the_first_tier_with_somebody_untried(rows, seed, data):
    """Neither load nor weight brings a later tier forward."""
    entries = [Entry(f"d{number}", f"sip:{number}", *row) for number, row in enumerate(rows)]
    tried = data.draw(st.sets(st.sampled_from([entry.key for entry in entries])))
    picked = _picker(entries, data.draw(st.sampled_from(Rule)), seed).pick(
        lambda _: data.draw(st.integers(0, 9)), tried
    )
    left = [entry for entry in entries if entry.key not in tried]
    assert min((entry.tier for entry in left), default=None) == (picked and picked.tier)


@given(few_weights, seeds, st.sampled_from(Rule))
def test_a_refresh_that_changes_nothing_moves_nobody_by_more_than_a_turn(weights, seed, rule):
    """Places are kept; only equal ones may change theirs, for a refresh counts them anew."""
    calm, refreshed = (_picker(_entries(*weights), rule, seed) for _ in range(2))
    difference: Counter[str] = Counter()
    for version in range(2, 32):
        refreshed.refresh(Snapshot(version, rule, entries=tuple(_entries(*weights))))
        difference[calm.pick(_idle).key] += 1
        difference[refreshed.pick(_idle).key] -= 1
    assert all(abs(count) <= 1 for count in difference.values())


@pytest.mark.parametrize("rule", list(Rule))
def test_a_tier_that_has_emptied_is_gone(rule):
    """The other one goes on where it was."""
    picker = _picker([*_entries(1, 1), Entry("spare", "sip:s", 1.0, tier=1)], rule)
    first = picker.pick(_idle).key
    picker.refresh(Snapshot(2, rule, entries=tuple(_entries(1, 1))))
    assert {"d0", "d1"} == {first, picker.pick(_idle).key}
    assert picker.entry("spare") is None
    assert picker.pick(_idle, ["d0", "d1"]) is None


# --- sets above SCAN_LIMIT; a picker by turns with the same seed knows the head of the round ---

many_weights = st.lists(st.integers(1, 12), min_size=SCAN_LIMIT + 1, max_size=SCAN_LIMIT + 6)


def _twins(entries: list[Entry], seed: int = 1) -> tuple[Picker, Picker]:
    return _picker(entries, Rule.LEAST, seed), _picker(entries, Rule.TURNS, seed)


@given(many_weights, seeds, st.data())
def test_whoever_has_the_call_in_place_of_the_head_is_better_by_half_a_request(weights, seed, data):
    """Load and a half over weight against the head's load over its weight; never a tried or a manual one."""
    entries = [Entry(f"d{n}", f"sip:{n}", float(w), manual=n % 4 == 3) for n, w in enumerate(weights)]
    tried = [f"d{number}" for number in range(0, len(weights), 5)]
    picker, by_turns = _twins(entries, seed)
    for _ in range(20):
        load = {entry.key: data.draw(st.integers(0, 30)) for entry in entries}
        picked, head = picker.pick(load.__getitem__, tried), by_turns.pick(_idle, tried)
        if picked.key != head.key:
            assert (load[picked.key] + 0.5) / picked.weight < load[head.key] / head.weight
            assert not head.manual
            assert not picked.manual
            assert picked.key not in tried


@pytest.mark.parametrize(
    ("head_has", "others_have", "kept"), [(0, 0, 100), (2, 2, 100), (3, 5, 100), (1, 0, 0), (6, 5, 0)]
)
def test_the_head_of_the_round_is_kept_unless_the_others_are_better(head_has, others_have, kept):
    """Among five hundred equal ones a whole request less is better, the same number is not."""
    picker, by_turns = _twins(_entries(*[1.0] * 500))
    count = 0
    for _ in range(100):
        head = by_turns.pick(_idle).key
        count += head == picker.pick(lambda key, head=head: head_has if key == head else others_have).key
    assert kept == count


def test_manual_rivals_are_no_rivals_however_idle():
    """The one destination whose load counts is given its turns when there is nobody to compare it with."""
    entries = [Entry("auto", "sip:a", 1.0), *_entries(*[1.0] * SCAN_LIMIT, manual=True)]
    picker, by_turns = _twins(entries)
    for _ in range(50):
        assert by_turns.pick(_idle).key == picker.pick(lambda key: 99 if key == "auto" else 0).key


def test_asking_who_is_left_takes_nobodys_turn():
    """The answer is that of a pick, and the next pick is what it would have been."""
    asked, silent = _picker(_entries(1, 2, 3)), _picker(_entries(1, 2, 3))
    for _ in range(12):
        assert asked.has_left(["d0", "d1"])
        assert not asked.has_left(["d0", "d1", "d2"])
        assert silent.pick(_idle).key == asked.pick(_idle).key


def test_who_holds_requests_longer_takes_more_of_them_at_once():
    """The in-flight count is held against the room, which is the weight times how long a request stays."""
    slow, fast = Entry("d0", "sip:0", 1.0, hold=3.0), Entry("d1", "sip:1", 1.0)
    assert "d0" == _picker([slow, fast]).pick({"d0": 5, "d1": 3}.__getitem__).key
    assert "d1" == _picker([slow, fast]).pick({"d0": 12, "d1": 3}.__getitem__).key


def test_turns_can_be_asked_for_whatever_the_rule():
    """While what is shed is a part of what each would get, each must get its share of the asking."""
    picker = _picker(_entries(1, 3))
    busy = {"d0": 0, "d1": 100}.__getitem__
    assert Counter(d0=10, d1=30) == Counter(picker.pick(busy, by_turns=True).key for _ in range(40))


def test_all_entries_can_be_looked_at():
    """Those of every tier."""
    assert {"d0", "d1"} == {entry.key for entry in _picker(_entries(1, 1)).entries()}


@pytest.mark.parametrize("count", [2, SCAN_LIMIT + 2])
def test_an_idle_set_is_served_by_weights_and_not_by_rooms(count):
    """Who holds requests longer is not asked more often for it."""
    entries = [Entry(f"d{n}", f"sip:{n}", 1.0, hold=5.0 if n == 0 else 0.2) for n in range(count)]
    counts = _counts(_picker(entries), 10 * count)
    assert all(abs(10 - counts[entry.key]) <= 1 for entry in entries)


@pytest.mark.parametrize(("head_has", "kept"), [(6, True), (7, False)])
def test_in_a_large_set_loads_are_held_against_rooms(head_has, kept):
    """Six over a room of four are one and a half, as much as rivals would have; seven are more."""
    roomy = Entry("roomy", "sip:r", 1.0, hold=4.0)
    picker, by_turns = _twins([roomy, *_entries(*[1.0] * (SCAN_LIMIT + 3))])
    load = {f"d{number}": 1 for number in range(SCAN_LIMIT + 3)} | {"roomy": head_has}
    due = had = 0
    for _ in range(50 * (SCAN_LIMIT + 4)):
        head, picked = by_turns.pick(_idle), picker.pick(load.__getitem__)
        due += head is roomy
        had += head is picked is roomy
    assert 50 == due
    assert had == due if kept else had < 5  # both drawn rivals may be the head itself: once in 144 times


def test_in_a_large_set_a_roomy_rival_may_have_more_in_flight():
    """Three and a half over a room of four are less than one over one; as much over a room of one is not."""
    for hold, rivals in ((4.0, True), (1.0, False)):
        entries = _entries(*[1.0] * (SCAN_LIMIT + 3), hold=hold)
        picker, by_turns = _twins([Entry("small", "sip:s", 1.0), *entries])
        had = 0
        for _ in range((SCAN_LIMIT + 4) * 20):
            head, picked = by_turns.pick(_idle), picker.pick(lambda key: 1 if key == "small" else 3)
            had += head.key == "small" and picked.key != "small"
        assert rivals is (had > 15)


def test_a_room_is_the_weight_times_the_time():
    """Little's law; the time is 1 beside others where it is not known."""
    assert (2.5, 7.5) == (Entry("d0", "sip:0", 2.5).room, Entry("d0", "sip:0", 2.5, hold=3.0).room)


def test_turns_asked_for_pass_over_whoever_was_tried():
    """And end when all have been."""
    picker = _picker(_entries(1, 3))
    assert {"d1"} == {picker.pick(_idle, ["d0"], by_turns=True).key for _ in range(5)}
    assert picker.pick(_idle, ["d0", "d1"], by_turns=True) is None


def test_turns_asked_for_keep_to_the_first_tier():
    """A higher number waits, by whatever rule."""
    picker = _picker([*_entries(1, 1), Entry("spare", "sip:s", 5.0, tier=7)])
    assert {"d0", "d1"} == {picker.pick(_idle, by_turns=True).key for _ in range(20)}
    assert "spare" == picker.pick(_idle, ["d0", "d1"], by_turns=True).key


# --- by the time until a request is served ---


def _soonest(*entries: Entry, **load: int) -> str:
    return _picker(list(entries), Rule.SOONEST).pick(load.__getitem__).key


def test_the_faster_of_two_with_workers_to_spare_is_picked():
    """Whatever their weights: a worker that is free serves at its own speed."""
    slow, fast = Entry("slow", "sip:s", 2.0, base=4.0, bend=8.0), Entry("fast", "sip:f", 1.0, base=1.0, bend=1.0)
    assert "fast" == _soonest(slow, fast, slow=0, fast=0)


def test_a_line_is_avoided_before_it_is_as_long_as_the_slower_ones_time():
    """The request would make others wait too: two of them for each that waits, in a set of two."""
    slow, fast = Entry("slow", "sip:s", 1.0, base=4.0, bend=4.0), Entry("fast", "sip:f", 4.0, base=1.0, bend=4.0)
    assert "fast" == _soonest(slow, fast, slow=0, fast=6)  # 1 + 2 x 3 / 4 + 0.2 x 6 / 4 = 2.8
    assert "slow" == _soonest(slow, fast, slow=0, fast=9)  # 1 + 2 x 6 / 4 + 0.2 x 9 / 4 = 4.45


def test_of_two_alike_the_emptier_is_picked():
    """Even while neither has a line."""
    one, other = (Entry(key, f"sip:{key}", 1.0, base=1.0, bend=8.0) for key in ("one", "other"))
    assert "other" == _soonest(one, other, one=5, other=1)
    assert "one" == _soonest(one, other, one=1, other=5)


def test_a_line_counts_for_more_the_more_destinations_there_are():
    """Beside twenty a short line at the fast one is worse than a slow one with nothing to do."""
    fast = Entry("fast", "sip:f", 4.0, base=1.0, bend=4.0)
    slow = [Entry(f"s{number}", f"sip:s{number}", 1.0, base=4.0, bend=4.0) for number in range(19)]
    assert "fast" != _soonest(*slow, fast, fast=5, **{entry.key: 0 for entry in slow})
    assert "fast" == _soonest(*slow[:1], fast, fast=5, s0=0)


def test_alike_ones_are_served_by_weight_while_they_are_idle():
    """Times that differ by little do not turn shares around."""
    entries = [Entry("a", "sip:a", 1.0, base=1.0), Entry("b", "sip:b", 3.0, base=1.05)]
    counts = _counts(_picker(entries, Rule.SOONEST), 400)
    assert 90 <= counts["a"] <= 200


@given(st.lists(st.integers(1, 9), min_size=SCAN_LIMIT + 1, max_size=SCAN_LIMIT + 9), seeds, st.data())
def test_whoever_is_remembered_is_still_there_and_not_tried(weights, seed, data):
    """What was compared last may have left the list since, or had this very request."""
    picker = _picker(_entries(*map(float, weights)), Rule.SOONEST, seed)
    load = {f"d{number}": data.draw(st.integers(0, 5)) for number in range(len(weights))}
    for version in range(2, 6):
        tried = data.draw(st.sets(st.sampled_from(sorted(load)), max_size=len(load) - 1))
        assert picker.pick(load.__getitem__, tried).key not in tried
        gone = data.draw(st.sampled_from(sorted(load)))
        left = [entry for entry in _entries(*map(float, weights)) if entry.key in load and entry.key != gone]
        if len(left) > SCAN_LIMIT:
            load.pop(gone)
            picker.refresh(Snapshot(version, Rule.SOONEST, entries=tuple(left)))
        assert picker.pick(load.__getitem__).key in load
