"""
Which destination gets a request.

By turns alone, or by a price: of those compared, the cheapest. The price is a time, that of the request and what it
makes others wait, or the in-flight count over the room; how far a destination is ahead of its turn is added to either,
so that where prices are alike the shares are those of the weights.
Knows a snapshot and reads in-flight counts; does not know where either comes from.
"""

from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from math import inf
from typing import Final, NamedTuple, Protocol

from .snapshot import Entry, Rule, Snapshot
from .turns import Leads, Turns

SCAN_LIMIT: Final = 24  # up to so many destinations are all compared; of more, the next in turn and three others
HANDICAP: Final = 0.5  # of what one more in hand costs, by which another must be better than the next in turn

# A request that waits makes those behind it wait as well, while another destination may have a worker to spare: the
# likelier, the more there are. Simulated: three destinations at load 0.8 have a mean and a 99th percentile of 1.07 and
# 0.83 central queues with W = 2, 1.03 and 0.86 with 3; twenty at load 0.95 a mean of 101 ms with 2.5, of 54 ms with 10.
WAITING_PER_DESTINATION: Final = 0.75
LEAST_WAITING: Final = 2.0
IN_HAND: Final = 0.2  # of a request's time for each one in hand, waiting or not: the emptier of two alike
LEAD: Final = 0.5  # of a turn; a whole one costs 1 % of the mean

InFlight = Callable[[str], int]


class Random(Protocol):
    """The one method of random.Random that picking needs."""

    def random(self) -> float:
        """Return a float in [0, 1)."""


class Price(NamedTuple):
    """
    What a destination costs with n requests in flight: base + each x n, and waiting for each beyond `free`.

    A tuple, for it is read more often than anything else here.
    """

    base: float
    each: float
    free: float
    waiting: float

    def at(self, in_flight: int) -> float:
        """Return the price of one more request; `in_flight` >= 0."""
        base, each, free, waiting = self
        price = base + each * in_flight
        return price + waiting * (in_flight - free) if in_flight > free else price


def price_of(entry: Entry, rule: Rule, size: int) -> Price:
    """
    Return what a destination costs by a rule that compares.

    Args:
        entry: the destination.
        rule: SOONEST, or LEAST (and for its sake TURNS, which asks for no price).
        size: how many destinations there are to choose from, >= 1.
    """
    if rule is not Rule.SOONEST:
        return Price(0.0, 1.0 / entry.room, 0.0, 0.0)
    waiting = max(WAITING_PER_DESTINATION * size, LEAST_WAITING)
    return Price(entry.base, IN_HAND / entry.weight, entry.bend - 1.0, waiting / entry.weight)


class _Tier:
    """The destinations of one priority, and whose turn it is among them."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._turns = Turns()
        self._leads = Leads()
        self._entries: dict[str, Entry] = {}
        self._order: list[Entry] = []
        self._prices: dict[str, Price] = {}
        self._compared: list[tuple[str, Entry, Price]] = []  # where all are
        self._reach: list[float] = []
        self._all = 0.0  # weight
        self._last = 0
        self._second: Entry | None = None  # of the last comparison among many
        self._has_manual = False
        self._lead = 1.0

    def refresh(self, entries: list[Entry], rule: Rule) -> None:
        weights = {entry.key: entry.weight for entry in entries}
        self._turns.reweigh(weights, phase=self._rng.random)  # workers out of step with each other
        self._leads.reweigh({e.key: e.weight for e in entries if not e.manual}, phase=self._rng.random)
        self._entries = {entry.key: entry for entry in entries}
        self._order = entries
        self._prices = {entry.key: price_of(entry, rule, len(entries)) for entry in entries}
        self._compared = [(e.key, e, self._prices[e.key]) for e in entries if not e.manual]
        self._second = self._entries.get(self._second.key) if self._second is not None else None
        self._has_manual = any(entry.manual for entry in entries)
        self._lead = LEAD if rule is Rule.SOONEST else 1.0
        self._reach = list(accumulate(weights.values()))
        self._all, self._last = self._reach[-1], len(entries) - 1

    def pick(self, rule: Rule, in_flight: InFlight, tried: Collection[str]) -> Entry | None:
        few = rule is not Rule.TURNS and len(self._order) <= SCAN_LIMIT
        # The shares of manual destinations are the operator's, so where there are any the round says when each is due.
        if few and not self._has_manual:
            return self._cheapest(in_flight, tried)
        key = self._turns.next(tried)
        if key is None:
            return None
        head = self._entries[key]
        if rule is Rule.TURNS or head.manual:
            return head
        if few:
            return self._cheapest(in_flight, tried)
        return self._cheapest_of_some(head, in_flight, tried)

    def _cheapest(self, in_flight: InFlight, tried: Collection[str]) -> Entry | None:
        """Compare all."""
        best, least = None, inf
        lead_of, lead = self._leads.lead, self._lead
        for key, entry, price in self._compared:
            if key in tried:
                continue
            cost = price.at(in_flight(key))
            if cost < least:  # a lead is never below 0
                cost += lead * lead_of(key)
                if cost < least:
                    best, least = entry, cost
        if best is not None:
            self._leads.take(best.key)
        return best

    def _cheapest_of_some(self, head: Entry, in_flight: InFlight, tried: Collection[str]) -> Entry:
        """Compare the head of the round with some drawn at random and with whoever came next the last time."""
        prices = self._prices
        best, least = head, prices[head.key].at(in_flight(head.key))
        second: Entry | None = None
        second_least = inf
        for rival in (self._draw(), self._draw(), self._second):
            if rival is None or rival is best or rival is second or rival.manual:
                continue
            key = rival.key
            if key in tried:
                continue
            price = prices[key]
            cost = price.at(in_flight(key)) + HANDICAP * price.each
            if cost < least:
                second, second_least = best, least
                best, least = rival, cost
            elif cost < second_least:
                second, second_least = rival, cost
        self._second = second
        return best

    def _draw(self) -> Entry:
        return self._order[bisect(self._reach, self._rng.random() * self._all, 0, self._last)]


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
            tiers[number].refresh(by_tier[number], snapshot.rule)
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
