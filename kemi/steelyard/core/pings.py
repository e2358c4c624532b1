"""
The pings on their way, by Call-ID, until they are answered or overdue.

Does not know what follows from either.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ping:
    """A ping that was answered: to whom it went and how long the answer took."""

    uri: str
    age_s: float


class Pings:
    """What is out; nothing stays longer than its destination's timeout."""

    def __init__(self) -> None:
        """Start with none."""
        self._sent: dict[str, tuple[str, float]] = {}

    def on_sent(self, call_id: str, uri: str, *, now_s: float) -> None:
        """Take note of a ping that left."""
        self._sent[call_id] = (uri, now_s)

    def on_answered(self, call_id: str, *, now_s: float) -> Ping | None:
        """Return the ping that this answers; None for one that was taken as lost, answered already or not ours."""
        sent = self._sent.pop(call_id, None)
        return None if sent is None else Ping(sent[0], now_s - sent[1])

    def take_lost(self, timeouts_s: Mapping[str, float], *, now_s: float) -> list[str]:
        """
        Forget the pings that are overdue.

        Args:
            timeouts_s: URI -> seconds an answer is waited for; a URI that is missing has left the list.
            now_s: monotonic seconds.

        Returns:
            Whose pings they were, once for each ping, without those that have left.
        """
        lost = []
        for call_id, (uri, sent_s) in list(self._sent.items()):
            if now_s - sent_s > timeouts_s.get(uri, 0.0):
                del self._sent[call_id]
                if uri in timeouts_s:
                    lost.append(uri)
        return lost
