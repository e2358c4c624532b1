"""The pings on their way."""

import pytest
from steelyard.core.pings import Ping, Pings


def test_an_answered_ping_says_whose_it_was_and_how_long_it_took():
    """The time runs from sent to received."""
    pings = Pings()
    pings.on_sent("c1", "sip:a", now_s=10.0)
    assert Ping("sip:a", 0.25) == pings.on_answered("c1", now_s=10.25)


def test_a_ping_is_answered_once():
    """A second answer, or one to a ping that is not ours, is none."""
    pings = Pings()
    pings.on_sent("c1", "sip:a", now_s=0.0)
    assert pings.on_answered("c1", now_s=0.1) is not None
    assert pings.on_answered("c1", now_s=0.2) is None
    assert pings.on_answered("c2", now_s=0.2) is None


@pytest.mark.parametrize(("now_s", "lost"), [(10.999, []), (11.0, []), (11.001, ["sip:a"])])
def test_a_ping_is_lost_once_its_timeout_is_over(now_s, lost):
    """The timeout itself is still in time."""
    pings = Pings()
    pings.on_sent("c1", "sip:a", now_s=10.0)
    assert lost == pings.take_lost({"sip:a": 1.0}, now_s=now_s)


def test_a_lost_ping_is_lost_once_and_its_answer_is_none():
    """What was given up does not come back."""
    pings = Pings()
    pings.on_sent("c1", "sip:a", now_s=0.0)
    assert ["sip:a"] == pings.take_lost({"sip:a": 1.0}, now_s=2.0)
    assert [] == pings.take_lost({"sip:a": 1.0}, now_s=3.0)
    assert pings.on_answered("c1", now_s=3.0) is None


def test_every_lost_ping_counts_by_its_own_destinations_timeout():
    """Two to the patient one are still out, two to the other are lost."""
    pings = Pings()
    for number, uri in enumerate(("sip:a", "sip:b", "sip:a", "sip:b")):
        pings.on_sent(f"c{number}", uri, now_s=0.0)
    assert ["sip:a", "sip:a"] == pings.take_lost({"sip:a": 1.0, "sip:b": 5.0}, now_s=2.0)
    assert ["sip:b", "sip:b"] == pings.take_lost({"sip:a": 1.0, "sip:b": 5.0}, now_s=6.0)


def test_pings_of_a_destination_that_left_are_forgotten_without_a_word():
    """Nobody is left to go down for them."""
    pings = Pings()
    pings.on_sent("c1", "sip:a", now_s=0.0)
    assert [] == pings.take_lost({}, now_s=0.1)
    assert pings.on_answered("c1", now_s=0.1) is None
