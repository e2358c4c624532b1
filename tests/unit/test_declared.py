"""The operator's list: what is taken, what is refused, what stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.declared import HASHES, Declared, Rejected, read_list
from steelyard.core.destination import Destination, Mode, State
from steelyard.core.settings import Policy, Settings

A, B = "sip:192.0.2.1:5060", "sip:192.0.2.2:5060"
EMPTY = {name: {} for name in HASHES}


def good_list(**hashes):
    """Read a list in which nothing is refused."""
    declared, rejected = read_list({**EMPTY, **hashes}, Declared())
    assert [] == rejected
    return declared


def test_an_empty_list_has_no_destinations_and_the_default_settings():
    """Nothing declared is a list too."""
    declared = good_list()
    assert {} == declared.destinations
    assert Settings() == declared.settings


def test_a_field_of_the_weight_hash_is_a_destination():
    """What else is said of it comes from the other hashes."""
    declared = good_list(
        weight={A: "2.5", B: "0"},
        state={A: "drain"},
        mode={A: "manual"},
        priority={A: "3"},
        settings={"policy": "weighted", f"rise@{B}": "9"},
    )
    assert Destination(A, 2.5, State.DRAIN, Mode.MANUAL, 3) == declared.destinations[A]
    assert Destination(B, 0.0, State.READY, Mode.AUTO, 0) == declared.destinations[B]
    assert Policy.WEIGHTED is declared.settings.policy
    assert 9 == declared.settings.of(B).rise


def test_a_uri_that_has_no_weight_is_no_destination():
    """A state may be written before the destination joins, or be left behind when it leaves."""
    assert {} == good_list(state={A: "drain"}, mode={A: "manual"}, priority={A: "1"}).destinations


def test_the_order_of_fields_does_not_matter():
    """Redis returns fields in any order; destinations are listed by URI."""
    assert [A, B] == list(good_list(weight={B: "1", A: "1"}).destinations)
    assert good_list(weight={B: "1", A: "2"}) == good_list(weight={A: "2", B: "1"})


def test_a_field_that_is_gone_has_no_effect_any_more():
    """HDEL takes back what HSET said."""
    last = good_list(weight={A: "1", B: "1"}, state={A: "drain"}, settings={"rise": "7"})
    declared, rejected = read_list({**EMPTY, "weight": {A: "1"}}, last)
    assert [] == rejected
    assert {A: Destination(A)} == declared.destinations
    assert Settings() == declared.settings


@pytest.mark.parametrize(
    ("name", "field", "good", "bad", "reason"),
    [
        ("weight", A, "2", "abc", "expected a number from 0 to 1e+06"),
        ("state", A, "drain", "dran", "expected one of ready, drain, maint"),
        ("mode", A, "manual", "hand", "expected one of auto, manual"),
        ("priority", A, "1", "-1", "expected a whole number from 0 to 1000000"),
        ("settings", "rise", "7", "0", "expected a whole number from 1 to 100"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_and_the_last_good_one_stays(name, field, good, bad, reason):
    """The refusal names hash, field, value and what was expected; the list in force does not change."""
    last = good_list(**{"weight": {A: "2", B: "1"}, name: {**({B: "1"} if name == "weight" else {}), field: good}})
    raw = {**{hash_name: dict(last.text[hash_name]) for hash_name in HASHES}}
    raw[name][field] = bad
    declared, rejected = read_list(raw, last)
    assert [Rejected(name, field, bad, reason)] == rejected
    assert last == declared


@pytest.mark.parametrize("name", ["weight", "state", "mode", "priority"])
def test_a_field_that_is_no_uri_is_refused_in_every_hash(name):
    """The field is checked before its value."""
    declared, rejected = read_list({**EMPTY, name: {"192.0.2.1": "1"}}, Declared())
    assert [(name, "192.0.2.1", "expected a SIP URI such as sip:192.0.2.10:5060")] == [
        (r.hash, r.field, r.reason) for r in rejected
    ]
    assert Declared(EMPTY, EMPTY) == declared


def test_a_bad_value_without_a_good_one_before_it_is_as_if_not_written():
    """A destination with a bad weight does not join; one with a bad state is ready."""
    declared, rejected = read_list({**EMPTY, "weight": {A: "1", B: "x"}, "state": {A: "x"}}, Declared())
    assert ["weight", "state"] == [r.hash for r in rejected]
    assert {A: Destination(A)} == declared.destinations


def test_a_refused_value_touches_nothing_else():
    """The good fields beside a bad one are in force at once."""
    last = good_list(weight={A: "1", B: "1"})
    declared, _ = read_list({**EMPTY, "weight": {A: "x", B: "5"}}, last)
    assert {A: 1.0, B: 5.0} == {uri: d.weight for uri, d in declared.destinations.items()}


def test_the_last_good_value_outlives_any_number_of_bad_readings():
    """Each reading falls back on the same good value, as text too."""
    declared = good_list(weight={A: "3"})
    for bad in ("x", "-1", ""):
        declared, rejected = read_list({**EMPTY, "weight": {A: bad}}, declared)
        assert [bad] == [r.value for r in rejected]
    assert 3.0 == declared.destinations[A].weight
    assert {A: "3"} == declared.text["weight"]


def test_a_bad_value_whose_field_was_gone_does_not_come_back():
    """Only the list in force is fallen back on, not what was before it."""
    declared = good_list(weight={A: "3"})
    declared, _ = read_list(EMPTY, declared)
    declared, _ = read_list({**EMPTY, "weight": {A: "x"}}, declared)
    assert {} == declared.destinations


@pytest.mark.parametrize("unreadable", [{}, {"weight": None}, dict.fromkeys(HASHES)])
def test_a_hash_that_could_not_be_read_stays_as_it_was(unreadable):
    """A key of a wrong type, or one not read at all, changes nothing and is nobody's refusal."""
    last = good_list(weight={A: "3"}, state={A: "drain"}, settings={"rise": "7"})
    raw = {**{name: last.text[name] for name in HASHES}, **unreadable} if unreadable else {}
    assert (last, []) == read_list(raw, last)


def test_refusals_come_in_the_order_of_the_hashes():
    """An operator reads them from the list of weights on."""
    raw = {name: {"?": "?"} for name in reversed(HASHES)}
    assert list(HASHES) == [r.hash for r in read_list(raw, Declared())[1]]


def test_the_text_kept_reads_back_as_the_same_list():
    """What goes to disk is enough to start from."""
    last = good_list(weight={A: "2.50", B: "1"}, state={A: "drain"}, settings={"rise": "07"})
    assert (last, []) == read_list(last.text, Declared())


FIELDS = st.sampled_from([A, B, "rise", "policy", f"rise@{A}"]) | st.text(max_size=12)
VALUES = st.sampled_from(["0", "1", "2.5", "drain", "manual", "weighted", "7"]) | st.text(max_size=12)
LISTS = st.fixed_dictionaries({name: st.none() | st.dictionaries(FIELDS, VALUES, max_size=5) for name in HASHES})


@given(LISTS, LISTS)
def test_no_text_breaks_the_reading_and_every_good_value_stays(first, second):
    """After any two readings each field has its new value if that was good, else the one it had."""
    last, _ = read_list(first, Declared())
    declared, rejected = read_list(second, last)
    refused = {(r.hash, r.field): r for r in rejected}
    for name in HASHES:
        fields = second[name]
        if fields is None:
            assert last.text[name] == declared.text[name]
            continue
        for field, text in fields.items():
            if (name, field) in refused:
                assert (text, last.text[name].get(field)) == (
                    refused[name, field].value,
                    declared.text[name].get(field),
                )
            else:
                assert text == declared.text[name][field]
        assert declared.text[name].keys() <= fields.keys()


@given(LISTS)
def test_a_list_read_twice_is_the_same(raw):
    """Reading again changes nothing and refuses the same."""
    last, refused = read_list(raw, Declared())
    assert (last, refused) == read_list(raw, last)
