"""
What is remembered, with a transaction, of one attempt at a destination.

What was sent is a text, written once; how far it has come are marks, a few bits of one number for all attempts of a
request, since each text written costs a piece of shared memory. Does not know where either is kept.
"""

from dataclasses import dataclass
from typing import Final

# How far an attempt has come. Without any mark no reply that counts has come; its in-flight place is taken.
ANSWERED: Final = 1  # provisionally; counted, its place was given back
ENDED: Final = 2  # for good or ill: what still comes is a retransmission
TRYING: Final = 4  # a 100 has come; what follows it is still to be timed

_BITS: Final = 3  # of an attempt: as many fit into the 32 of a message's flags as `max_attempts` allows, and two more
_MASK: Final = (1 << _BITS) - 1


def marks_of(marks: int, number: int) -> int:
    """Return the marks of one attempt."""
    return marks >> _BITS * number & _MASK


def with_marks(marks: int, number: int, own: int) -> int:
    """Return all marks, with `own` as those of one attempt."""
    return marks & ~(_MASK << _BITS * number) | own << _BITS * number


def written(key: str, cell: str, uri: str, no_response_s: float, sent_us: int, in_flight: int) -> str:  # noqa: PLR0913
    """Return an attempt's fields as one line without special characters; kamailio.cfg reads the first three."""
    return f"{key} {cell} {uri} {no_response_s} {sent_us} {in_flight}"


@dataclass(slots=True)
class Attempt:
    """
    One request sent to one destination.

    It carries what is needed to settle it, for its destination may have left the snapshot by then.
    """

    key: str
    cell: str  # the name under which its place is counted
    uri: str
    no_response_s: float
    sent_us: int  # monotonic
    in_flight: int  # the destination's requests in flight when this one was sent, itself included

    @classmethod
    def decode(cls, text: str) -> "Attempt":
        """
        Read what `written` wrote.

        Raises:
            ValueError: anything else.
        """
        key, cell, uri, no_response_s, sent_us, in_flight = text.split(" ")
        return cls(key, cell, uri, float(no_response_s), int(sent_us), int(in_flight))
