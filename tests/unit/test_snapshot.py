"""What the control process tells the workers, written and read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.snapshot import FORMAT, Entry, Rule, Snapshot, decode, encode

FINITE = st.floats(allow_nan=False, allow_infinity=False)
ENTRIES = st.builds(
    Entry, st.text(), st.text(), FINITE, st.integers(), st.booleans(), st.booleans(), st.booleans(), FINITE
)
SNAPSHOTS = st.builds(
    Snapshot,
    st.integers(min_value=0),
    st.sampled_from(Rule),
    st.integers(1, 8),
    st.booleans(),
    st.text(),
    st.lists(ENTRIES, max_size=4).map(tuple),
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FINITE | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=8),
    max_leaves=20,
)


@given(SNAPSHOTS)
def test_what_was_written_is_read_back(snapshot):
    """Every field of every entry survives, whatever its text."""
    assert snapshot == decode(encode(snapshot))


@given(SNAPSHOTS)
def test_a_snapshot_is_one_line(snapshot):
    """It fits one cell, and a person can read it."""
    text = encode(snapshot)
    assert text.isascii()
    assert 1 == len(text.splitlines())


def test_the_first_snapshot_says_why_it_is_empty():
    """Before the control process has spoken nobody can be picked."""
    snapshot = Snapshot()
    assert 0 == snapshot.version
    assert () == snapshot.entries
    assert "the control process has not published a list yet" == snapshot.reason
    assert snapshot == decode(encode(snapshot))


def test_the_format_is_the_first_thing_written():
    """A reader of another version sees it before all else."""
    entry = Entry("d1", "sip:a", 1.5, 1, True, False, True, 0.5, 2.0, 0.8, 4.0, "a:5060", False)
    row = ["d1", "sip:a", 1.5, 1, 1, 0, 1, 0.5, 2.0, 0.8, 4.0, "a:5060", 0]
    assert [FORMAT, 7, "turns", 2, 1, "", [row]] == json.loads(encode(Snapshot(7, Rule.TURNS, 2, True, "", (entry,))))


def test_what_is_not_said_of_an_entry_has_its_default():
    """First tier, automatic, nothing held, any reply counts, two seconds to answer; three attempts, no panic."""
    assert Entry("d1", "sip:a", 1.0, 0, False, False, False, 2.0, 1.0, 1.0, 1.0, "", True) == Entry("d1", "sip:a", 1.0)
    assert (Rule.LEAST, 3, False) == (Snapshot().rule, Snapshot().max_attempts, Snapshot().panic)


def test_flags_are_read_as_booleans():
    """They travel as 0 and 1."""
    entry = decode(encode(Snapshot(entries=(Entry("d1", "sip:a", 1.0, holds=True),)))).entries[0]
    assert entry.holds is True
    assert entry.manual is False


def test_another_format_is_refused_by_its_number():
    """Old workers do not guess at what a new control process means."""
    text = json.dumps([FORMAT + 1, *json.loads(encode(Snapshot()))[1:]])
    with pytest.raises(ValueError, match=f"snapshot of format {FORMAT + 1}, expected {FORMAT}"):
        decode(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "null",
        "7",
        "[]",
        "{}",
        "[1,2,3]",
        '[1,1,"fastest",3,0,"",[]]',
        '[1,1,"least",3,0,"",7]',
        '[1,1,"least",3,0,"",null]',
        '[1,1,"least",3,0,"",[["d1","sip:a",1.0]]]',
        '[1,1,"least",3,0,"",[7]]',
        '[1,1,[],3,0,"",[]]',
        '[1,1,"least",3,0,"",[],0]',
    ],
)
def test_what_is_no_snapshot_is_refused(text):
    """Nothing half-read is put in force."""
    with pytest.raises(ValueError, match=r"."):
        decode(text)


@given(st.text() | JSON.map(json.dumps))
def test_no_text_breaks_the_reading_of_a_snapshot(text):
    """Any text is either a snapshot or refused with a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        decode(text)
