"""
A proxy without any wishes of its own: relays a request to where it says, and stays in the dialog it begins.

What examples/downstream.cfg is beyond its load report. Knows no users and picks nothing.
"""

from .kamailio import DIALOG_FORMING, Kamailio


class PlainProxy:
    """What a worker does with a request."""

    def __init__(self, kamailio: Kamailio) -> None:
        """Take the message's reader."""
        self._sip = kamailio

    def on_request(self) -> None:
        """Serve one request."""
        sip = self._sip
        if not sip.is_readable():
            sip.answer(400, "Bad Request")
            return
        method = sip.method()
        if not sip.hops_left():
            self._refuse(483, "Too Many Hops")
        elif not sip.is_sane():
            return  # answered there
        elif method == "CANCEL":
            if sip.matches_transaction():
                sip.relay()
            else:
                sip.answer(481, "Call/Transaction Does Not Exist")
        elif not sip.is_absorbed():
            self._route(method)

    def _route(self, method: str) -> None:
        sip = self._sip
        led_here = sip.follow_route()
        if sip.in_dialog() and not led_here:
            self._refuse(481, "Call/Transaction Does Not Exist")
        elif sip.is_for_us():
            self._refuse(*((200, "OK") if method == "OPTIONS" else (404, "Not Found")))
        else:
            if method in DIALOG_FORMING:
                sip.record_route()
            sip.arm_dialog("ksr_reply")
            if not sip.relay():
                self._refuse(500, "Next Hop Unreachable")

    def _refuse(self, status: int, reason: str) -> None:
        """Answer a request; an ACK takes no answer."""
        if self._sip.method() != "ACK":
            self._sip.answer_statefully(status, reason)
