"""
What a control node is to the simulator, whoever's rules it follows.

Does not know how any of them picks.
"""

from collections.abc import Collection
from typing import Any, Protocol

SILENCE = 0  # as a status: nothing came back in time


class Node(Protocol):
    """A control node; destinations are numbers from 0."""

    def pick(self, tried: Collection[int]) -> int | None:
        """Return where a request goes that has been sent to `tried` before, None when nowhere."""

    def on_sent(self, number: int) -> Any:  # noqa: ANN401 - each node's own
        """Take note that it was sent there; what is returned comes back with the reply."""

    def on_reply(self, sent: Any, status: int) -> None:  # noqa: ANN401
        """Take the first reply, or SILENCE."""

    def on_hang_up(self, number: int) -> None:
        """Take note that a call which was answered there has ended."""
