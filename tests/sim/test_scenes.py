"""
What Steelyard claims, played by its own core in virtual time.

Each scene is seeded, so that figures change with the rules alone; bounds leave room for chance, for scenes are short.
"""

from dataclasses import replace
from functools import cache

import pytest

from bench.reference import central_queue
from lab.figures import percentile
from sim.contenders import CONTENDERS, NOTHING
from sim.run import play
from sim.scenario import THREE, TWENTY, Scenario, short

STEELYARD = CONTENDERS[0]
SEEDS = (1, 2, 3)
BROKEN = [scene for scene in short() if scene.fault is not None]


@cache
def central(load):
    """Return mean and 99th percentile of the central queue of three."""
    scene = Scenario("", THREE, load)
    times = central_queue(scene.rate_cps, [(kind.workers, kind.service_s) for kind in THREE])
    return sum(times) / len(times), percentile(times, 0.99)


def mean_of(scene, rule=STEELYARD, seeds=SEEDS):
    """Return the mean and the 99th percentile over some seeds, and the calls that failed."""
    outcomes = [play(scene, rule, seed) for seed in seeds]
    mean_s, p99_s = (sum(getattr(o, name) for o in outcomes) / len(outcomes) for name in ("mean_s", "p99_s"))
    return mean_s, p99_s, sum(o.failed for o in outcomes)


@pytest.mark.parametrize("hold_s", [0.0, 10.0])
def test_nobody_waits_long_at_unequal_queues_of_which_nothing_is_told(hold_s):
    """Load 0.8: mean below 1.12 and 99th percentile below 0.88 central queues, also when calls last ten seconds."""
    mean_s, p99_s, failed = mean_of(Scenario("three", THREE, 0.8, hold_s=hold_s))
    assert 0 == failed
    assert mean_s / central(0.8)[0] < 1.12
    assert p99_s / central(0.8)[1] < 0.88


@pytest.mark.parametrize(
    ("load", "mean", "p99"), [(0.3, 0.8, 0.6), (0.5, 0.9, 0.8), (0.8, 1.0, 0.98), (0.95, 1.02, 1.06)]
)
def test_callers_wait_less_than_by_least_in_flight_over_the_true_weights(load, mean, p99):
    """Which the others have to be told."""
    told = next(each for each in CONTENDERS if each.name == "least in flight over weight")
    scene = Scenario("three", THREE, load)
    ours, theirs = mean_of(scene), mean_of(scene, told)
    assert ours[0] < mean * theirs[0]
    assert ours[1] < p99 * theirs[1]


@pytest.mark.parametrize(("load", "mean", "p99"), [(0.5, 0.7, 0.6), (0.8, 0.85, 0.8), (0.95, 1.1, 0.9)])
def test_of_twenty_queues_more_is_made_than_by_any_rule_that_is_told_nothing(load, mean, p99):
    """Than by the fewest in flight, that is: the others are far behind."""
    best = next(each for each in CONTENDERS if each.name == "least in flight")
    assert NOTHING == best.told
    scene = Scenario("twenty", TWENTY, load, seconds=15.0)
    ours, theirs = mean_of(scene, seeds=(1, 2)), mean_of(scene, best, seeds=(1, 2))
    assert ours[0] < mean * theirs[0]
    assert ours[1] < p99 * theirs[1]


@pytest.mark.parametrize("nodes", [2, 8])
def test_several_control_nodes_are_not_much_worse_than_one(nodes):
    """Each knows only its own requests: 99th percentile at most 1.25 times that of one."""
    scene = Scenario("three", THREE, 0.8)
    assert mean_of(replace(scene, nodes=nodes))[1] < 1.25 * mean_of(scene)[1]


@pytest.mark.parametrize("scene", BROKEN, ids=lambda scene: scene.name)
def test_callers_hardly_notice_that_one_of_four_breaks(scene):
    """One in 200 later callers at most, the right share within three seconds, 80 % of it within 40 s of healing."""
    outcome = play(scene, STEELYARD, seed=1)
    if scene.name != "one fails half its calls":
        assert 0 == outcome.failed
        assert outcome.right_s <= 3
    assert outcome.failed < 0.002 * outcome.calls
    assert outcome.late < outcome.calls / 200
    assert outcome.back_s <= 40


def test_where_all_fail_a_third_of_their_calls_nothing_gets_worse():
    """As many fail as must, and nobody is driven from one to the other."""
    scene = next(scene for scene in short() if scene.all_failing)
    outcome = play(scene, STEELYARD, seed=1)
    assert 0.31 < outcome.failed / outcome.calls < 0.35
    assert outcome.p99_s < 0.22
    assert outcome.spread < 12


def test_where_queues_report_their_load_all_are_equally_busy():
    """Shares within three points of 14.3, 28.6 and 57.1 %."""
    outcome = play(Scenario("three", THREE, 0.8, reports=True), STEELYARD, seed=1)
    assert pytest.approx([14.3, 28.6, 57.1], abs=3) == list(outcome.shares)
    assert outcome.spread < 4


def test_one_that_joins_cold_is_warmed_up():
    """Six times slower at first: hardly a caller notices."""
    scene = next(scene for scene in short() if scene.joins_s)
    outcome = play(scene, STEELYARD, seed=1)
    assert outcome.late < outcome.calls / 200
    assert outcome.shares[3] > 10
