"""
Virtual time: what is to happen, in order.

Does not know what happens.
"""

import heapq
from collections.abc import Callable
from typing import Any


class Clock:
    """Runs actions at their time; those of the same time in the order they were asked for."""

    def __init__(self) -> None:
        """Start at 0 s with nothing to do."""
        self.now_s = 0.0
        self._agenda: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._asked = 0

    def after(self, delay_s: float, action: Callable[..., object], *arguments: object) -> None:
        """Run `action` in `delay_s` seconds, >= 0."""
        self._asked += 1
        heapq.heappush(self._agenda, (self.now_s + delay_s, self._asked, action, arguments))

    def run(self, until_s: float) -> None:
        """Run what is due until then, and what that asks for."""
        agenda = self._agenda
        while agenda and agenda[0][0] <= until_s:
            self.now_s, _, action, arguments = heapq.heappop(agenda)
            action(*arguments)
        self.now_s = until_s
