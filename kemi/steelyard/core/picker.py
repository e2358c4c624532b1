"""
Which destination gets a request.

By turns alone, or by the in-flight count over the room with the turns to decide where loads are alike: an idle set
is served in exact proportion to the weights, a busy one by who is least busy for its room. The room is the weight,
unless reports tell how many requests a destination holds when it is as busy as the others.
Knows a snapshot and reads in-flight counts; does not know where either comes from.
"""

from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from typing import Final, Protocol

from .snapshot import Entry, Rule, Snapshot
from .turns import Leads, Turns

SCAN_LIMIT: Final = 8  # up to so many destinations are all compared; of more, the next in turn and two drawn ones
DRAWS: Final = 2

InFlight = Callable[[str], int]


class Random(Protocol):
    """The one method of random.Random that picking needs."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class _Tier:
    """The destinations of one priority, and whose turn it is among them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._turns = Turns()
        self._leads = Leads()
        self._entries: dict[str, Entry] = {}
        self._order: list[Entry] = []
        self._rooms: dict[str, float] = {}
        self._reach: list[float] = []
        self._has_manual = False

    def refresh(self, entries: list[Entry]) -> None:
        weights = {entry.key: entry.weight for entry in entries}
        self._turns.reweigh(weights, phase=self._rng.random)  # workers out of step with each other
        self._leads.reweigh({e.key: e.weight for e in entries if not e.manual}, phase=self._rng.random)
        self._entries = {entry.key: entry for entry in entries}
        self._order = entries
        self._rooms = {entry.key: entry.room for entry in entries}
        self._has_manual = any(entry.manual for entry in entries)
        self._reach = list(accumulate(weights.values()))

    def pick(self, rule: Rule, in_flight: InFlight, tried: Collection[str]) -> Entry | None:
        few = rule is Rule.LEAST and len(self._order) <= SCAN_LIMIT
        # The shares of manual destinations are the operator's, so where there are any the round says when each is due.
        if few and not self._has_manual:
            return self._least(in_flight, tried)
        key = self._turns.next(tried)
        if key is None:
            return None
        head = self._entries[key]
        if rule is Rule.TURNS or head.manual:
            return head
        if few:
            return self._least(in_flight, tried)
        return self._least_of_few(head, in_flight, tried)

    def _least(self, in_flight: InFlight, tried: Collection[str]) -> Entry | None:
        """Compare all: in-flight count over room, plus how far each is ahead of its turn."""
        best, best_cost = None, 0.0
        lead_of, rooms = self._leads.lead, self._rooms
        for entry in self._order:
            key = entry.key
            if key in tried or entry.manual:
                continue
            cost = in_flight(key) / rooms[key] + lead_of(key)
            if best is None or cost < best_cost:
                best, best_cost = entry, cost
        if best is not None:
            self._leads.take(best.key)
        return best

    def _least_of_few(self, head: Entry, in_flight: InFlight, tried: Collection[str]) -> Entry:
        """Compare the head of the round with few others, which must be better by half a request."""
        best, best_cost = head, in_flight(head.key) / self._rooms[head.key]
        for _ in range(DRAWS):
            rival = self._order[bisect(self._reach, self._rng.random() * self._reach[-1], hi=len(self._order) - 1)]
            cost = (in_flight(rival.key) + 0.5) / self._rooms[rival.key]
            if cost < best_cost and not rival.manual and rival.key not in tried:
                best, best_cost = rival, cost
        return best


class Picker:
    """Picks for one worker; its state is whose turn it is."""

    def __init__(self, rng: Random) -> None:
        """Take the randomness that sets workers out of step and draws rivals."""
        self._rng = rng
        self._entries: dict[str, Entry] = {}
        self._rule = Rule.LEAST
        self._tiers: dict[int, _Tier] = {}

    def refresh(self, snapshot: Snapshot) -> None:
        """Put a new snapshot in force; turns go on where they were."""
        self._rule = snapshot.rule
        self._entries = {entry.key: entry for entry in snapshot.entries}
        by_tier: dict[int, list[Entry]] = {}
        for entry in snapshot.entries:
            by_tier.setdefault(entry.tier, []).append(entry)
        tiers = {}
        for number in sorted(by_tier):
            tiers[number] = self._tiers.get(number) or _Tier(self._rng)
            tiers[number].refresh(by_tier[number])
        self._tiers = tiers

    def entry(self, key: str) -> Entry | None:
        """Return the destination of that key, or None when it has left the snapshot."""
        return self._entries.get(key)

    def entries(self) -> Collection[Entry]:
        """Return all destinations."""
        return self._entries.values()

    def has_left(self, tried: Collection[str]) -> bool:
        """Say whether there is a destination not yet tried; nobody's turn is taken."""
        return any(key not in tried for key in self._entries)

    def pick(self, in_flight: InFlight, tried: Collection[str] = (), *, by_turns: bool = False) -> Entry | None:
        """
        Pick a destination not yet tried, from the first tier that has one.

        Args:
            in_flight: key -> requests sent and not answered, over all workers, >= 0.
            tried: keys that have had this request.
            by_turns: whatever the rule, so that each gets the share of its weight.

        Returns:
            A destination, or None when all have been tried.
        """
        for tier in self._tiers.values():
            entry = tier.pick(Rule.TURNS if by_turns else self._rule, in_flight, tried)
            if entry is not None:
                return entry
        return None
