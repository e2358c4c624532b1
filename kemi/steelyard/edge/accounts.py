"""
What becomes of the requests sent to destinations: places taken and given back, facts filed for the control process.

    sent --> its first reply that counts gives the place back --> a final one ends it
         --> nothing comes, or it could not be sent: silence ends it

Does not pick, and sends nothing.
"""

from collections.abc import Callable
from typing import Final

from ..core.outcome import FIRST_FINAL, SERVICE_UNAVAILABLE, of_status
from ..core.picker import Picker
from ..core.snapshot import Entry
from .attempt import ANSWERED, ENDED, TRYING, Attempt, marks_of, with_marks, written
from .in_force import InForce
from .kamailio import DIALOG_FORMING, Kamailio
from .shared import Dialogs, Facts, InFlight

STATUS_TRYING: Final = 100
NO_WAIT: Final = "-"  # in a fact, where there is no Retry-After
NOTHING: Final = "<null>"  # how kamailio.cfg writes what there is not


class Accounts:
    """The accounts that one worker keeps, with each transaction."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        in_force: InForce,
        picker: Picker,
        in_flight: InFlight,
        facts: Facts,
        dialogs: Dialogs,
        clock_us: Callable[[], int],
    ) -> None:
        """Take the adapters, who may be picked and the monotonic clock in microseconds."""
        self._sip = kamailio
        self._in_force = in_force
        self._picker = picker
        self._in_flight = in_flight
        self._facts = facts
        self._dialogs = dialogs
        self._clock_us = clock_us

    def open(self, entry: Entry, number: int) -> None:
        """Take a place for a request that is about to be sent; `number` tells the attempts of a request apart."""
        now_us = self._clock_us()
        cell, in_flight = self._in_flight.enter(entry.key, now_us)
        text = written(entry.key, cell, entry.uri, entry.no_response_s, now_us, in_flight)
        self._sip.remember(f"attempt{number}", text)

    def attempts(self) -> list[Attempt]:
        """Return the attempts that the request at hand has had."""
        found: list[Attempt] = []
        while text := self._sip.recall(f"attempt{len(found)}"):
            found.append(Attempt.decode(text))
        return found

    def was_silent(self, number: int) -> bool:
        """Say whether nothing at all has come back from an attempt."""
        return marks_of(self._sip.marks(), number) == 0

    def is_open(self, number: int) -> bool:
        """Say whether an attempt still holds the place that it took."""
        return not marks_of(self._sip.marks(), number) & (ANSWERED | ENDED)

    def silence(self, number: int) -> None:
        """Count an attempt that nothing came back from, or that could not be sent."""
        attempt = Attempt.decode(self._sip.recall(f"attempt{number}"))
        self._facts.put("silence", attempt.key)
        self._release(attempt, self._picker.entry(attempt.key), self._clock_us(), failed=True)
        self._sip.mark(with_marks(self._sip.marks(), number, ENDED))

    def on_reply(self, at_hand: str) -> Attempt | None:
        """
        Count the reply at hand; runs under the transaction's lock.

        Args:
            at_hand: its status, the number of its attempt, all marks and what open wrote of the first attempt, as
                kamailio.cfg puts them together: to read them one by one from here takes longer than all the rest.

        Returns:
            The attempt that it answers, None when it answers none.
        """
        status, number_text, marks_text, first = at_hand.split(" ", 3)
        number, marks = int(number_text), int(marks_text)
        text = first if number == 0 else self._sip.recall(f"attempt{number}")
        if text in ("", NOTHING):
            return None
        attempt = Attempt.decode(text)
        before = marks_of(marks, number)
        if not before & ENDED:
            after = self._count(attempt, number, before, int(status))
            if after != before:
                self._sip.mark(with_marks(marks, number, after))
        return attempt

    def _count(self, attempt: Attempt, number: int, marks: int, status: int) -> int:
        """Count a reply to an attempt that has not ended; return the attempt's marks from now on."""
        now_us = self._clock_us()
        if marks & TRYING and status != STATUS_TRYING:
            trying_us = int(self._sip.recall(f"trying{number}"))
            self._facts.put("beyond", attempt.key, trying_us - attempt.sent_us, now_us - attempt.sent_us)
            marks -= TRYING
        if not marks & ANSWERED:
            marks = self._first_reply(attempt, number, marks, status, now_us)
        elif status >= FIRST_FINAL:
            marks = self._final_reply(attempt, status, now_us)
        if status < 300:
            self._prepare_for_more(attempt, status)
        return marks

    def _prepare_for_more(self, attempt: Attempt, status: int) -> None:
        """Wait for a final reply, or for what comes within the dialog that this one begins."""
        sip = self._sip
        method = sip.method()
        if status >= FIRST_FINAL:
            if method in DIALOG_FORMING:
                self._dialogs.note(sip.call_id(), attempt.uri, keep=method != "INVITE")
        elif method != "INVITE":
            sip.await_final()

    def _first_reply(self, attempt: Attempt, number: int, marks: int, status: int, now_us: int) -> int:
        """Count the reply to an attempt that had none that counts."""
        entry = self._picker.entry(attempt.key)
        if status == STATUS_TRYING and entry is not None and entry.beyond_100:
            return marks | self._trying(number, marks, now_us)
        elapsed_us = now_us - attempt.sent_us
        wait = self._retry_after() if status == SERVICE_UNAVAILABLE else NO_WAIT
        self._facts.put("answer", attempt.key, elapsed_us, attempt.in_flight, status, wait)
        self._release(attempt, entry, now_us, failed=status >= 500 and of_status(status).failed)
        if status >= FIRST_FINAL:
            return ENDED
        return ANSWERED | (self._trying(number, marks, now_us) if status == STATUS_TRYING else 0)

    def _trying(self, number: int, marks: int, now_us: int) -> int:
        """Note when a 100 came, of which only the first is timed."""
        if not marks & TRYING:
            self._sip.remember(f"trying{number}", str(now_us))
        return TRYING

    def _final_reply(self, attempt: Attempt, status: int, now_us: int) -> int:
        """Count how an attempt ended that was answered provisionally before; a failure takes a place again."""
        wait = self._retry_after() if status == SERVICE_UNAVAILABLE else NO_WAIT
        self._facts.put("final", attempt.key, status, wait)
        if of_status(status).failed:
            self._in_force.snapshot()  # a destination that has left takes no place: nobody would sweep it
            entry = self._picker.entry(attempt.key)
            if entry is not None and entry.holds:
                self._in_flight.enter(attempt.key, now_us)
        return ENDED

    def _release(self, attempt: Attempt, entry: Entry | None, now_us: int, *, failed: bool) -> None:
        """Give an attempt's place back; that of a failed one is held where failures count as load."""
        if failed and (entry is None or entry.holds):
            return  # the sweep frees it
        self._in_flight.leave(attempt.key, attempt.sent_us, now_us, attempt.no_response_s)

    def _retry_after(self) -> str:
        """Return a 503's Retry-After as a fact's field: its text without spaces."""
        return self._sip.header("Retry-After").replace(" ", "")[:32] or NO_WAIT
