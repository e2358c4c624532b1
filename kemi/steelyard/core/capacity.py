"""
How much a destination can take, learned from its answers when nobody declares or reports it.

Knows one tick's means; does not know weights.
"""

from collections.abc import Mapping
from typing import Protocol

from .weight import RESPONSE_TIME_FLOOR_S


class _Mean(Protocol):
    @property
    def value(self) -> float | None: ...

    def evidence(self, now_s: float) -> float: ...


class Watched(Protocol):
    """What the estimate needs to know of a destination."""

    @property
    def response_time(self) -> _Mean: ...

    @property
    def depth(self) -> _Mean: ...

    @property
    def ping_time(self) -> _Mean: ...

    def has_evidence(self, now_s: float) -> bool:
        """Say whether enough calls were answered lately."""


def estimate_capacities(destinations: Mapping[str, Watched], now_s: float) -> dict[str, float | None]:
    """
    Estimate how many requests per second each destination clears.

    By Little's law a line of n requests, each of which waits t, moves at n / t per second.
    """
    by_calls = {uri: d for uri, d in destinations.items() if d.has_evidence(now_s)}
    if not by_calls:
        return {
            uri: None if d.ping_time.value is None else 1.0 / (d.ping_time.value + RESPONSE_TIME_FLOOR_S)
            for uri, d in destinations.items()
        }
    requests = {uri: d.response_time.evidence(now_s) for uri, d in by_calls.items()}
    usual_depth = sum((d.depth.value or 1.0) * requests[uri] for uri, d in by_calls.items()) / sum(requests.values())
    return {
        uri: max(d.depth.value or 1.0, usual_depth) / ((d.response_time.value or 0.0) + RESPONSE_TIME_FLOOR_S)
        if uri in by_calls
        else None
        for uri, d in destinations.items()
    }
