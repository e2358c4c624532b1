"""
The ways to balance that are compared, each with what it is told about the destinations.

Steelyard is told nothing: equal declared weights, no load reports. The others follow their documentation; those that
are told the truth know each destination's capacity, which an operator rarely does.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from lab.parts import HOME, ControlNode, Kamailio, RedisServer, await_shares, put_list
from lab.process import free_port

from . import opensips

WORKERS: Final = 4  # SIP workers of every balancer


class Balancer(Protocol):
    """A running balancer."""

    port: int

    def cpu_s(self) -> float:
        """Return the CPU seconds that all its processes have used."""


@dataclass(frozen=True)
class Destination:
    """A destination, and the truth about it."""

    uri: str
    capacity_cps: float


@dataclass(frozen=True)
class Scene:
    """Where a balancer is to run, in front of what, and how long calls last on average."""

    folder: Path
    destinations: Sequence[Destination]
    hold_s: float = 0.0

    def percents(self, *, truth: bool) -> list[int]:
        """Return each destination's part of the capacity, or an equal part, in whole percent that sum to 100."""
        parts = [one.capacity_cps if truth else 1.0 for one in self.destinations]
        ends = [round(100 * sum(parts[: n + 1]) / sum(parts)) for n in range(len(parts))]
        return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


Start = Callable[[Scene, contextlib.ExitStack], Balancer]


@dataclass(frozen=True)
class Contender:
    """A way to balance, and how to start it."""

    name: str
    start: Start


def steelyard(**settings: str) -> Start:
    """Return how to start Steelyard with equal declared weights and these settings."""

    def start(scene: Scene, stack: contextlib.ExitStack) -> ControlNode:
        redis = stack.enter_context(RedisServer(scene.folder)).run()
        uris = [one.uri for one in scene.destinations]
        put_list(redis.client(), dict.fromkeys(uris, 1))
        if settings:
            redis.client().hset("steelyard:{1}:settings", mapping=settings)
        node = stack.enter_context(ControlNode(scene.folder / "run", redis.url, workers=WORKERS)).run()
        await_shares(redis.client(), set(uris))
        return node

    return start


def dispatcher(algorithm: int, attributes: str = "", *, truth: bool = False, priority: int = 0) -> Start:
    """
    Return how to start Kamailio's dispatcher.

    Args:
        algorithm: its number.
        attributes: of each destination; {percent} is its part of the capacity, {number} its place in the list.
        truth: whether {percent} is the true part, or an equal one.
        priority: of each destination.
    """

    def start(scene: Scene, stack: contextlib.ExitStack) -> Kamailio:
        listing = scene.folder / "dispatcher.list"
        lines = []
        for number, (one, percent) in enumerate(zip(scene.destinations, scene.percents(truth=truth), strict=True)):
            told = attributes.format(percent=percent, number=number)
            lines.append(f"1 {one.uri} 0 {priority} {told}\n")
        listing.write_text("".join(lines))
        return stack.enter_context(native_dispatcher(scene.folder, listing, algorithm)).run()

    return start


def native_dispatcher(folder: Path, listing: Path, algorithm: int, workers: int = WORKERS) -> Kamailio:
    """Return Kamailio's own dispatcher over a list file, not yet started."""
    port = free_port()
    ctl = folder / "native.ctl"
    env = {
        "NATIVE_LISTEN": f"udp:127.0.0.1:{port}",
        "NATIVE_WORKERS": str(workers),
        "NATIVE_CTL": f"unix:{ctl}",
        "NATIVE_LIST": str(listing),
        "NATIVE_ALGORITHM": str(algorithm),
    }
    return Kamailio("native", HOME / "bench" / "native.cfg", folder, port, env, ctl)


def opensips_load_balancer(*, truth: bool) -> Start:
    """
    Return how to start OpenSIPS with its load balancer.

    A destination's resource is how many calls it has in progress when it is full: its capacity times the second that a
    call may wait for it and the time that it lasts. Told the truth, the relative flag (r) compares how much of it is
    free, in whole percent; else all have the same, and the one with the fewest calls gets the next. In both cases a
    full one may have more (n) and ties are drawn (s).
    """

    def start(scene: Scene, stack: contextlib.ExitStack) -> opensips.OpenSips:
        mean_cps = sum(one.capacity_cps for one in scene.destinations) / len(scene.destinations)
        rows = []
        for number, one in enumerate(scene.destinations, start=1):
            calls = round((one.capacity_cps if truth else mean_cps) * (1 + scene.hold_s))
            rows.append(opensips.load_balancer_row(number, one.uri, calls))
        balancer = opensips.OpenSips(scene.folder, "load_balancer", rows, flags="nrs" if truth else "ns")
        return stack.enter_context(balancer).run()

    return start


def opensips_dispatcher(scene: Scene, stack: contextlib.ExitStack) -> opensips.OpenSips:
    """Start OpenSIPS with its dispatcher, weighted round robin, told the true weights in their lowest terms."""
    capacities = [round(one.capacity_cps) for one in scene.destinations]
    divisor = math.gcd(*capacities)
    rows = [
        opensips.dispatcher_row(number, one.uri, capacity // divisor)
        for number, (one, capacity) in enumerate(zip(scene.destinations, capacities, strict=True), start=1)
    ]
    return stack.enter_context(opensips.OpenSips(scene.folder, "dispatcher", rows)).run()


STEELYARD: Final = Contender("Steelyard (equal weights)", steelyard())
ROUND_ROBIN: Final = Contender("dispatcher 4 (round robin)", dispatcher(4))
IN_PROGRESS: Final = Contender("dispatcher 10 (calls in progress)", dispatcher(10, "duid=d{number}"))
OPENSIPS_EQUAL: Final = Contender("OpenSIPS load_balancer (equal)", opensips_load_balancer(truth=False))
NATIVE: Final = (
    ROUND_ROBIN,
    Contender("dispatcher 9 (true weights)", dispatcher(9, "weight={percent}", truth=True)),
    Contender("dispatcher 9 (equal weights)", dispatcher(9, "weight={percent}")),
    IN_PROGRESS,
    Contender("dispatcher 11 (true weights)", dispatcher(11, "rweight={percent}", truth=True)),
    Contender("dispatcher 11 (equal weights)", dispatcher(11, "rweight={percent}")),
    # Weights that shrink by a point for each ms by which a ping takes longer than on average: as the module's example.
    Contender("dispatcher 11 (congestion control)", dispatcher(11, "rweight=50;weight=50;cc=1")),
    # The pings' times lower a destination's priority; the highest ones take turns. 30 as in the module's example.
    Contender("dispatcher 13 (latency)", dispatcher(13, priority=30)),
)
OPENSIPS: Final = (
    OPENSIPS_EQUAL,
    Contender("OpenSIPS load_balancer (truth)", opensips_load_balancer(truth=True)),
    Contender("OpenSIPS dispatcher (true weights)", opensips_dispatcher),
)


def all_there() -> list[Contender]:
    """Return all whose program is installed, Steelyard first."""
    return [STEELYARD, *NATIVE, *(OPENSIPS if opensips.is_there() else ())]
