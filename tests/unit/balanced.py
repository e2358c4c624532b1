"""A balancer under test: its facts by URI, what it published last, every event it had."""

from steelyard.core.balancer import Balancer
from steelyard.core.declared import HASHES, Declared, read_list
from steelyard.core.roster import Throttled

A, B, C = (f"sip:192.0.2.{number}:5060" for number in (1, 2, 3))


def listed(weights, **hashes):
    """Read an operator's list in which nothing is refused."""
    raw = {**{name: {} for name in HASHES}, **hashes, "weight": {uri: str(w) for uri, w in weights.items()}}
    declared, rejected = read_list(raw, Declared())
    assert [] == rejected
    return declared


class Balanced:
    """A balancer, what it published last, and every event it had."""

    def __init__(self, weights=None, **hashes):
        self.balancer = Balancer()
        self.throttled = {}  # by address
        self.snapshot = None
        self.standings = ()
        self.probes = {}
        self.events = []
        if weights is not None:
            self.declare(weights, 0.0, **hashes)
            self.decide(0.0)

    def declare(self, weights, now_s, **hashes):
        """Put a list in force."""
        self.balancer.declare(listed(weights, **hashes), now_s=now_s)

    def decide(self, now_s, in_flight=()):
        """Decide, and keep what was published."""
        decision = self.balancer.decide(
            lambda key: dict(in_flight).get(key, 0),
            lambda address: self.throttled.get(address, Throttled(None, 0)),
            now_s=now_s,
        )
        self.snapshot = decision.snapshot if decision.snapshot is not None else self.snapshot
        self.standings = decision.standings if decision.standings is not None else self.standings
        self.probes = decision.probes if decision.probes is not None else self.probes
        self.events += decision.events
        return decision

    def answer(self, uri, *, times=1, status=200, now_s=0.0, response_time_s=0.1):
        """File first replies to calls, each the only one in flight."""
        for _ in range(times):
            self.balancer.on_answer(self.key(uri), response_time_s, 1, status, 0.0, now_s=now_s)

    def refuse(self, uri, *, retry_after_s, now_s):
        """File a 503 that asks to be left alone."""
        self.balancer.on_answer(self.key(uri), 0.1, 1, 503, retry_after_s, now_s=now_s)

    def ping(self, uri, *, now_s, response_time_s=None, status=200, call_id="ping"):
        """Send a ping, and file its answer if it has one."""
        self.balancer.on_ping(call_id, uri, sent_s=now_s)
        if response_time_s is not None:
            self.balancer.on_pong(call_id, status, received_s=now_s + response_time_s)

    def report(self, uri, header, *, now_s, source="192.0.2.1"):
        """Send a ping, and file an answer with a load report in it."""
        self.balancer.on_ping("ping", uri, sent_s=now_s)
        self.balancer.on_pong("ping", 200, source, header, received_s=now_s)

    def told(self, kind):
        """Return (destination, reason) of the events of a kind."""
        return [(event.destination, event.reason) for event in self.events if event.kind == kind]

    def fall(self, uri, *, now_s, times=3):
        """Lose so many pings; each is overdue 1.1 s later, when the next decision is made."""
        for number in range(times):
            self.ping(uri, now_s=now_s + 1.1 * number)
            self.decide(now_s + 1.1 * (number + 1))
        return now_s + 1.1 * times

    def key(self, uri):
        """Return a destination's key in the last snapshot."""
        return self.entries()[uri].key

    def entries(self):
        """Return who may be picked, by URI."""
        return {entry.uri: entry for entry in self.snapshot.entries}

    def weights(self):
        """Return the weights in the last snapshot."""
        return {entry.uri: entry.weight for entry in self.snapshot.entries}

    def shares(self):
        """Return every destination's share in percent."""
        return {standing.uri: standing.share_percent for standing in self.standings}

    def why(self, uri):
        """Return the fields of one destination's row."""
        return next(standing.fields for standing in self.standings if standing.uri == uri)

    def kinds(self, uri=None):
        """Return the kinds of the events of one destination, or of the whole set."""
        return [event.kind for event in self.events if event.destination == (uri or "")]
