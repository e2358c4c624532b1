"""
Requests within a dialog: they go where their dialog is, and nobody is picked.

What is ordinary among them kamailio.cfg serves by itself, by the same steps; this is for the rest.
"""

from ..core.outcome import SERVICE_UNAVAILABLE
from .gate import Gate
from .in_force import InForce
from .kamailio import DIALOG_FORMING, Kamailio
from .shared import Dialogs


class WithinDialog:
    """What one worker does with requests within a dialog."""

    def __init__(self, kamailio: Kamailio, in_force: InForce, gate: Gate, dialogs: Dialogs) -> None:
        """Take the adapters, what the control process has published and the gate."""
        self._sip = kamailio
        self._in_force = in_force
        self._gate = gate
        self._dialogs = dialogs

    def on_request(self, method: str) -> None:
        """Serve a request that has been checked."""
        sip = self._sip
        if method != "ACK" and sip.is_absorbed():
            return
        if sip.follow_route():
            self._send_on(method)
        else:
            self.on_request_without_route(method)

    def on_request_without_route(self, method: str) -> None:
        """Serve a request that has been checked, is no retransmission, and that no Route has led here."""
        if self._follow_note(method):
            self._send_on(method)
        elif method == "ACK":
            # One for one of our own answers ends here; any other that belongs to no call is dropped.
            self._sip.matches_transaction()
        else:
            self._sip.answer(481, "Call/Transaction Does Not Exist")

    def _send_on(self, method: str) -> None:
        """Send a request within a dialog to where it points, unless overload control keeps it back."""
        sip = self._sip
        if method in DIALOG_FORMING:
            sip.record_route()  # RFC 3261 section 16.6, step 4: for a peer that has lost its route set
        if not self._may_follow(method):
            sip.answer(SERVICE_UNAVAILABLE, "Next Hop Overloaded")
            return
        if not sip.relay() and method != "ACK":
            sip.answer_statefully(500, "Next Hop Unreachable")

    def _may_follow(self, method: str) -> bool:
        """Apply overload control to a request that can only go where its dialog is; False when it is shed."""
        sip = self._sip
        address = sip.next_hop()
        controlled = address in self._in_force.controlled()
        if controlled and method != "ACK":
            self._gate.on_request(priority=True)
            if not self._gate.lets_pass(address, priority=True):
                return False
        if method != "ACK":
            sip.arm_dialog("ksr_dialog_reply")
        if controlled:
            sip.offer_overload_control(begun=False)
        return True

    def _follow_note(self, method: str) -> bool:
        """Point a request that names no Route to where its call was sent; False when no such call is known."""
        call_id = self._sip.call_id()
        uri = self._dialogs.find(call_id)
        if uri is None:
            return False
        self._sip.point_to(uri)
        # After BYE only what was overtaken by it is still on the way.
        self._dialogs.note(call_id, uri, keep=method != "BYE")
        return True
