"""A server's own overload; s3 and the like are RFC 7339's rules for servers."""

import random
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.feedback import Algorithm, Feedback, offers_loss, read_feedback, write_feedback
from steelyard.core.overload import (
    CHANCE,
    MOST_CLIENTS,
    MOST_COUNT,
    PENALTY_S,
    RENEW_S,
    VALIDITY_MS,
    WINDOWS,
    Announcer,
    Compliance,
    LossControl,
    rejects_stranger,
)
from steelyard.core.throttle import renewed

PERIOD_S = 0.25
TARGET = 0.95
WORKERS = 4


class Plant:
    """
    A server of four workers with exponential service, and clients that shed what they were told a moment ago.

    Time runs in steps of 1 ms; the queue is what its socket would hold.
    """

    STEP_S = 0.001
    DELAY_S = 0.15

    def __init__(self, seed, capacity, *, seen=True):
        self.control = LossControl(TARGET)
        self.percents = []
        self.waits_s = []
        self._rng = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._capacity = capacity
        self._seen = seen
        self._now_s = 0.0
        self._next_s = PERIOD_S
        self._queue = []
        self._until_s = [0.0] * WORKERS
        self._told = [(0.0, 0)]

    def run(self, load, seconds):
        """Offer so many times the capacity; return the part of the capacity that was served."""
        served, end_s, busy_s = 0, self._now_s + seconds, 0.0
        while self._now_s < end_s:
            self._now_s += self.STEP_S
            percent = next(p for at_s, p in reversed(self._told) if at_s <= max(self._now_s - self.DELAY_S, 0))
            if self._rng.random() < load * self._capacity * self.STEP_S * (1 - percent / 100):
                self._queue.append(self._now_s)
            for worker, until_s in enumerate(self._until_s):
                if self._queue and until_s <= self._now_s:
                    came_s = self._queue.pop(0)
                    self.waits_s.append(self._now_s - came_s)
                    self._until_s[worker] = self._now_s + self._rng.expovariate(self._capacity / WORKERS)
                    served += 1
            busy_s += self.STEP_S * sum(until_s > self._now_s for until_s in self._until_s) / WORKERS
            if self._now_s >= self._next_s:
                self._next_s += PERIOD_S
                wait_s = len(self._queue) / self._capacity if self._seen else None
                self.control.update(min(busy_s / PERIOD_S, 1.0), wait_s, now_s=self._now_s)
                busy_s = 0.0
                self._told.append((self._now_s, self.control.percent))
                self.percents.append(self.control.percent)
        return served / seconds / self._capacity


def updated(*updates):
    """Return a control after these utilizations, or utilizations and waits, one a period."""
    control = LossControl(TARGET)
    for n, update in enumerate(updates):
        control.update(*(update if isinstance(update, tuple) else (update,)), now_s=n * PERIOD_S)
    return control


# --- the control function ---


def test_without_utilization_there_is_no_overload():
    """Nothing is shed at the start, nor at the target itself."""
    assert 0 == LossControl().percent
    assert 0 == updated(*[0.0] * 4, *[TARGET] * 20).percent


def test_a_burst_of_less_than_a_second_is_no_overload():
    """Four updates above the target in a row make one."""
    assert 0 == updated(*[0.5] * 8, *[1.0] * 3, 0.5, *[1.0] * 3).percent
    assert 0 < updated(*[0.5] * 8, *[1.0] * 8).percent


def test_a_queue_that_no_burst_makes_is_overload_at_once():
    """What waits for longer than a quarter of a second has come too much."""
    assert 0 == updated((1.0, 0.0), (1.0, 0.0), (1.0, 0.2)).percent
    assert 0 < updated((1.0, 0.0), (1.0, 0.0), (1.0, 0.6)).percent


def test_something_always_gets_through():
    """Without it nothing would tell that the overload is over."""
    assert 99 == updated(*[(1.0, 10.0 * n) for n in range(50)]).percent


def test_the_loss_shrinks_by_no_more_than_a_quarter_of_what_passes():
    """A moment of silence is not the end of an overload."""
    control = updated(*[(1.0, 0.5 * n) for n in range(20)])
    passed = 100 - control.percent
    control.update(0.0, 0.0, now_s=20 * PERIOD_S)
    assert 100 - control.percent <= passed * 1.25 + 1


def test_overload_ends_when_all_is_let_through_again():
    """From then on it takes a row of updates again."""
    control = updated(*[1.0] * 8, *[0.3] * 60)
    assert 0 == control.percent
    for n in range(3):
        control.update(1.0, now_s=100.0 + n * PERIOD_S)
    assert 0 == control.percent


def test_a_clock_that_does_not_advance_changes_nothing():
    """Neither does one that runs backwards, beyond where it goes on from."""
    control = updated(*[1.0] * 8)
    before = control.percent
    control.update(0.1, now_s=7 * PERIOD_S)
    assert before == control.percent
    control.update(0.1, now_s=-5.0)
    assert before == control.percent


@pytest.mark.parametrize("load", [1.5, 2.0, 4.0])
@pytest.mark.parametrize("capacity", [50, 200])
@pytest.mark.parametrize("seed", range(3))
def test_s7_goodput_stays_near_the_capacity_under_overload(load, capacity, seed):
    """Nine tenths of the capacity are served, from the first moment, and nobody waits for long once it has settled."""
    plant = Plant(seed, capacity)
    plant.run(0.5, 3)
    assert plant.run(load, 30) >= 0.88
    plant.waits_s.clear()
    assert plant.run(load, 20) >= 0.85
    assert sorted(plant.waits_s)[int(0.99 * len(plant.waits_s))] < 1.0
    assert all(0 <= percent <= 99 for percent in plant.percents)


@pytest.mark.parametrize("seed", range(5))
def test_s7_the_loss_settles_around_what_demand_asks_for(seed):
    """At twice the capacity a little more than half is shed, in the mean of any ten seconds."""
    plant = Plant(seed, 200)
    plant.run(2.0, 3)
    for _ in range(4):
        plant.percents.clear()
        plant.run(2.0, 10)
        assert 45 <= mean(plant.percents) <= 65


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_gone_within_five_seconds_of_the_overload(seed):
    """Once demand has fallen to half of the capacity."""
    plant = Plant(seed, 100)
    plant.run(2.0, 10)
    plant.run(0.5, 5)
    assert 0 == plant.percents[-1]


@pytest.mark.parametrize("seed", range(5))
def test_a_busy_server_sheds_next_to_nothing(seed):
    """At seven tenths of the capacity, which is no overload."""
    plant = Plant(seed, 200)
    plant.run(0.7, 60)
    assert mean(plant.percents) < 1


def test_a_full_server_whose_queue_is_not_seen_sheds_more_until_it_is_not_full():
    """As where its workers read from TCP."""
    plant = Plant(1, 50, seen=False)
    plant.run(2.0, 10)
    assert plant.run(2.0, 30) >= 0.75
    assert 30 <= mean(plant.percents[-80:]) <= 70


# --- what responses say ---


def test_s3_without_overload_oc_is_0_and_so_is_its_validity():
    """With rate, an oc of 0 that is valid would mean to send nothing."""
    assert Feedback(0, 0, (1000, 0), Algorithm.LOSS) == Announcer().announce(0, unix_s=1000.7)


def test_s4_the_sequence_is_kept_while_nothing_changes():
    """All responses say the same, retransmitted ones too."""
    announcer = Announcer()
    said = announcer.announce(0, unix_s=1000.0)
    assert said is announcer.announce(0, unix_s=5000.0)


def test_s4_the_sequence_increases_when_the_value_changes():
    """Within a second by its second field."""
    announcer = Announcer()
    said = [announcer.announce(percent, unix_s=1000.0 + n / 10).seq for n, percent in enumerate([0, 20, 20, 30, 0])]
    assert [(1000, 0), (1000, 1), (1000, 1), (1000, 2), (1000, 3)] == said
    assert (1001, 0) == announcer.announce(5, unix_s=1001.0).seq


def test_s5_under_overload_there_is_a_validity():
    """Long enough for the renewal to arrive in time."""
    assert Feedback(20, VALIDITY_MS, (1000, 0), Algorithm.LOSS) == Announcer().announce(20, unix_s=1000.0)
    assert 2 * RENEW_S * 1000 <= VALIDITY_MS


def test_s4_s5_under_overload_the_sequence_is_renewed():
    """A client lets feedback expire whose number it knows."""
    announcer = Announcer()
    said = announcer.announce(20, unix_s=1000.0)
    assert said is announcer.announce(20, unix_s=1000.0 + RENEW_S - 0.01)
    assert (1000, 1) == announcer.announce(20, unix_s=1000.0 + RENEW_S).seq


def test_s5_a_client_that_gets_responses_stays_throttled():
    """From the first announcement to the stop, and not a moment longer."""
    announcer, throttle = Announcer(), None
    for n in range(100):
        now_s = n / 10
        header = "SIP/2.0/UDP a" + write_feedback(announcer.announce(20, unix_s=1000 + now_s))
        throttle = renewed(throttle, read_feedback(header, [Algorithm.LOSS]), round(now_s * 1e6))
        assert throttle.in_force(round((now_s + 0.4) * 1e6))
    assert None is renewed(throttle, announcer.announce(0, unix_s=1009.9), 9_900_000)


def test_s6_stop_has_a_validity_of_0_and_a_larger_sequence():
    """It is news like any other."""
    announcer = Announcer()
    before = announcer.announce(20, unix_s=1000.0)
    assert Feedback(0, 0, (1000, 1), Algorithm.LOSS) == announcer.announce(0, unix_s=1000.0)
    assert (1000, 1) > before.seq


@pytest.mark.parametrize(("percent", "oc"), [(-1, 0), (0, 0), (100, 100), (101, 100)])
def test_s7_a_loss_is_0_to_100(percent, oc):
    """It is a percentage."""
    assert oc == Announcer().announce(percent, unix_s=1000.0).oc


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0, 2e9)), min_size=2))
def test_s4_no_clock_takes_the_sequence_back(steps):
    """Whatever changed has a larger number than all before, and what did not change has the same."""
    announcer = Announcer()
    said = [announcer.announce(percent, unix_s=unix_s) for percent, unix_s in steps]
    for before, after in pairwise(said):
        assert after is before or after.seq > before.seq
        assert after.oc == before.oc or after is not before


def test_s4_a_counter_that_is_full_carries_over():
    """The second field has five digits; this takes a clock that was set back for half a day."""
    announcer = Announcer()
    announcer.announce(1, unix_s=1000.0)
    for n in range(MOST_COUNT):
        announcer.announce(2 + n % 2, unix_s=0.0)
    assert (1000, MOST_COUNT) == announcer.announce(2, unix_s=0.0).seq
    assert (1001, 0) == announcer.announce(9, unix_s=0.0).seq


@pytest.mark.parametrize(
    ("offered", "expected"),
    [("loss", True), ("loss,rate", True), ("rate,loss", True), ("rate", False), ("A", False)],
)
def test_s2_loss_is_used_wherever_it_is_offered(offered, expected):
    """One algorithm, always the same; a list without it is of no client that takes part."""
    assert expected is offers_loss(f'SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;oc;oc-algo="{offered}"')


def test_s2_what_is_announced_is_what_was_offered():
    """The algorithm of a client never changes."""
    assert Algorithm.LOSS is Announcer().announce(20, unix_s=1000.0).algorithm


# --- who does not take part ---


def test_s9_a_stranger_is_rejected_as_often_as_a_client_sheds():
    """Who does not take part has no advantage by it, and priority is honoured alike."""
    rng = random.Random(1)  # noqa: S311 - repeatable on purpose
    rejected = [rejects_stranger(10, 40.0, rng.random(), priority=False) for _ in range(4000)]
    assert abs(sum(rejected) - 1000) <= 82
    assert not rejects_stranger(10, 40.0, 0.0, priority=True)


def test_s9_without_overload_nobody_is_rejected():
    """And at 100 percent everybody is."""
    assert not rejects_stranger(0, 80.0, 0.0, priority=False)
    assert rejects_stranger(100, 80.0, 0.999, priority=True)


# --- who does not listen ---


class Clients:
    """Clients that send at given rates while a loss is in force, one second after the other."""

    def __init__(self):
        self.compliance = Compliance()
        self.now_s = 100.0

    def second(self, percent, **rates):
        """Let a second go by."""
        for client, rate in rates.items():
            for n in range(rate):
                self.compliance.on_request(client, now_s=self.now_s + n / rate)
        self.now_s += 1.0
        self.compliance.check(percent, now_s=self.now_s)

    def seconds(self, count, percent, **rates):
        """Let several go by."""
        for _ in range(count):
            self.second(percent, **rates)


def overloaded(percent=50, **rates):
    """Return clients at the beginning of the first whole second of overload; the rates are those before it."""
    clients = Clients()
    clients.seconds(2, 0, **rates)
    clients.second(percent, **rates)
    return clients


def test_s10_who_sends_on_as_before_does_not_conform():
    """Five seconds of it in a row; who sheds is not blamed."""
    clients = overloaded(a=400, b=400)
    clients.seconds(WINDOWS - 1, 50, a=400, b=200)
    assert clients.compliance.conforms("a")
    clients.second(50, a=400, b=200)
    assert not clients.compliance.conforms("a")
    assert clients.compliance.conforms("b")


def test_s10_a_client_that_does_not_conform_is_judged_anew_after_a_minute():
    """It may have been set right, and a client whose demand had grown must not pay for ever."""
    clients = overloaded(a=400)
    clients.seconds(WINDOWS, 50, a=400)
    clients.seconds(round(PENALTY_S) - 1, 50, a=200)
    assert not clients.compliance.conforms("a")
    clients.second(50, a=200)
    assert clients.compliance.conforms("a")


def test_s10_a_single_second_below_begins_the_count_again():
    """Five in a row, not five in all."""
    clients = overloaded(a=400)
    clients.seconds(WINDOWS - 1, 50, a=400)
    clients.second(50, a=200)
    clients.seconds(WINDOWS - 1, 50, a=400)
    assert clients.compliance.conforms("a")
    clients.second(50, a=400)
    assert not clients.compliance.conforms("a")


@pytest.mark.parametrize(("rate", "conforms"), [(300 + 40, True), (300 + 41, False)])
def test_s10_half_of_the_cut_and_chance_are_forgiven(rate, conforms):
    """Of 400, 50 percent leave 200: up to 300, and twice the square root of 400 that a count is uncertain by."""
    assert 40 == CHANCE * 400**0.5
    clients = overloaded(a=400)
    clients.seconds(WINDOWS, 50, a=rate)
    assert conforms is clients.compliance.conforms("a")


def test_s10_without_overload_nobody_is_blamed():
    """A rate may rise as it likes, and an overload that ends clears the count."""
    clients = overloaded(a=400)
    clients.seconds(WINDOWS - 1, 50, a=400)
    clients.second(0, a=400)
    clients.seconds(9, 0, a=1000)
    clients.second(50, a=1000)
    clients.seconds(WINDOWS - 1, 50, a=1000)
    assert clients.compliance.conforms("a")


def test_s10_a_window_in_which_the_overload_began_is_no_baseline():
    """Else a client that sheds at once would be measured by what it had left."""
    clients = Clients()
    clients.seconds(2, 0, a=400)
    clients.compliance.check(50, now_s=clients.now_s)
    clients.second(50, a=200)
    clients.seconds(WINDOWS, 50, a=250)
    assert clients.compliance.conforms("a")


def test_s10_who_came_with_the_overload_is_not_judged():
    """Nothing is known of what it sent before; part of a second is no measure either."""
    clients = Clients()
    clients.second(0, a=400)
    clients.compliance.on_request("b", now_s=clients.now_s + 0.9)
    clients.second(0, a=400)
    clients.second(50, a=400)
    clients.seconds(WINDOWS, 50, a=400, b=400, c=400)
    assert [False, True, True] == [clients.compliance.conforms(client) for client in "abc"]


def test_s10_checks_within_a_window_only_note_the_loss():
    """The least of a window's losses is what counts."""
    clients = overloaded(a=400)
    for _ in range(WINDOWS):
        clients.compliance.check(10, now_s=clients.now_s + 0.5)
        clients.second(50, a=400)
    assert clients.compliance.conforms("a")


@pytest.mark.parametrize("rate", [10, 100])
@pytest.mark.parametrize("percent", [10, 20, 50])
def test_s10_a_client_that_sheds_is_hardly_ever_blamed_by_chance(rate, percent):
    """Its requests come at random; of 100 overloads of 20 seconds at most three end with a wrong word."""
    rng = random.Random(rate + percent)  # noqa: S311 - repeatable on purpose
    blamed = 0
    for _ in range(100):
        compliance = Compliance()
        for second in range(23):
            shed = percent if second > 2 else 0
            wanted = rate * (1 - shed / 100)
            for _ in range(max(round(rng.gauss(wanted, wanted**0.5)), 0)):
                compliance.on_request("a", now_s=float(second))
            compliance.check(percent if second >= 2 else 0, now_s=second + 1.0)
        blamed += not compliance.conforms("a")
    assert blamed <= 3


def test_s10_no_more_than_a_thousand_clients_are_remembered():
    """The one not seen for longest goes."""
    compliance = Compliance()
    for n in range(MOST_CLIENTS):
        compliance.on_request(f"c{n}", now_s=0.0)
    compliance.on_request("c0", now_s=0.1)
    compliance.on_request("new", now_s=0.2)
    assert MOST_CLIENTS == len(compliance._clients)
    assert "c1" not in compliance._clients
    assert {"c0", "new"} <= compliance._clients.keys()
    assert compliance.conforms("c1")


def test_s10_a_check_before_the_first_request_begins_the_first_window():
    """Nobody has sent anything then."""
    compliance = Compliance()
    compliance.check(0, now_s=5.0)
    compliance.check(0, now_s=6.0)
    assert compliance.conforms("a")


def test_s10_those_who_do_not_conform_are_named():
    """As of the last check."""
    clients = overloaded(a=400, b=400)
    clients.seconds(WINDOWS, 50, a=400, b=200)
    assert ["a"] == clients.compliance.offenders()
