"""The simulator itself, against closed forms: what is said of a rule is worth as much as the queues it is played on."""

import random

import pytest

from sim.calls import ONE_WAY_S, Callers
from sim.clock import Clock
from sim.contenders import CONTENDERS
from sim.downstream import Downstream, Kind, Shape
from sim.run import play
from sim.scenario import WARM_UP_S, Scenario, full, short

STEELYARD = next(contender for contender in CONTENDERS if contender.name == "Steelyard")


def contender(name, told="nothing"):
    """Return one way to balance."""
    return next(each for each in CONTENDERS if (each.name, each.told) == (name, told))


def waiting_mean_s(workers, service_s, load):
    """Return the mean response time of M/M/c by Erlang's formula C."""
    offered, blocking = workers * load, 1.0
    for number in range(1, workers + 1):
        blocking = offered * blocking / (number + offered * blocking)
    wait = blocking / (1.0 - load * (1.0 - blocking))
    return service_s + wait * service_s / workers / (1.0 - load)


def test_what_is_due_happens_in_its_order():
    """Of two at one time the first that was asked for; nothing after the end."""
    clock, seen = Clock(), []
    for delay_s, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (3.0, "d")):
        clock.after(delay_s, seen.append, name)
    clock.run(2.5)
    assert (["a", "b", "c"], 2.5) == (seen, clock.now_s)


@pytest.mark.parametrize(("workers", "load"), [(1, 0.5), (4, 0.8), (8, 0.9)])
def test_one_queue_is_erlangs(workers, load):
    """Mean response time within 6 % of M/M/c, whoever balances over the one."""
    scene = Scenario(f"one queue {workers}", (Kind(workers, 0.02),), load, seconds=400.0)
    outcome = play(scene, STEELYARD, seed=1)
    assert pytest.approx(waiting_mean_s(workers, 0.02, load) + 2 * ONE_WAY_S, rel=0.06) == outcome.mean_s


def test_a_random_split_is_as_bad_as_the_formula_says():
    """Single workers of 50, 100 and 200 calls/s, split by capacity at load 0.5: three times 1 / 175 s."""
    scene = Scenario("random", tuple(Kind(1, t) for t in (0.02, 0.01, 0.005)), 0.5, seconds=400.0)
    outcome = play(scene, contender("weighted random", "capacities"), seed=1)
    assert pytest.approx(3 / 175 + 2 * ONE_WAY_S, rel=0.04) == outcome.mean_s


@pytest.mark.parametrize("shape", list(Shape))
def test_service_times_have_their_mean(shape):
    """Whatever their shape: ten thousand calls, one at a time, take as long as ten thousand means."""
    clock = Clock()
    downstream = Downstream(clock, random.Random(1), Kind(1, 0.01), shape)  # noqa: S311
    for _ in range(10_000):
        downstream.receive(lambda _: None)
    done = []
    downstream.receive(done.append)
    clock.run(1e6)
    assert [200] == done
    assert 10_001 == downstream.received


def test_a_stopped_one_keeps_what_it_has_and_a_killed_one_loses_it():
    """SIGSTOP and SIGKILL."""
    for stop, go_on, answers in (
        (Downstream.stop, Downstream.go_on, [200, 200]),
        (Downstream.kill, Downstream.restart, []),
    ):
        clock, seen = Clock(), []
        downstream = Downstream(clock, random.Random(1), Kind(1, 0.01), Shape.CONSTANT)  # noqa: S311
        downstream.receive(seen.append)
        downstream.receive(seen.append)
        clock.after(0.005, stop, downstream)
        clock.run(1.0)
        assert [] == seen
        go_on(downstream)
        clock.run(2.0)
        assert answers == seen


def test_reports_tell_what_the_workers_did():
    """Two workers, one busy for half of the second, and three calls."""
    clock = Clock()
    downstream = Downstream(clock, random.Random(1), Kind(2, 0.5), Shape.CONSTANT)  # noqa: S311
    downstream.receive(lambda _: None)
    clock.run(1.0)
    assert "TEXT application_utilization=0.2500,rps_fractional=1.000" == downstream.report()
    downstream.reporting = False
    clock.run(2.0)
    assert "TEXT application_utilization=0.2500,rps_fractional=1.000" == downstream.report()


def test_a_call_is_tried_at_three_destinations_and_then_lost():
    """Each once; a refusal moves on, silence after two seconds."""

    class First:
        def __init__(self):
            self.statuses = []

        def pick(self, tried):
            return next((number for number in range(4) if number not in tried), None)

        def on_sent(self, number):
            return number

        def on_reply(self, sent, status):
            self.statuses.append((sent, status))

        def on_hang_up(self, number):
            raise AssertionError(number)

    clock, node = Clock(), First()
    downstreams = [Downstream(clock, random.Random(1), Kind(1, 0.01), Shape.CONSTANT) for _ in range(4)]  # noqa: S311
    downstreams[0].refusing = 1.0
    downstreams[1].kill()
    downstreams[2].refusing = 1.0
    callers = Callers(clock, random.Random(5), [node], downstreams, rate_cps=0.05, hold_s=0.0)  # noqa: S311
    callers.start()
    clock.run(1000.0)
    assert [(0, 503), (1, 0), (2, 503)] == node.statuses[:3]
    assert [] == callers.tally.delays_s
    assert 30 < len(callers.tally.lost_s) < 70


def test_the_same_seed_plays_the_same_scene():
    """And another one another."""
    scene = Scenario("again", (Kind(4, 0.04),) * 2, 0.7, seconds=10.0)
    assert play(scene, STEELYARD, seed=3) == play(scene, STEELYARD, seed=3)
    assert play(scene, STEELYARD, seed=3).mean_s != play(scene, STEELYARD, seed=4).mean_s


def test_scenes_are_told_apart_by_their_names():
    """They travel between processes by name, and the short ones are a part of all."""
    names = [scene.name for scene in full()]
    assert len(names) == len(set(names))
    assert {scene.name for scene in short()} <= set(names)
    assert all(scene.fault is None or WARM_UP_S < scene.fault.until_s < scene.end_s for scene in full())


@pytest.mark.parametrize("each", CONTENDERS, ids=lambda each: f"{each.name} told {each.told}")
def test_every_rule_serves_an_easy_scene(each):
    """Equal queues, a third of the load: no call fails under any of them, and nobody is left out."""
    scene = Scenario("easy", (Kind(4, 0.04),) * 3, 0.3, seconds=20.0)
    outcome = play(scene, each, seed=1)
    assert 0 == outcome.failed
    assert all(share > 5 for share in outcome.shares)
    assert outcome.mean_s < 0.05
