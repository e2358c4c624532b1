"""
What was refused, named once and not a thousand times.

Does not know what is refused, or where it is told.
"""

from dataclasses import dataclass
from typing import Final

REPEAT_S: Final = 3600.0
MAX_SOURCES: Final = 1000  # whoever sends from ever new addresses must not grow us


@dataclass(slots=True)
class _Source:
    told_s: float
    since_told: int = 0


class Refusals:
    """How often each source was refused; told at the first time, and once an hour while it goes on."""

    def __init__(self) -> None:
        """Start with none."""
        self._sources: dict[str, _Source] = {}

    def add(self, source: str, *, now_s: float) -> str:
        """
        Count a refusal.

        Returns:
            Words that end the line to be told now; empty when nothing is to be told.
        """
        known = self._sources.get(source)
        if known is None:
            if len(self._sources) >= MAX_SOURCES:
                self._sources.pop(next(iter(self._sources)))
            self._sources[source] = _Source(now_s)
            return "; told once"
        known.since_told += 1
        if now_s - known.told_s < REPEAT_S:
            return ""
        told = f"; {known.since_told} more since it was told"
        known.told_s, known.since_told = now_s, 0
        return told

    def forgive(self, source: str) -> None:
        """Have the next refusal of a source told again."""
        self._sources.pop(source, None)
