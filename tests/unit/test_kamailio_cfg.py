"""What kamailio.cfg must not lose."""

import re
from pathlib import Path

import pytest
from steelyard.edge import kamailio, pinger

CONFIG = (Path(__file__).resolve().parents[2] / "kamailio.cfg").read_text()


def _parameter(module: str, name: str) -> int:
    return int(re.findall(rf'^modparam\("{module}", "{name}", ([0-9]+)\)$', CONFIG, re.MULTILINE)[0])


@pytest.mark.parametrize("name", ["fr_inv_timer", "max_inv_lifetime"])
def test_a_call_may_ring_for_more_than_three_minutes(name):
    """RFC 3261 section 16.6: Timer C is longer than three minutes."""
    assert _parameter("tm", name) > 180_000
    assert kamailio.TIMER_C_MS > 180_000


def test_dispatcher_never_decides_who_is_up():
    """Its own thresholds are out of reach: there is one truth."""
    for name in ("ds_probing_threshold", "ds_inactive_threshold"):
        assert _parameter("dispatcher", name) >= 1_000_000


def test_dispatchers_round_is_the_pingers():
    """The pinger counts on rounds of that length, in a timer that serves nothing else."""
    assert pinger.ROUND_S == _parameter("dispatcher", "ds_ping_interval")
    assert 1 == _parameter("dispatcher", "ds_timer_mode")


def test_a_changed_list_can_be_mirrored_at_once():
    """Dispatcher's own limit of one reload in five seconds is off."""
    assert 0 == _parameter("dispatcher", "reload_delta")
