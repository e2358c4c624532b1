"""Overload control towards one server, rule by rule; c5 and the like are RFC 7339's rules for clients."""

import itertools
import random

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.edge.gate import Gate
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.shared import REST_S, Throttles

from tests.edge.rig import entry

HOST = "127.0.0.1:5001"
VIA = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"


class World:
    """A gate, its clock and what its server says."""

    def __init__(self, server, algorithms=(Algorithm.LOSS, Algorithm.RATE)) -> None:
        """Build a gate as a worker has it."""
        self.now_us = 5_000_000_000
        self.throttles = Throttles(server.ksr)
        self.passed = 0
        rng = random.Random(3)  # noqa: S311 - traffic
        self.gate = Gate(self.throttles, algorithms, self.take_passed, lambda: self.now_us, rng)

    def take_passed(self) -> int:
        """Return what has passed by the gate since the last time."""
        passed, self.passed = self.passed, 0
        return passed

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now_us += round(seconds * 1e6)

    def hear(self, parameters: str) -> str:
        """Let a response say something of overload; return what is wrong with it."""
        return self.gate.on_reply(HOST, VIA + parameters)

    def oc(self) -> int | None:
        """Return what is in force."""
        throttle = self.throttles.in_force(HOST, self.now_us)
        return throttle.oc if throttle else None

    def all_ordinary(self) -> None:
        """Let whole intervals of ordinary requests be measured."""
        for _ in range(3):
            self.gate.on_request(priority=False)
            self.pass_time(5)

    def passes(self, count: int, *, priority: bool = False) -> list[bool]:
        """Ask for a number of requests."""
        return [self.gate.lets_pass(HOST, priority=priority) for _ in range(count)]


@pytest.fixture
def world(server) -> World:
    """Return a gate."""
    return World(server)


# --- what responses say ---


@pytest.mark.parametrize(
    "text", ["", ";oc", ';oc;oc-algo="loss"', ";octet=5", ";oc-seq=1.1", ";rport=5060;received=192.0.2.7"]
)
def test_c4_a_response_without_a_value_says_nothing(world, text) -> None:
    """Its server does not support overload control."""
    assert "" == world.hear(text)
    assert world.oc() is None


def test_c5_a_smaller_number_is_stale_and_a_much_smaller_one_a_server_begun_anew(world) -> None:
    """Responses overtake each other within a second, not within a minute."""
    world.hear(";oc=20;oc-validity=60000;oc-seq=1000.00002")
    world.hear(";oc=70;oc-validity=60000;oc-seq=1000.00001")
    assert 20 == world.oc()
    world.hear(";oc=70;oc-validity=60000;oc-seq=100.00000")
    assert 70 == world.oc()


def test_c6_without_a_validity_it_holds_for_half_a_second(world) -> None:
    """Not a moment longer."""
    world.hear(";oc=20")
    world.pass_time(0.499)
    assert 20 == world.oc()
    world.pass_time(0.001)
    assert world.oc() is None


def test_c6_a_validity_of_nothing_stops_it_whatever_the_value(world) -> None:
    """And a validity without a value is nothing at all."""
    world.hear(";oc=20;oc-validity=60000;oc-seq=1.1")
    world.hear(";oc-validity=500;oc-seq=1.2")
    assert 20 == world.oc()
    world.hear(";oc=20;oc-validity=0;oc-seq=1.3")
    assert world.oc() is None


def test_c7_what_has_expired_is_forgotten(world) -> None:
    """Its number too: a server may begin anew below it."""
    world.hear(";oc=20;oc-validity=1000;oc-seq=50.1")
    world.pass_time(1)
    assert world.oc() is None
    world.hear(";oc=30;oc-validity=1000;oc-seq=49.1")
    assert 30 == world.oc()


def test_an_algorithm_that_was_not_offered_is_refused(server) -> None:
    """In words for the operator; nothing is in force."""
    world = World(server, (Algorithm.LOSS,))
    assert "rate" in world.hear(';oc=20;oc-algo="rate"')
    assert world.oc() is None


def test_only_the_first_via_counts(world) -> None:
    """The others are of servers further on."""
    assert "" == world.gate.on_reply(HOST, f"{VIA}, {VIA};oc=50")
    assert world.oc() is None


# --- what may be sent ---


def test_c8_loss_is_spread_evenly(world) -> None:
    """Every fourth, and not a lot of them by chance."""
    world.all_ordinary()
    world.hear(";oc=75;oc-validity=60000")
    passed = [place for place, passes in enumerate(world.passes(80)) if passes]
    assert {4} == {later - sooner for sooner, later in itertools.pairwise(passed)}
    assert 80 - len(passed) == world.throttles.shed(HOST)


def test_who_asks_for_nothing_gets_all_of_it(world) -> None:
    """And nothing is counted as shed."""
    assert [True] * 10 == world.passes(10)
    assert 0 == world.throttles.shed(HOST)


def test_c10_priority_and_ordinary_requests_take_turns_of_their_own(world) -> None:
    """With half of them ordinary and 75 percent to shed, all ordinary ones go and every second other one."""
    world.hear(";oc=75;oc-validity=60000")
    world.gate._mix.ordinary_percent = 50.0
    passed = {True: 0, False: 0}
    for _ in range(40):
        for priority in (True, False):
            passed[priority] += world.gate.lets_pass(HOST, priority=priority)
    assert {True: 20, False: 0} == passed


def test_a_rate_of_nothing_lets_nothing_pass(world) -> None:
    """RFC 7415: unlike a loss of 0, that is all of them; also what has priority."""
    world.hear(';oc=0;oc-algo="rate";oc-validity=60000')
    assert [False] * 4 == [*world.passes(2), *world.passes(2, priority=True)]


def test_a_rate_leaves_room_for_priority(world) -> None:
    """RFC 7415 section 3.5.2: where the bucket is full for ordinary requests, it is half full for others."""
    world.hear(';oc=10;oc-algo="rate";oc-validity=60000')
    ordinary = sum(world.passes(50))
    priority = sum(world.passes(50, priority=True))
    assert (True, True) == (4 <= ordinary <= 6, 4 <= priority <= 6)


def test_a_server_that_left_begins_anew(world) -> None:
    """How far it was from its next request is forgotten, that of others is not."""
    world.hear(";oc=50;oc-validity=60000")
    world.passes(1)
    world.gate.refresh([HOST])
    assert {(HOST, False)} == world.gate._credit.keys()
    world.gate.refresh(["127.0.0.1:5002"])
    assert {} == world.gate._credit


# --- who takes what others shed ---


def test_c9_who_was_full_rests_for_some_seconds(world) -> None:
    """From its last word on; whoever said nothing never did."""
    assert not world.gate.is_anybody_in_overload()
    world.hear(";oc=20;oc-validity=100;oc-seq=1.1")
    world.pass_time(REST_S - 0.5)
    assert (True, True) == (world.gate.is_anybody_in_overload(), world.gate.is_in_overload(HOST))
    assert ["d1"] == world.gate.in_overload([entry(1), entry(2)])
    world.pass_time(1.6)
    assert (False, False) == (world.gate.is_anybody_in_overload(), world.gate.is_in_overload(HOST))


def test_s3_who_says_that_there_is_no_overload_does_not_rest(world) -> None:
    """With loss a value of 0 asks for nothing."""
    world.hear(";oc=0;oc-validity=1000;oc-seq=1.1")
    world.hear(";oc=0;oc-validity=0;oc-seq=1.2")
    assert not world.gate.is_anybody_in_overload()


# --- what is offered ---


@pytest.mark.parametrize(
    ("version", "algorithms"),
    [
        ("5.6.3", (Algorithm.LOSS,)),
        ("5.7.99", (Algorithm.LOSS,)),
        ("5.8.0", (Algorithm.LOSS, Algorithm.RATE)),
        ("6.0.1", (Algorithm.LOSS, Algorithm.RATE)),
        ("10.0.0-dev1", (Algorithm.LOSS, Algorithm.RATE)),
        ("unknown", (Algorithm.LOSS,)),
    ],
)
def test_c1_what_is_offered_is_what_the_server_can_carry(server, version, algorithms) -> None:
    """Loss always; a comma between quotes from 5.8 on."""
    server.version = version
    assert algorithms == Kamailio(server.ksr).algorithms()


def test_what_is_asked_holds_in_all_workers(server, world) -> None:
    """One throttle for the machine: each worker sheds the same share of its own requests."""
    world.throttles.take(HOST, Feedback(100, 60_000, None, Algorithm.LOSS), world.now_us)
    other = World(server)
    other.all_ordinary()
    assert [False] * 5 == other.passes(5)
