"""
What one pick costs by the number of destinations, and what a round of the control process does.

The core alone, without Kamailio: in-flight counts are read from a dict. Prints the median of some rounds in
microseconds, and each as a ratio to that of three destinations.
"""

import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final

from steelyard.core.balancer import Balancer
from steelyard.core.declared import HASHES, Declared, read_list
from steelyard.core.picker import Picker
from steelyard.core.roster import Throttled
from steelyard.core.snapshot import Snapshot, decode, encode

COUNTS: Final = (3, 8, 24, 25, 100, 1000)
ROUNDS: Final = 15
PICKS: Final = 5000


def main() -> int:
    """Print one row for each number of destinations."""
    columns = (
        ("destinations", 12),
        ("pick us", 8),
        ("ratio", 6),
        ("decide ms", 10),
        ("encode ms", 10),
        ("in force ms", 12),
    )
    print(*(f"{name:>{width}}" for name, width in columns))
    first = 0.0
    for count in COUNTS:
        pick_s, decide_s, encode_s, force_s = _times(count)
        first = first or pick_s
        print(
            f"{count:12} {pick_s * 1e6:8.2f} {pick_s / first:6.2f} {decide_s * 1e3:10.2f} {encode_s * 1e3:10.2f} "
            f"{force_s * 1e3:12.2f}"
        )
    return 0


def _times(count: int) -> tuple[float, float, float, float]:
    """Return the seconds of a pick, of a round of decisions, and of writing and putting in force what it decided."""
    snapshot, decide_s = _decide(_balancer(count), count)
    picker = Picker(random.Random(1))  # noqa: S311 - spreads load
    text = encode(snapshot)
    picker.refresh(snapshot)
    load = {entry.key: number % 5 for number, entry in enumerate(snapshot.entries)}
    pick_s = _median(lambda: [picker.pick(load.__getitem__) for _ in range(PICKS)]) / PICKS
    return pick_s, decide_s, _median(lambda: encode(snapshot)), _median(lambda: picker.refresh(decode(text)))


def _balancer(count: int) -> Balancer:
    """Return a balancer with so many destinations."""
    weights = {f"sip:192.0.2.{number // 250}:{5000 + number % 250}": "1" for number in range(count)}
    declared, _ = read_list({**{name: {} for name in HASHES}, "weight": weights}, Declared())
    balancer = Balancer()
    balancer.declare(declared, now_s=0.0)
    return balancer


def _decide(balancer: Balancer, count: int) -> tuple[Snapshot, float]:
    """Have every destination answer calls for some seconds; return the last snapshot and the median of the rounds."""
    rng = random.Random(2)  # noqa: S311
    spent, snapshot = [], Snapshot()
    for now_s in range(1, ROUNDS + 1):
        for number in range(count):
            for _ in range(5):
                balancer.on_answer(f"d{number + 1}", rng.expovariate(25), rng.randrange(1, 8), 200, 0.0, now_s=now_s)
        begun_s = time.perf_counter()
        decision = balancer.decide(lambda _: 1, lambda _: Throttled(None, 0), now_s=float(now_s))
        spent.append(time.perf_counter() - begun_s)
        snapshot = decision.snapshot or snapshot
    return snapshot, statistics.median(spent)


def _median(work: Callable[[], object]) -> float:
    spent = []
    for _ in range(ROUNDS):
        begun_s = time.perf_counter()
        work()
        spent.append(time.perf_counter() - begun_s)
    return statistics.median(spent)


if __name__ == "__main__":
    sys.exit(main())
