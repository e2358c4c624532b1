"""
How large a share of the calls a destination gets, from what can be seen outside of any balancer.

While a queue is broken it says how many calls have reached it: its share is that number's growth, in parts of what all
have got. One that was stopped or killed cannot be asked; then the callers tell: a call that went there first was
answered late, after the balancer had waited for it, or never, while the others answer in time. After it has healed its
share is what the others do not get: by its own count it would also seem to get what had piled up before it.

A call reaches a queue when a worker takes it up: what a full queue is sent beyond its capacity is not seen here, but in
the callers' times.
"""

import itertools
from collections.abc import Sequence
from typing import Final

STEP_S: Final = 0.5
WINDOW_STEPS: Final = 8  # 4 s, 800 calls: random picks of one in four vary by 1.5 points, of one in sixteen by 0.9
SWING_STEPS: Final = 4  # 2 s
SWINGS: Final = 10  # the last 5 s


def from_counts(counts: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """
    Return (calls of the first queue, calls of all) in each step.

    Args:
        counts: what every queue has counted, the first queue first, at the begin of the first step and each one's end;
            a queue that was started anew counts from 0.
    """
    steps = []
    for before, after in itertools.pairwise(counts):
        grown = [new - old if new >= old else new for old, new in zip(before, after, strict=True)]
        steps.append((grown[0], sum(grown)))
    return steps


def from_callers(
    sent_s: Sequence[float], prompt_s: Sequence[float], begin_s: float, steps: int
) -> list[tuple[int, int]]:
    """
    Return (calls not answered in time, calls) in each step.

    Args:
        sent_s: when each call began.
        prompt_s: when each of those began that were answered in time.
        begin_s: when the first step begins, on the same clock.
        steps: how many there are.
    """
    sent, prompt = ([_count(times_s, begin_s + n * STEP_S) for n in range(steps)] for times_s in (sent_s, prompt_s))
    return [(all_of - good, all_of) for all_of, good in zip(sent, prompt, strict=True)]


def from_others(counts: Sequence[Sequence[int]], sent_s: Sequence[float], begin_s: float) -> list[tuple[int, int]]:
    """
    Return (calls that the others did not get, calls) in each step.

    Args:
        counts: what each of the others has counted, at the begin of the first step and each one's end.
        sent_s: when each call began.
        begin_s: when the first step begins, on the same clock.
    """
    steps = []
    for number, (before, after) in enumerate(itertools.pairwise(counts)):
        sent = _count(sent_s, begin_s + number * STEP_S)
        steps.append((sent - (sum(after) - sum(before)), sent))
    return steps


def _count(times_s: Sequence[float], begin_s: float) -> int:
    return sum(begin_s <= time_s < begin_s + STEP_S for time_s in times_s)


def percents(steps: Sequence[tuple[int, int]], width: int) -> list[float]:
    """Return the share in each window of `width` steps, in percent."""
    windows = [steps[n : n + width] for n in range(len(steps) - width + 1)]
    return [100 * sum(part for part, _ in window) / max(sum(whole for _, whole in window), 1) for window in windows]


def settled_s(steps: Sequence[tuple[int, int]], low: float, high: float) -> float | None:
    """Return when the first window begins from which on all are within bounds; None when there is none."""
    settled = None
    for number, share in enumerate(percents(steps, WINDOW_STEPS)):
        if not low <= share <= high:
            settled = None
        elif settled is None:
            settled = number * STEP_S
    return settled


def oscillation(steps: Sequence[tuple[int, int]]) -> float:
    """Return by how many points the share of two seconds varied in the last five."""
    shares = percents(steps[-SWINGS:], SWING_STEPS)
    return max(shares) - min(shares)
