"""
How loaded a proxy is, from what its processes did in one window: the fields of a load report.

A worker is busy while it does anything but wait for the next message: one that waits for a database burns no CPU and
serves nobody else. The most constrained group of workers counts, for the workers of one socket cannot help another's.
Does not know how any of it is measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counters:
    """What has been counted up to a moment, and what is so at that moment."""

    at_s: float  # monotonic
    cpu_s: float  # of all processes since they began
    requests: int
    errors: int  # 5xx answers
    refused: int  # requests refused for overload; in both numbers above
    transactions: int  # in progress
    shm: float  # parts in use, 0..1: shared memory,
    pkg: float  # the fullest private memory,
    memory: float  # and the machine's memory in our hands


class Busy:
    """How often each group of workers was seen, and how often busy."""

    def __init__(self) -> None:
        """Start without a look."""
        self._seen: dict[str, int] = {}
        self._busy: dict[str, int] = {}

    def add(self, group: str, *, busy: bool) -> None:
        """Take one look at one worker."""
        self._seen[group] = self._seen.get(group, 0) + 1
        if busy:
            self._busy[group] = self._busy.get(group, 0) + 1

    def of_all(self) -> float:
        """Return the part of their time that all workers together were busy, 0..1."""
        return sum(self._busy.values()) / max(sum(self._seen.values()), 1)

    def most_constrained(self) -> float:
        """Return the same of the busiest group."""
        return max((self._busy.get(group, 0) / seen for group, seen in self._seen.items()), default=0.0)


def fields_of(before: Counters, now: Counters, busy: Busy, *, cpus: int) -> Mapping[str, float]:
    """
    Return a report's fields for the window between two counts.

    Args:
        before: the counts at the window's start.
        now: the counts at its end; at_s is later.
        busy: the looks taken in between.
        cpus: processors that may be used.
    """
    seconds = now.at_s - before.at_s
    refused = now.refused - before.refused
    return {
        "cpu_utilization": min(max(now.cpu_s - before.cpu_s, 0.0) / seconds / cpus, 1.0),
        "mem_utilization": min(now.memory, 1.0),
        "application_utilization": busy.most_constrained(),
        # What was refused for overload cost next to nothing: it is neither work done nor the proxy's failure.
        "rps_fractional": max(now.requests - before.requests - refused, 0) / seconds,
        "eps": max(now.errors - before.errors - refused, 0) / seconds,
        "named_metrics.workers_busy": busy.of_all(),
        "named_metrics.shm": now.shm,
        "named_metrics.pkg": now.pkg,
        "named_metrics.transactions": now.transactions,
    }
