"""Dispatcher shows the same destinations, and what an operator does there is heard."""

import pytest
from steelyard.edge.mirror import LOOK_INTERVAL_S, MIN_RELOAD_INTERVAL_S, Mirror

from tests.edge.rig import uri


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Return the mirror's clock."""
    return Clock()


@pytest.fixture
def mirror(server, tmp_path, clock) -> Mirror:
    """Return the mirror of set 1."""
    return Mirror(server.ksr, tmp_path, "1", clock)


def enabled(*numbers: int) -> dict[str, bool]:
    """Return destinations none of which is disabled."""
    return {uri(number): False for number in numbers}


def test_the_file_is_what_dispatcher_reads(mirror, tmp_path) -> None:
    """One line a destination: set, URI, flags, priority."""
    mirror.write_file({uri(1): False, uri(2): True})
    lines = (tmp_path / "dispatcher.list").read_text().splitlines()
    assert [f"1 {uri(1)} 0 0", f"1 {uri(2)} 4 0"] == [line for line in lines if not line.startswith("#")]


def test_the_file_carries_the_number_of_the_set(server, tmp_path, clock) -> None:
    """Another set, another number."""
    Mirror(server.ksr, tmp_path, "27", clock).write_file(enabled(1))
    assert f"27 {uri(1)} 0 0" in (tmp_path / "dispatcher.list").read_text()


def test_the_file_is_replaced_whole(mirror, tmp_path) -> None:
    """Nothing is left beside it that a crash could leave half written."""
    mirror.write_file(enabled(1))
    mirror.write_file({})
    assert ["dispatcher.list"] == [path.name for path in tmp_path.iterdir()]
    assert uri(1) not in (tmp_path / "dispatcher.list").read_text()


def test_a_list_appears_in_dispatcher(server, mirror) -> None:
    """The first list is loaded at once."""
    mirror.sync({uri(1): False, uri(2): True}, {})
    assert {uri(1): "AX", uri(2): "DX"} == server.dispatcher.flags


def test_nothing_is_reloaded_for_nothing(server, mirror, clock) -> None:
    """A reload resets what dispatcher knows, so it follows changes alone."""
    for _ in range(5):
        mirror.sync(enabled(1), {})
        clock.now_s += 10
    assert 1 == server.dispatcher.reloads


def test_reloads_keep_their_distance(server, mirror, clock) -> None:
    """A round of pings walks the list that a second reload would free under it."""
    mirror.sync(enabled(1), {})
    clock.now_s += MIN_RELOAD_INTERVAL_S - 0.01
    mirror.sync(enabled(1, 2), {})
    assert 1 == server.dispatcher.reloads
    clock.now_s += 0.01
    mirror.sync(enabled(1, 2), {})
    assert 2 == server.dispatcher.reloads
    assert {uri(1), uri(2)} == server.dispatcher.flags.keys()


def test_up_and_down_follow(server, mirror) -> None:
    """A destination is shown as the pings find it, and asked for only when that changes."""
    mirror.sync(enabled(1, 2), {uri(1): True, uri(2): False})
    assert {uri(1): "AX", uri(2): "IP"} == server.dispatcher.flags
    server.dispatcher.flags[uri(1)] = "untouched"
    mirror.sync(enabled(1, 2), {uri(1): True, uri(2): True})
    assert {uri(1): "untouched", uri(2): "AP"} == server.dispatcher.flags


def test_what_is_down_stays_down_after_a_reload(server, mirror, clock) -> None:
    """A reload makes all active; the mirror puts that right in the same round."""
    mirror.sync(enabled(1), {uri(1): False})
    clock.now_s += MIN_RELOAD_INTERVAL_S
    mirror.sync(enabled(1, 2), {uri(1): False, uri(2): True})
    assert {uri(1): "IP", uri(2): "AX"} == server.dispatcher.flags


def test_a_disabled_destination_is_neither_up_nor_down(server, mirror) -> None:
    """It stays disabled whatever its pings said last."""
    mirror.sync({uri(1): True}, {uri(1): False})
    assert {uri(1): "DX"} == server.dispatcher.flags


def test_what_an_operator_disabled_is_not_enabled_by_a_change_of_health(server, mirror) -> None:
    """Within the distance of two reloads a destination that goes down must not lose the operator's word."""
    mirror.sync(enabled(1), {uri(1): True})
    server.dispatcher.flags[uri(1)] = "DX"
    mirror.sync({uri(1): True}, {uri(1): False})
    assert "DX" == server.dispatcher.flags[uri(1)]


def test_a_destination_disabled_in_dispatcher_is_read_back(server, mirror) -> None:
    """`dispatcher.set_state d` is heard, and so is its end."""
    mirror.sync(enabled(1, 2), {})
    server.dispatcher.call("dispatcher.set_state", ["d", 1, uri(2)])
    assert {uri(1): False, uri(2): True} == mirror.disabled_by_operator()


def test_a_reload_keeps_what_an_operator_disabled_a_moment_before(server, mirror, clock) -> None:
    """A list that changes at the same time does not undo it."""
    mirror.sync(enabled(1), {})
    clock.now_s += MIN_RELOAD_INTERVAL_S - 0.1
    mirror.disabled_by_operator()
    server.dispatcher.call("dispatcher.set_state", ["d", 1, uri(1)])
    clock.now_s += 0.1
    mirror.disabled_by_operator()
    mirror.sync(enabled(1, 2), {})
    clock.now_s += LOOK_INTERVAL_S
    assert (mirror.disabled_by_operator() or {})[uri(1)]


@pytest.mark.parametrize("state", ["ip", "i", "tp", "ap"])
def test_no_other_state_counts_as_disabled(server, mirror, state) -> None:
    """Down and trying are dispatcher's own findings."""
    mirror.sync(enabled(1), {})
    server.dispatcher.call("dispatcher.set_state", [state, 1, uri(1)])
    assert {uri(1): False} == mirror.disabled_by_operator()


def test_what_is_disabled_for_maintenance_is_not_the_operators_doing(mirror) -> None:
    """Our own mark must not be taken for somebody's set_state."""
    mirror.sync({uri(1): False, uri(2): True}, {})
    assert {uri(1): False} == mirror.disabled_by_operator()


def test_what_was_disabled_for_maintenance_is_not_taken_for_the_operators_word_afterwards(mirror) -> None:
    """Until our own mark is gone from dispatcher it says nothing about what an operator did there."""
    mirror.sync({uri(1): True, uri(2): False}, {})
    seen = mirror.disabled_by_operator()  # maintenance is over, the reload is still to come
    assert not (seen or {}).get(uri(1), False)


def test_what_an_operator_enables_again_is_read_back(server, mirror, clock) -> None:
    """Our own mark is gone: somebody has taken it away."""
    mirror.sync({uri(1): True}, {})
    assert {} == mirror.disabled_by_operator()
    server.dispatcher.call("dispatcher.set_state", ["ap", 1, uri(1)])
    clock.now_s += LOOK_INTERVAL_S
    assert {uri(1): False} == mirror.disabled_by_operator()


@pytest.mark.xfail(reason="until the reload our own mark hides a second one, and the reload takes it away")
def test_an_operator_who_enables_and_disables_within_a_reload_is_heard(server, mirror, clock) -> None:
    """The last word counts, however soon it follows."""
    mirror.sync({uri(1): True}, {})
    words = {}
    for state in ("ap", "d"):
        clock.now_s += LOOK_INTERVAL_S
        server.dispatcher.call("dispatcher.set_state", [state, 1, uri(1)])
        words |= mirror.disabled_by_operator() or {}
        mirror.sync(words, {})
    assert {uri(1): True} == words


def test_dispatcher_is_looked_at_a_few_times_a_second(mirror, clock) -> None:
    """Between two looks there is no answer."""
    mirror.sync(enabled(1), {})
    assert mirror.disabled_by_operator() is not None
    assert mirror.disabled_by_operator() is None
    clock.now_s += LOOK_INTERVAL_S
    assert mirror.disabled_by_operator() is not None


def test_dispatcher_is_not_looked_at_before_it_has_a_list(mirror) -> None:
    """An empty dispatcher answers with an error."""
    assert mirror.disabled_by_operator() is None


def test_destinations_that_are_not_ours_are_left_alone(server, mirror) -> None:
    """What else stands in dispatcher is not reported."""
    mirror.sync(enabled(1), {})
    server.dispatcher.flags["sip:192.0.2.99"] = "DX"
    assert {uri(1): False} == mirror.disabled_by_operator()


def test_a_command_that_fails_is_logged_by_name(server, mirror) -> None:
    """The log says which command and why; the mirror goes on."""
    server.dispatcher.fails = "Reload Failed"
    mirror.sync(enabled(1), {})
    level, text = server.log[0]
    assert "warn" == level
    assert "dispatcher.reload" in text
    assert "Reload Failed" in text


def test_a_reload_that_failed_is_tried_again(server, mirror, clock) -> None:
    """Dispatcher must not stay behind for ever."""
    server.dispatcher.fails = "Ongoing reload"
    mirror.sync(enabled(1), {})
    server.dispatcher.fails = ""
    clock.now_s += MIN_RELOAD_INTERVAL_S
    mirror.sync(enabled(1), {})
    assert {uri(1)} == server.dispatcher.flags.keys()
