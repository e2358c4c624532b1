"""The set's volume of calls and the operator's threshold."""

import math

from steelyard.core.volume import DECAY_S, HYSTERESIS, Volume


def _at(rate: float) -> Volume:
    volume = Volume()
    for _ in range(round(rate * DECAY_S)):
        volume.on_call(now_s=0.0)
    return volume


def test_without_a_threshold_the_policy_always_decides():
    """A threshold of 0 is none."""
    volume = Volume()
    assert "" == volume.check(0, now_s=0.0)
    assert volume.above


def test_below_the_threshold_is_said_once():
    """Crossing is news, staying is not."""
    volume = _at(10)
    assert volume.check(100, now_s=0.0).startswith("10.0 calls per second, threshold 100; below")
    assert "" == volume.check(100, now_s=0.0)
    assert not volume.above


def test_it_takes_a_tenth_less_to_fall_below_than_to_rise_above():
    """A volume that hovers at the threshold does not flap."""
    volume = _at(10)
    assert "" == volume.check(10 / HYSTERESIS, now_s=0.0)
    assert volume.check(10 / HYSTERESIS + 0.01, now_s=0.0)
    assert "" == volume.check(10.01, now_s=0.0)
    assert volume.check(10, now_s=0.0).endswith("above: the policy decides")


def test_the_volume_fades():
    """After one decay time without a call an e-th of it is left."""
    volume = _at(10)
    assert "" == volume.check(10 * math.exp(-1), now_s=DECAY_S - 1e-9)
    assert volume.check(10 * math.exp(-1) / HYSTERESIS + 0.01, now_s=DECAY_S)
