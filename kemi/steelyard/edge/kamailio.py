"""
Kamailio as the router sees it: read the message, answer, relay, arm the callbacks.

The only module besides `shared` and `mirror` that calls KSR functions; their return codes and names stop here.
Does not decide anything.
"""

from typing import Any, Final

# RFC 3261 section 16.6: a proxy that adds itself to the route of these stays in the dialog they begin.
DIALOG_FORMING: Final = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})

MAX_FORWARDS: Final = 70
# sanity module: URI scheme, required headers, CSeq method and value, Content-Length, Expires, Proxy-Require, URIs.
SANITY_MESSAGE: Final = 2 + 4 + 32 + 64 + 128 + 256 + 512 + 1024
SANITY_URIS: Final = 7  # Request-URI, From and To

TIMER_C_MS: Final = 190_000  # RFC 3261 section 16.6, step 11: more than three minutes
TIMER_F_MS: Final = 32_000  # RFC 3261 section 17.1.2.2: 64 x T1


class Kamailio:
    """The message at hand and what may be done with it."""

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401 - Kamailio's module has no types
        """Take Kamailio's API."""
        self._ksr = ksr
        self._pv = ksr.pv
        self._tm = ksr.tm

    # --- what the message says ---

    def method(self) -> str:
        """Return the method of the request, or of the reply's CSeq."""
        return self._pv.gete("$rm")

    def call_id(self) -> str:
        """Return the Call-ID, empty when the message has none."""
        return self._pv.gete("$ci")

    def request_uri(self) -> str:
        """Return the Request-URI."""
        return self._pv.gete("$ru")

    def in_dialog(self) -> bool:
        """Say whether the request carries a To tag."""
        return bool(self._pv.gete("$tt"))

    def is_for_us(self) -> bool:
        """Say whether the Request-URI is the control node itself and names no user."""
        return self._ksr.is_myself_ruri() and not self._pv.gete("$rU")

    def status(self) -> int:
        """Return the status code of the reply at hand."""
        return int(self._pv.get("$rs") or 0)

    def header(self, name: str) -> str:
        """Return the first header of that name, empty when there is none or it is no UTF-8."""
        try:
            return self._ksr.hdr.get(name) or ""
        except UnicodeDecodeError:
            return ""

    # --- rules that Kamailio's modules keep ---

    def hops_left(self) -> bool:
        """Count Max-Forwards down, adding it where it is missing; False when it was 0."""
        return self._ksr.maxfwd.process_maxfwd(MAX_FORWARDS) > 0

    def is_sane(self) -> bool:
        """Check what RFC 3261 section 16.3 asks; a request that fails has been answered."""
        return self._ksr.sanity.sanity_check(SANITY_MESSAGE, SANITY_URIS) > 0

    def is_readable(self) -> bool:
        """Say whether all that later steps read is UTF-8; by RFC 3261 it is ASCII."""
        try:
            for name in ("$rm", "$ci", "$ru", "$tt"):
                self._pv.gete(name)
        except UnicodeDecodeError:
            return False
        return True

    def matches_transaction(self) -> bool:
        """Say whether a CANCEL has its INVITE, or an ACK its call, in progress here."""
        return self._tm.t_check_trans() > 0

    def is_absorbed(self) -> bool:
        """Repeat the last answer for a retransmission, end the transaction for its ACK; True when that was all."""
        if self._ksr.tmx.t_precheck_trans() > 0:
            self._tm.t_check_trans()
            return True
        return self._tm.t_check_trans() == 0

    def follow_route(self) -> bool:
        """Take our own Route header off and say whether one led here."""
        return self._ksr.rr.loose_route() > 0

    def record_route(self) -> None:
        """Stay in the dialog that this request may begin."""
        self._ksr.rr.record_route()

    # --- what is done with it ---

    def answer(self, status: int, reason: str) -> None:
        """Answer a request without state."""
        self._ksr.sl.send_reply(status, reason)

    def answer_statefully(self, status: int, reason: str) -> None:
        """Answer the request of the transaction at hand, or begin one to do so."""
        self._tm.t_send_reply(status, reason)

    def relay(self) -> bool:
        """Send the request on to where it points; False when it could not be sent."""
        return self._tm.t_relay() > 0

    def point_to(self, uri: str) -> None:
        """Make `uri` the next hop."""
        self._ksr.setdsturi(uri)

    def begin(self) -> bool:
        """
        Begin the request's transaction; False when a worker beside us has just begun it.

        A request that cannot be sent then comes back to us and is not answered by the server.
        """
        if self._tm.t_newtran() <= 0:
            return False
        self._tm.t_set_disable_internal_reply(1)
        return True

    def renew(self) -> None:
        """Make the request one that may be sent once more: each attempt uses up its Request-URI."""
        self._ksr.seturi(self._pv.gete("$ru"))

    def arm(self, on_reply: str, on_failure: str, attempt: int, *, no_response_s: float) -> None:
        """Name the callbacks of the next attempt, its number and how long it may stay without any reply."""
        self._pv.seti("$bf", attempt)  # the branch's own flags: a branch number would skip attempts that got no branch
        self._tm.t_on_reply(on_reply)
        self._tm.t_on_failure(on_failure)
        self._tm.t_set_fr(TIMER_C_MS, int(no_response_s * 1000))

    def await_final(self) -> None:
        """Give a request that was answered provisionally its full time; for INVITE the server does so itself."""
        self._tm.t_set_fr(TIMER_C_MS, TIMER_F_MS)

    def arm_probe(self, on_reply: str, *, timeout_s: float) -> None:
        """Name the callback of the local request at hand and how long its answer is waited for."""
        self._tm.t_on_reply(on_reply)
        self._tm.t_set_fr(0, int(timeout_s * 1000))

    def drop(self) -> None:
        """Do not send the local request at hand."""
        self._ksr.set_drop()

    # --- what is remembered of a transaction ---

    def attempt(self) -> int:
        """Return the number of the attempt that the reply at hand answers, 0 for the first."""
        return int(self._pv.get("$bf") or 0)

    def remember(self, name: str, text: str) -> None:
        """Keep a text with the transaction; its name must be one of a few, for Kamailio never forgets a name."""
        self._pv.sets(f"$avp({name})", text)

    def recall(self, name: str) -> str:
        """Return what remember kept, empty when nothing."""
        return self._pv.gete(f"$avp({name})")

    def is_cancelled(self) -> bool:
        """Say whether the caller has cancelled the request."""
        return self._tm.t_is_canceled() > 0

    def failure_status(self) -> int:
        """Return the status of the branch that won in the failure route."""
        return int(self._pv.get("$T_reply_code") or 0)

    # --- logging ---

    def warn(self, text: str) -> None:
        """Log something an operator may have to act on."""
        self._ksr.warn(text + "\n")

    def notice(self, text: str) -> None:
        """Log a change of state."""
        self._ksr.notice(text + "\n")

    def error(self, text: str) -> None:
        """Log something an operator has to act on."""
        self._ksr.err(text + "\n")
