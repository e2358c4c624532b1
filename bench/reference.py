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


def lower_bound(rate: float, queues: Sequence[tuple[int, float]]) -> float:
    """
    Return a mean response time, in seconds, that no balancer of any kind can beat on these queues.

    With n calls in the system the work can be done no faster than by the n fastest workers, which a central queue
    does that may move a call to a faster worker at any moment (preemptive, fastest first). Its number of calls is a
    birth and death process: up at `rate`, down at the sum of the min(n, all) fastest workers' rates; Little's law
    makes a time of its mean.

    Args:
        rate: Poisson calls per second, below the sum of the capacities.
        queues: (workers, mean of the exponential service time in seconds) of each.
    """
    rates = sorted((1 / mean for workers, mean in queues for _ in range(workers)), reverse=True)
    weight, total, number = 1.0, 1.0, 0.0  # of n calls, relative to none; their sum; the sum of n times each
    speed = 0.0
    for n, worker in enumerate(rates, start=1):
        speed += worker
        weight *= rate / speed
        total += weight
        number += n * weight
    ratio = rate / speed
    # Beyond the last worker the weights are geometric: sum and mean of weight * ratio^j for j = 1, 2 ...
    total += weight * ratio / (1 - ratio)
    number += weight * (len(rates) * ratio / (1 - ratio) + ratio / (1 - ratio) ** 2)
    return number / total / rate
