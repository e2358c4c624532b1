"""
Which destination gets a request.

Knows a snapshot and reads in-flight counts; does not know where either comes from.
"""

from collections.abc import Callable, Collection
from typing import Final, Protocol

from .snapshot import Entry, Rule, Snapshot
from .turns import Turns

SCAN_LIMIT: Final = 8  # up to so many destinations are compared with each other; of more, two


class Random(Protocol):
    """The one method of random.Random that picking needs."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class Picker:
    """Picks for one worker; its state is whose turn it is."""

    def __init__(self, rng: Random) -> None:
        """Take the randomness that sets workers out of step with each other."""
        self._rng = rng
        self._entries: dict[str, Entry] = {}
        self._rule = Rule.LEAST
        self._tiers: list[list[Entry]] = []
        self._turns: dict[int, Turns] = {}

    def refresh(self, snapshot: Snapshot) -> None:
        """Put a new snapshot in force; turns go on where they were."""
        self._rule = snapshot.rule
        self._entries = {entry.key: entry for entry in snapshot.entries}
        tiers: dict[int, list[Entry]] = {}
        for entry in snapshot.entries:
            tiers.setdefault(entry.tier, []).append(entry)
        self._tiers = [tiers[tier] for tier in sorted(tiers)]
        turns = {tier: self._turns.get(tier) or Turns() for tier in tiers}
        for tier, entries in tiers.items():
            turns[tier].reweigh({entry.key: entry.weight for entry in entries}, phase=self._rng.random())
        self._turns = turns

    def entry(self, key: str) -> Entry | None:
        """Return the destination of that key, or None when it has left the snapshot."""
        return self._entries.get(key)

    def pick(self, in_flight: Callable[[str], int], tried: Collection[str] = ()) -> Entry | None:
        """
        Pick a destination not yet tried, from the first tier that has one.

        Args:
            in_flight: key -> requests sent and not answered, over all workers.
            tried: keys that have had this request.

        Returns:
            A destination, or None when all have been tried.
        """
        for entries in self._tiers:
            turns = self._turns[entries[0].tier]
            key = turns.next(tried)
            if key is None:
                continue
            first = self._entries[key]
            if self._rule is Rule.TURNS or first.manual or len(entries) == 1:
                return first
            return self._least(first, entries, in_flight, tried)
        return None

    def _least(
        self, first: Entry, entries: list[Entry], in_flight: Callable[[str], int], tried: Collection[str]
    ) -> Entry:
        best, best_cost = first, in_flight(first.key) / first.weight
        if len(entries) <= SCAN_LIMIT:
            rivals = [e for e in entries if e is not first and not e.manual and e.key not in tried]
        else:
            rivals = [entries[int(self._rng.random() * len(entries))]]
        for rival in rivals:
            cost = in_flight(rival.key) / rival.weight
            if cost < best_cost:
                best, best_cost = rival, cost
        return best
