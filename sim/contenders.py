"""
Who is compared: a name, what it is told, and how its control nodes are made.

`told` says what it knows of the destinations: nothing, or what each can take.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from . import peers
from .clock import Clock
from .downstream import Downstream
from .scenario import Scenario
from .steelyard import SteelyardNode

NOTHING: Final = "nothing"
CAPACITIES: Final = "capacities"
UNTOLD: Final = 100.0  # the weight of each that is told nothing

Build = Callable[[Clock, random.Random, Sequence[Downstream], Scenario], list[Any]]


@dataclass(frozen=True)
class Contender:
    """One way to balance."""

    name: str
    told: str
    build: Build
    join: Callable[[Sequence[Any], int, Scenario], None]


def _weights(scenario: Scenario, told: str) -> list[float]:
    return [kind.capacity_cps if told == CAPACITIES else UNTOLD for kind in scenario.kinds]


def _first(scenario: Scenario) -> range:
    """Return who is there from the start."""
    return range(len(scenario.kinds) - bool(scenario.joins_s))


def _steelyard() -> Contender:
    def build(
        clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], scenario: Scenario
    ) -> list[SteelyardNode]:
        nodes = [
            SteelyardNode(clock, rng, downstreams, workers=scenario.workers, asks_load=scenario.reports, settings={})
            for _ in range(scenario.nodes)
        ]
        for node in nodes:
            node.declare(dict.fromkeys(_first(scenario), 1.0))
        return nodes

    def join(nodes: Sequence[SteelyardNode], number: int, scenario: Scenario) -> None:
        for node in nodes:
            node.declare(dict.fromkeys((*_first(scenario), number), 1.0))

    return Contender("Steelyard", NOTHING, build, join)


def _peer(name: str, told: str, make: peers.Make) -> Contender:
    def build(
        clock: Clock, rng: random.Random, downstreams: Sequence[Downstream], scenario: Scenario
    ) -> list[peers.Peer]:
        nodes = [make(clock, rng, downstreams, _weights(scenario, told)) for _ in range(scenario.nodes)]
        for node in nodes:
            for number in _first(scenario):
                node.join(number)
        return nodes

    def join(nodes: Sequence[peers.Peer], number: int, _scenario: Scenario) -> None:
        for node in nodes:
            node.join(number)

    return Contender(name, told, build, join)


CONTENDERS: Final = (
    _steelyard(),
    _peer("least in flight", NOTHING, peers.LeastInFlight),
    _peer("two choices", NOTHING, peers.TwoChoices),
    _peer("peak EWMA", NOTHING, peers.PeakEwma),
    _peer("dispatcher 4, round robin", NOTHING, peers.SmoothRoundRobin),
    _peer("dispatcher 10, calls in progress", NOTHING, peers.DispatcherCallLoad),
    _peer("dispatcher 13, latency", NOTHING, peers.DispatcherLatency),
    _peer("OpenSIPS load_balancer", NOTHING, peers.OpensipsLoadBalancer),
    _peer("weighted random", CAPACITIES, peers.WeightedRandom),
    _peer("smooth weighted round robin", CAPACITIES, peers.SmoothRoundRobin),
    _peer("dispatcher 9 and 11, weights", CAPACITIES, peers.DispatcherSlots),
    _peer("two choices by weight", CAPACITIES, peers.TwoChoices),
    _peer("least in flight over weight", CAPACITIES, peers.LeastInFlight),
    _peer("shortest expected delay", CAPACITIES, peers.ShortestExpectedDelay),
    _peer("OpenSIPS load_balancer", CAPACITIES, peers.OpensipsLoadBalancer),
)
