"""Which of dispatcher's pings leave, and when."""

import pytest
from steelyard.core.balancer import Probe
from steelyard.edge import probing
from steelyard.edge.pinger import MAX_GAP_S, ROUND_S, SPREAD_S, Pinger

from tests.edge.rig import Rig, uri


class Fixed:
    """Randomness that always says the same."""

    def __init__(self, value: float) -> None:
        self._value = value

    def random(self) -> float:
        """Return the value."""
        return self._value


def publish(rig: Rig, table: dict[str, tuple[float, float]]) -> None:
    """Publish the probes as the control process does: URI -> interval and timeout in seconds."""
    rig.version += 1
    probes = {uri: Probe(interval_s, timeout_s) for uri, (interval_s, timeout_s) in table.items()}
    rig.probes.publish(rig.version, probing.encode(probes))


def leave_times(rig: Rig, uris: list[str]) -> list[float]:
    """Let dispatcher walk its list once; return when each ping left, in seconds from the start of the walk."""
    began_us = rig.now_us
    times = []
    for each in uris:
        assert not rig.server.ping(each).dropped
        times.append((rig.now_us - began_us) / 1e6)
    return times


def test_a_ping_that_is_due_leaves_with_its_own_timeout(rig) -> None:
    """Its reply reaches the pong callback; the fact names it, its destination and when it left."""
    publish(rig, {uri(1): (1, 0.7)})
    ping = rig.server.ping(uri(1))
    assert (False, "ksr_pong", 700) == (ping.dropped, ping.on_reply, ping.timeout_ms)
    assert [("ping", [ping.call_id, uri(1), str(rig.now_us)])] == rig.filed()


@pytest.mark.parametrize("table", [{}, {uri(2): (1, 1)}, {uri(1): (0, 1)}])
def test_a_ping_that_nobody_asked_for_is_dropped(rig, table) -> None:
    """A destination off the list, or one that must not be probed, hears nothing."""
    publish(rig, table)
    assert rig.server.ping(uri(1)).dropped
    assert [] == rig.filed()


def test_no_ping_leaves_before_the_first_list(rig) -> None:
    """Without probes published there is nothing to ping."""
    assert rig.server.ping(uri(1)).dropped


@pytest.mark.parametrize("interval_s", [1, 2, 5])
def test_pings_keep_their_interval(rig, interval_s) -> None:
    """Of dispatcher's one ping a second, every interval's first one leaves."""
    publish(rig, {uri(1): (interval_s, 0.5)})
    left = []
    for _ in range(20):
        start_us = rig.now_us
        left.append(not rig.server.ping(uri(1)).dropped)
        rig.now_us = start_us + round(ROUND_S * 1e6)
    assert [number % interval_s == 0 for number in range(20)] == left


def test_a_ping_that_is_early_by_half_a_round_is_due(rig) -> None:
    """Jitter within a round must not turn every second into every other second."""
    publish(rig, {uri(1): (2, 0.5)})
    rig.server.ping(uri(1))
    rig.pass_time(1.4)
    assert rig.server.ping(uri(1)).dropped
    rig.pass_time(0.2)
    assert not rig.server.ping(uri(1)).dropped


def test_a_shorter_interval_is_in_force_at_the_next_walk(rig) -> None:
    """The table is read again when its version changes."""
    publish(rig, {uri(1): (60, 0.5)})
    rig.server.ping(uri(1))
    rig.pass_time(ROUND_S)
    assert rig.server.ping(uri(1)).dropped
    publish(rig, {uri(1): (1, 0.5)})
    assert not rig.server.ping(uri(1)).dropped


def test_a_destination_that_comes_back_is_pinged_at_once(rig) -> None:
    """When it was pinged before it left does not matter."""
    publish(rig, {uri(1): (60, 0.5)})
    rig.server.ping(uri(1))
    publish(rig, {uri(2): (60, 0.5)})
    rig.server.ping(uri(2))
    publish(rig, {uri(1): (60, 0.5), uri(2): (60, 0.5)})
    assert not rig.server.ping(uri(1)).dropped


@pytest.mark.parametrize("count", [1, 3, 10, 1000])
def test_the_pings_of_a_round_are_spread_over_it(rig, count) -> None:
    """Each leaves within a gap of its own, and the walk ends before the next one begins."""
    uris = [f"sip:proxy-{number}.example.com" for number in range(count)]
    publish(rig, dict.fromkeys(uris, (1, 0.5)))
    times = leave_times(rig, uris)
    gap_s = min(SPREAD_S / count, MAX_GAP_S)
    for number, time_s in enumerate(times):
        assert number * gap_s - 1e-5 <= time_s <= (number + 1) * gap_s + 1e-5
    assert times[-1] < ROUND_S


def test_each_round_begins_anew(rig) -> None:
    """Each walk is spread like the first, not ever later."""
    uris = [uri(number) for number in range(1, 5)]
    publish(rig, dict.fromkeys(uris, (1, 0.5)))
    gap_s = min(SPREAD_S / len(uris), MAX_GAP_S)
    for _ in range(3):
        start_us = rig.now_us
        times = leave_times(rig, uris)
        assert times[0] <= gap_s + 1e-5
        assert times[-1] <= SPREAD_S + 1e-5
        rig.now_us = start_us + round(ROUND_S * 1e6)


def test_pings_are_jittered_within_their_gap(rig) -> None:
    """Two nodes that started together do not ping together."""
    publish(rig, {uri(1): (1, 0.5)})
    times = []
    for value in (0.0, 0.5):
        rig.server.script._pinger = Pinger(
            rig.router._sip, rig.probes, rig.facts, rig.prober._pongs, rig.clock_us, rig.pass_time, Fixed(value)
        )
        times += leave_times(rig, [uri(1)])
        rig.pass_time(10)
    assert [0.0, pytest.approx(0.5 * MAX_GAP_S)] == times


def test_the_time_a_ping_waited_is_not_counted(rig) -> None:
    """It is timed from the moment it leaves."""
    publish(rig, {uri(1): (1, 0.5)})
    rig.server.ping(uri(1))
    [(_, fields)] = rig.filed()
    assert str(rig.now_us) == fields[2]


@pytest.mark.parametrize("status", [200, 404, 483, 503])
def test_any_final_reply_is_an_answer(rig, status) -> None:
    """Which one it was is for the control process to judge."""
    publish(rig, {uri(1): (1, 0.5)})
    ping = rig.server.ping(uri(1))
    rig.filed()
    rig.pass_time(0.03)
    rig.server.pong(ping, status)
    assert [("pong", [ping.call_id, str(status), str(rig.now_us), "127.0.0.1", "-"])] == rig.filed()


def test_a_provisional_reply_is_no_answer(rig) -> None:
    """A 100 to an OPTIONS says nothing yet."""
    publish(rig, {uri(1): (1, 0.5)})
    ping = rig.server.ping(uri(1))
    rig.filed()
    rig.server.pong(ping, 100)
    assert [] == rig.filed()


def test_a_table_that_cannot_be_read_harms_one_ping(rig) -> None:
    """The guard logs it; what is published next is used."""
    rig.probes.publish(1, "[damaged")
    rig.server.ping(uri(1))
    assert 1 == len(rig.server.errors())
    rig.server.log.clear()
    rig.version = 1
    publish(rig, {uri(1): (1, 0.5)})
    assert not rig.server.ping(uri(1)).dropped
