"""
What the best possible system would give on the same queues: the central queue, simulated.

One line feeds all workers and the fastest free one takes the next call; no balancer can be expected to beat its mean
by much, for it knows everything.
"""

import heapq
import random
from collections.abc import Sequence


def central_queue(
    rate: float, queues: Sequence[tuple[int, float]], *, calls: int = 200_000, seed: int = 1
) -> list[float]:
    """
    Simulate Poisson calls on queues with one common line.

    Args:
        rate: calls per second, below the sum of the capacities.
        queues: (workers, mean service time in seconds) of each.
        calls: how many calls.
        seed: of the random numbers.

    Returns:
        Response times in seconds, sorted.
    """
    rng = random.Random(seed)  # noqa: S311
    idle = [(mean, number) for number, mean in enumerate(m for n, m in queues for _ in range(n))]
    heapq.heapify(idle)
    busy: list[tuple[float, float, int]] = []
    now_s = 0.0
    times = []
    for _ in range(calls):
        now_s += rng.expovariate(rate)
        while busy and busy[0][0] <= now_s:
            _, mean, number = heapq.heappop(busy)
            heapq.heappush(idle, (mean, number))
        begin_s = now_s
        if not idle:  # the call waits for the first worker to become free; earlier calls have taken theirs already
            begin_s, mean, number = heapq.heappop(busy)
        else:
            mean, number = heapq.heappop(idle)
        end_s = begin_s + rng.expovariate(1 / mean)
        heapq.heappush(busy, (end_s, mean, number))
        times.append(end_s - now_s)
    return sorted(times)
