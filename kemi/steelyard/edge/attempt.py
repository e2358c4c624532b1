"""
What is remembered, with a transaction, of one attempt at a destination.

Does not know where it is kept: to Kamailio it is a text.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class Phase(StrEnum):
    """How far an attempt has come."""

    SENT = "s"  # no reply that counts; its in-flight place is taken
    ANSWERED = "a"  # answered provisionally; counted, its place was given back
    ENDED = "e"  # ended, for good or ill: what still comes is a retransmission


@dataclass(frozen=True, slots=True)
class Attempt:
    """
    One request sent to one destination.

    It carries what is needed to settle it, for its destination may have left the snapshot by then.
    """

    key: str
    uri: str
    no_response_s: float
    sent_us: int  # monotonic
    in_flight: int  # the destination's requests in flight when this one was sent, itself included
    phase: Phase = Phase.SENT
    trying_us: int = 0  # when a 100 came, 0 while none did

    def encode(self) -> str:
        """Write the attempt as one line without special characters."""
        return (
            f"{self.key} {self.uri} {self.no_response_s} {self.sent_us} {self.in_flight} {self.phase} {self.trying_us}"
        )

    @classmethod
    def decode(cls, text: str) -> "Attempt":
        """
        Read what encode wrote.

        Raises:
            ValueError: anything else.
        """
        key, uri, no_response_s, sent_us, in_flight, phase, trying_us = text.split(" ")
        return cls(key, uri, float(no_response_s), int(sent_us), int(in_flight), Phase(phase), int(trying_us))

    def trying(self, now_us: int) -> "Attempt":
        """Return the attempt after a 100 Trying, of which only the first is timed."""
        return self if self.trying_us else replace(self, trying_us=now_us)

    def beyond(self) -> "Attempt":
        """Return the attempt once what followed its 100 has been timed."""
        return replace(self, trying_us=0)

    def answered(self, *, final: bool) -> "Attempt":
        """Return the attempt after its first reply or, with `final`, after what ended it."""
        return replace(self, phase=Phase.ENDED if final else Phase.ANSWERED)
