"""
What is simulated: who is there, what is asked of them, and what breaks when.

A table of scenes. Does not know who balances.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from .downstream import Downstream, Kind, Shape

Change = Callable[[Downstream], object]

WARM_UP_S: Final = 20.0


@dataclass(frozen=True)
class Fault:
    """Something that happens to one destination; `mend` undoes it."""

    number: int
    at_s: float
    until_s: float
    fair_percent: float  # the share it ought to have meanwhile
    harm: Change
    mend: Change


@dataclass(frozen=True)
class Scenario:
    """One scene. Times count from its start, the first WARM_UP_S of which are not judged."""

    name: str
    kinds: Sequence[Kind]
    load: float  # calls offered over the capacity of all
    shape: Shape = Shape.EXPONENTIAL
    seconds: float = 60.0
    hold_s: float = 0.0
    workers: int = 4
    nodes: int = 1
    reports: bool = False  # the destinations tell their load to those who ask
    fault: Fault | None = None
    joins_s: float = 0.0  # when the last destination joins; 0: it is there from the start
    cold: float = 1.0  # service times of one that joins, over the usual ones, falling to 1 within COLD_S
    stale: bool = False  # reports repeat what they said at the end of the warm-up
    all_failing: float = 0.0  # part of all calls that is answered 500, by every destination

    @property
    def rate_cps(self) -> float:
        """Calls offered per second."""
        return self.load * sum(kind.capacity_cps for kind in self.kinds)

    @property
    def end_s(self) -> float:
        """When it is over."""
        return WARM_UP_S + self.seconds


THREE: Final = (Kind(4, 0.080), Kind(4, 0.040), Kind(4, 0.020))
FOUR: Final = (Kind(4, 0.040),) * 4
SIZES: Final = (Kind(2, 0.040), Kind(4, 0.040), Kind(8, 0.040))
TWENTY: Final = tuple(Kind(4, service_s) for service_s in (0.160, 0.080, 0.040, 0.020)) * 5


def _fault(harm: Change, mend: Change, fair_percent: float = 0.0) -> Fault:
    return Fault(0, WARM_UP_S + 10.0, WARM_UP_S + 25.0, fair_percent, harm, mend)


def _set(name: str, value: float, well: float) -> tuple[Change, Change]:
    return (lambda d: setattr(d, name, value)), (lambda d: setattr(d, name, well))


def _broken() -> list[Scenario]:
    """Four queues at half load, one of which breaks after ten seconds for fifteen."""
    four = Scenario("", FOUR, 0.5, seconds=65.0)
    faults = {
        "one silent": _fault(Downstream.stop, Downstream.go_on),
        "one killed": _fault(Downstream.kill, Downstream.restart),
        "one answers 503 at once": _fault(*_set("refusing", 1.0, 0.0)),
        "one five times slower": _fault(*_set("slower", 5.0, 1.0), fair_percent=100 / 16),
        "one fails half its calls": _fault(*_set("failing", 0.5, 0.0)),
    }
    return [replace(four, name=name, fault=fault) for name, fault in faults.items()]


def short() -> list[Scenario]:
    """Return the scenes of `make sim`: under two minutes on two cores."""
    three = Scenario("", THREE, 0.8)
    return [
        *(replace(three, name=f"50, 100 and 200 calls/s, load {load:g}", load=load) for load in (0.3, 0.5, 0.8, 0.95)),
        replace(three, name="constant service times, load 0.8", shape=Shape.CONSTANT),
        replace(three, name="heavy-tailed service times, load 0.8", shape=Shape.HEAVY),
        replace(three, name="calls that last 10 s, load 0.8", hold_s=10.0),
        replace(three, name="reports, load 0.8", reports=True),
        replace(three, name="reports gone stale, load 0.8", reports=True, stale=True),
        Scenario("2, 4 and 8 workers of one speed, load 0.8", SIZES, 0.8),
        Scenario("twenty of four speeds, load 0.8", TWENTY, 0.8, seconds=20.0),
        *_broken(),
        Scenario("all fail a third of their calls, load 0.5", FOUR, 0.5, seconds=40.0, all_failing=1 / 3),
        Scenario("the fourth joins cold, load 0.65", FOUR, 0.65, joins_s=WARM_UP_S, cold=6.0),
        replace(three, name="eight control nodes, load 0.8", nodes=8),
    ]


def full() -> list[Scenario]:
    """Return those and the long ones."""
    twenty = Scenario("", TWENTY, 0.8, seconds=60.0)
    three = Scenario("", THREE, 0.8, seconds=120.0)
    return [
        *short(),
        *(
            replace(twenty, name=f"twenty of four speeds, load {load:g}, {workers} workers", load=load, workers=workers)
            for load in (0.5, 0.8, 0.95)
            for workers in (1, 4, 16)
        ),
        *(replace(three, name=f"{nodes} control nodes, load 0.8", nodes=nodes) for nodes in (1, 2, 8, 50)),
        *(
            Scenario(f"{count} of four speeds, load 0.8", (TWENTY * (count // 20 + 1))[:count], 0.8, seconds=20.0)
            for count in (100, 1000)
        ),
    ]
