"""
The callbacks of the SIP workers: read facts, ask the picker, act.

    request --> checks --> in a dialog? follow its Route --> else pick, take a place, relay
            --> asked to keep requests from it? another one that does not ask so
    reply   --> first one? give the place back, file its time and outcome
    failure --> 503, silence, not sent? pick another one not yet tried --> none left? one final answer

Never touches Redis, never waits. Does not know how weights come about.
"""

from collections.abc import Callable
from typing import Final

from ..core.destination import address_of
from ..core.feedback import offers_loss
from ..core.load_report import QUERY_HEADER, REPORT_HEADER
from ..core.outcome import SERVICE_UNAVAILABLE
from ..core.picker import Picker
from ..core.priority import is_priority
from ..core.snapshot import Entry, Snapshot
from .accounts import Accounts
from .gate import Gate, heed
from .in_force import InForce
from .kamailio import DIALOG_FORMING, VIA, Kamailio
from .shared import Board, Dialogs, Facts, InFlight, Load
from .within_dialog import WithinDialog

NOT_DIALOG_STARTING: Final = frozenset({"ACK", "BYE", "PRACK", "UPDATE", "INFO"})


class Router:
    """What one worker does with requests and replies."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        board: Board,
        in_flight: InFlight,
        facts: Facts,
        dialogs: Dialogs,
        picker: Picker,
        gate: Gate,
        load: Load,
        clock_us: Callable[[], int],
    ) -> None:
        """Take the adapters, the picker, the gate, our own load and the monotonic clock in microseconds."""
        self._sip = kamailio
        self._in_flight = in_flight
        self._facts = facts
        self._picker = picker
        self._gate = gate
        self._load = load
        self._in_force = InForce(kamailio, board, picker, gate)
        self._accounts = Accounts(kamailio, self._in_force, picker, in_flight, facts, dialogs, clock_us)
        self._within_dialog = WithinDialog(kamailio, self._in_force, gate, dialogs)

    # --- requests ---

    def on_request(self) -> None:
        """Serve one request from the network."""
        sip = self._sip
        if not sip.is_readable():
            sip.answer(400, "Bad Request")
            return
        method = sip.method()
        self._announce()
        if not sip.hops_left():
            if method != "ACK":
                sip.answer(483, "Too Many Hops")
            return
        if not sip.is_sane():
            return
        self._strip_load()
        if method == "CANCEL":
            self._cancel()
        elif sip.in_dialog():
            self._within_dialog.on_request(method)
        elif not sip.is_absorbed():
            self._new_request(method)

    def on_new_call(self) -> None:
        """
        Go on with an INVITE where kamailio.cfg leaves off: as on_new_request does, by the shortest way.

        Besides what holds there it has no priority and is readable, so that nothing of it has to be read here.
        """
        snapshot = self._in_force.snapshot()
        self._gate.on_request(priority=False)
        first = self._picker.pick(self._in_flight.count)
        if not self._sip.begin():
            return
        if first is None or not self._send_to_another([], snapshot, priority=False, first=first):
            self._refuse("INVITE", snapshot)

    def on_new_request(self) -> None:
        """
        Go on with a request outside of dialogs where kamailio.cfg leaves off.

        It is checked, no retransmission and prepared to be sent on, and nobody is in overload.
        """
        if self._sip.is_readable():
            self._new_request(self._sip.method(), prepared=True)
        else:
            self._sip.answer(400, "Bad Request")

    def on_request_without_route(self) -> None:
        """Go on with a request within a dialog that has no Route, where kamailio.cfg leaves off."""
        if not self._sip.is_readable():
            self._sip.answer(400, "Bad Request")
            return
        self._within_dialog.on_request_without_route(self._sip.method())

    def _announce(self) -> None:
        """Tell a client that offers to listen how overloaded all of the destinations are together."""
        sip = self._sip
        if offers_loss(sip.header(VIA)):
            _, parameters = self._load.overload()
            if parameters and sip.announce(parameters, forwarded=False):
                sip.remember("upstream", "1")

    def _strip_load(self) -> None:
        """Take load queries and reports out of what passes through: they are between neighbours."""
        sip = self._sip
        if sip.header(REPORT_HEADER):
            sip.remove_header(REPORT_HEADER)
            self._facts.put("stray", sip.source())
        if sip.header(QUERY_HEADER):
            sip.remove_header(QUERY_HEADER)

    def _cancel(self) -> None:
        if self._sip.matches_transaction():
            self._sip.relay()
        else:
            self._sip.answer(481, "Call/Transaction Does Not Exist")

    def _new_request(self, method: str, *, prepared: bool = False) -> None:
        sip = self._sip
        if method in NOT_DIALOG_STARTING:
            # An ACK for a negative answer has no To tag of ours only when a caller is broken; nothing can be answered.
            if method != "ACK":
                sip.answer(481, "Call/Transaction Does Not Exist")
            return
        if not prepared:
            sip.follow_route()
        snapshot = self._in_force.snapshot()
        if method == "OPTIONS" and sip.is_for_us():
            self._answer_ping(snapshot)
            return
        priority = self._is_priority()
        self._gate.on_request(priority=priority)
        first = self._picker.pick(self._in_flight.count) if prepared else self._choose([], priority=priority)
        if first is None and self._is_shed(snapshot):
            sip.answer(SERVICE_UNAVAILABLE, "Overload")  # without state: in an overload a refusal must cost little
            return
        if method in DIALOG_FORMING and not prepared:
            sip.record_route()
        if not sip.begin():
            return
        if first is None or not self._send_to_another([], snapshot, priority=priority, first=first):
            self._refuse(method, snapshot)

    def _is_priority(self) -> bool:
        sip = self._sip
        return is_priority(sip.request_uri(), sip.header("Resource-Priority"), in_dialog=False)

    def _is_shed(self, snapshot: Snapshot) -> bool:
        """Say whether it is for an overload that nobody takes a request: RFC 7339 section 5.10, no Retry-After."""
        return bool(snapshot.entries) and self._gate.is_anybody_in_overload()

    def _refuse(self, method: str, snapshot: Snapshot) -> None:
        if self._is_shed(snapshot):
            self._sip.answer_statefully(SERVICE_UNAVAILABLE, "Overload")  # counted by the gate; lines would be a flood
            return
        reason = snapshot.reason or "no destination could be sent to"
        self._sip.answer_statefully(SERVICE_UNAVAILABLE, "No Destination Available")
        self._sip.warn(f"{method} {self._sip.call_id()} answered 503: {reason}")

    def _answer_ping(self, snapshot: Snapshot) -> None:
        if snapshot.entries:
            self._sip.answer(200, "OK")
        else:
            self._sip.answer(SERVICE_UNAVAILABLE, "No Destination Available")

    def _choose(self, tried: list[str], *, priority: bool) -> Entry | None:
        """
        Pick a destination that lets the request pass.

        A request that one of them sheds goes to another that asks for nothing to be kept from it, so that the overload
        of one never makes that of another worse; where all ask so, only what has priority is offered to each of them.
        """
        picker, gate, in_flight = self._picker, self._gate, self._in_flight.count
        by_turns = gate.is_anybody_in_overload()
        entry = picker.pick(in_flight, tried, by_turns=by_turns)
        if (
            entry is None
            or not by_turns
            or not entry.overload_control
            or gate.lets_pass(entry.address, priority=priority)
        ):
            return entry
        excluded = [*tried, entry.key]
        other = picker.pick(in_flight, {*excluded, *gate.in_overload(self._in_force.controlled().values())})
        while other is None and priority:
            other = picker.pick(in_flight, excluded)
            if other is None or gate.lets_pass(other.address, priority=True):
                break
            excluded.append(other.key)
            other = None
        return other

    def _send_to_another(
        self, tried: list[str], snapshot: Snapshot, *, priority: bool, first: Entry | None = None
    ) -> bool:
        """
        Send the request to a destination not yet tried, to `first` if that has been chosen already.

        Returns:
            False when there is none left or none of them could be sent to.
        """
        sip = self._sip
        while len(tried) < snapshot.max_attempts:
            entry, first = first or self._choose(tried, priority=priority), None
            if entry is None:
                return False
            number = len(tried)
            tried.append(entry.key)
            if number:
                sip.renew()
            sip.point_to(entry.uri)
            if entry.overload_control:
                sip.offer_overload_control()
            elif number:
                sip.withhold_overload_control()
            sip.arm("ksr_reply", "ksr_failure", number, no_response_s=entry.no_response_s)
            self._accounts.open(entry, number)
            if sip.relay():
                return True
            self._accounts.silence(number)
            if sip.is_cancelled():
                return True
        return False

    # --- replies ---

    def on_reply(self, at_hand: str) -> None:
        """Note what a destination answered, and take what concerns nobody but us out of it."""
        attempt = self._accounts.on_reply(at_hand)
        if attempt is not None:
            self._heed(address_of(attempt.uri))

    def on_plain_reply(self, at_hand: str) -> None:
        """Note what a destination answered; nobody has said anything of load or overload in it."""
        self._accounts.on_reply(at_hand)

    def on_dialog_reply(self) -> None:
        """Pass overload control on from the reply to a request within a dialog."""
        self._heed(self._sip.was_sent_to())

    def _heed(self, address: str) -> None:
        """Take what concerns nobody but us out of a reply: overload control, and a load report nobody asked for."""
        sip = self._sip
        if address in self._in_force.controlled():
            heed(sip, self._gate, self._facts, address)
        sip.announce_in_reply(self._load.overload()[1] if sip.recall("upstream") else "")
        if sip.header(REPORT_HEADER):
            sip.remove_header(REPORT_HEADER)
            self._facts.put("stray", sip.source())

    # --- failures ---

    def on_failure(self) -> None:
        """Try another destination for a request that the last one could not take; runs when all branches have ended."""
        sip = self._sip
        attempts = self._accounts.attempts()
        if not attempts:
            return
        method = sip.method()
        last = len(attempts) - 1
        silent = self._accounts.was_silent(last)
        if self._accounts.is_open(last):
            self._accounts.silence(last)
        tried = [attempt.key for attempt in attempts]
        snapshot = self._in_force.snapshot()
        if sip.is_cancelled():
            return
        status = sip.failure_status()
        if not silent and status != SERVICE_UNAVAILABLE:
            return  # answered by somebody, or too late to reroute: RFC 3263 section 4.3
        if self._send_to_another(tried, snapshot, priority=self._is_priority()) or sip.is_cancelled():
            return
        if self._is_shed(snapshot):
            sip.answer_statefully(SERVICE_UNAVAILABLE, "Overload")
        elif not self._picker.has_left(tried):
            # Nobody is left who could take any request: the one case in which a proxy may say 503 (RFC 3261 16.7).
            sip.answer_statefully(SERVICE_UNAVAILABLE, "No Destination Answered")
        elif method != "INVITE" and silent:
            sip.answer_statefully(504, "Server Time-out")  # RFC 4320 forbids 408 here
