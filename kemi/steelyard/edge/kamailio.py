"""
Kamailio as the router sees it: read the message, answer, relay, arm the callbacks.

Besides `shared`, `mirror`, `reporter` and `rpc` the only module that calls KSR functions; their names and return codes
stop here. Does not decide anything.
"""

import re
from typing import Any, Final

from ..core.destination import address_of
from ..core.feedback import Algorithm, split_first, strip, write_offer

# RFC 3261 section 16.6: a proxy that adds itself to the route of these stays in the dialog they begin.
DIALOG_FORMING: Final = frozenset({"INVITE", "SUBSCRIBE", "REFER", "NOTIFY"})

MAX_FORWARDS: Final = 70
# sanity module: URI scheme, required headers, CSeq method and value, Content-Length, Expires, Proxy-Require, URIs.
SANITY_MESSAGE: Final = 2 + 4 + 32 + 64 + 128 + 256 + 512 + 1024
SANITY_URIS: Final = 7  # Request-URI, From and To

VIA: Final = "Via"
MAX_HEADERS: Final = 16  # of one name that are looked at
_OVERLOAD: Final = re.compile(r";\s*oc\b", re.IGNORECASE)  # in a Via: worth a closer look

TIMER_C_MS: Final = 190_000  # RFC 3261 section 16.6, step 11: more than three minutes
TIMER_F_MS: Final = 32_000  # RFC 3261 section 17.1.2.2: 64 x T1


class Kamailio:
    """The message at hand and what may be done with it."""

    def __init__(self, ksr: Any) -> None:  # noqa: ANN401 - Kamailio's module has no types
        """Take Kamailio's API."""
        self._ksr = ksr
        self._pv = ksr.pv
        self._tm = ksr.tm
        # One child with all of it: Kamailio writes several in the reverse order.
        name, _, self.offered = write_offer(self.algorithms()).lstrip(";").rpartition("=")
        self._offer = (name, self.offered)

    def algorithms(self) -> tuple[Algorithm, ...]:
        """
        Return the algorithms of overload control that this version of the server can carry.

        Before 5.8 it cannot read a Via with a comma between quotes, and a peer that knows nothing of all this sends our
        Via back as it was.
        """
        version = re.match(r"(\d+)\.(\d+)", self._pv.gete("$version(num)"))
        if version is not None and (int(version[1]), int(version[2])) >= (5, 8):
            return Algorithm.LOSS, Algorithm.RATE
        return (Algorithm.LOSS,)

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
        return bool(self.to_tag())

    def to_tag(self) -> str:
        """Return the To tag, empty when there is none."""
        return self._pv.gete("$tt")

    def contact_uri(self) -> str:
        """Return the URI of the first Contact, empty when there is none."""
        return self._pv.gete("$(ct{nameaddr.uri})")

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

    def headers(self, name: str) -> list[str]:
        """Return all headers of that name, in their order; those that are no UTF-8 as if they were empty."""
        found: list[str] = []
        while len(found) < MAX_HEADERS:
            text = self._header_at(name, len(found))
            if text is None:
                break
            found.append(text)
        return found

    def _header_at(self, name: str, number: int) -> str | None:
        """Return a header by its place among those of its name: empty when it is no UTF-8, None beyond the last."""
        try:
            text: str | None = self._ksr.hdr.get_idx(name, number)
        except UnicodeDecodeError:
            return ""
        return text

    def source(self) -> str:
        """Return the IP address that the message came from."""
        return self._pv.gete("$si")

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

    def take_passed(self) -> int:
        """Return how many requests kamailio.cfg has sent on in this worker, by itself and to controlled servers."""
        passed = int(self._pv.get("$var(passed)") or 0)
        self._pv.seti("$var(passed)", 0)
        return passed

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

    def next_hop(self) -> str:
        """Return the host:port that the request would be sent to now; a name stays a name."""
        return address_of(self._pv.gete("$nh(u)"))

    def was_sent_to(self) -> str:
        """Return the host:port that the request of the reply at hand was sent to."""
        return address_of(self._pv.gete("$T_req($nh(u))"))

    def point_to(self, uri: str) -> None:
        """Make `uri` the next hop."""
        self._ksr.setdsturi(uri)

    def begin(self) -> bool:
        """
        Begin the request's transaction; False when a worker beside us has just begun it.

        A request that cannot be sent then comes back to us and is not answered by the server.
        """
        self._ksr.pvx.xavp_child_sets("via", *self._offer)
        if self._tm.t_newtran() <= 0:
            return False
        self._tm.t_set_disable_internal_reply(1)
        return True

    def renew(self) -> None:
        """Make the request one that may be sent once more: each attempt uses up its Request-URI."""
        self._ksr.seturi(self._pv.gete("$ru"))

    def offer_overload_control(self, *, begun: bool = True) -> None:
        """Offer RFC 7339 in our Via of the request at hand; `begun` says whether begin() has prepared it."""
        if not begun:
            self._ksr.pvx.xavp_child_sets("via", *self._offer)
        self._ksr.corex.via_add_xavp_params(1)

    def withhold_overload_control(self) -> None:
        """Offer nothing in the next attempt, whatever the last one did."""
        self._ksr.corex.via_add_xavp_params(0)

    def announce(self, parameters: str, *, forwarded: bool) -> bool:
        """
        Have our own answers to the request at hand say this in the client's Via; first of all that is done with it.

        What is forwarded goes without it, unless `forwarded`: then answers from further on bring it back.

        Returns:
            False when the message could not be changed.
        """
        via, _ = split_first(self.header(VIA))
        self._ksr.textops.replace_hdrs_str(via, strip(via).rstrip() + parameters, "f")
        if self._ksr.textopsx.msg_apply_changes() < 0:
            return False
        if not forwarded:
            self._ksr.textops.replace_hdrs_str(parameters, "", "f")  # on the way out alone: answers read what came in
        return True

    def announce_in_reply(self, parameters: str) -> None:
        """Say this in the Via of the reply's next hop, and take what others said out of all that remain."""
        first, *bodies = self.headers(VIA) or [""]
        rest = split_first(first)[1] if "," in first else ""  # others in one header with ours
        if rest:
            bodies.insert(0, rest[1:])
        for place, body in enumerate(bodies):
            if place == 0 and parameters and body:
                top, others = split_first(body)
                self._ksr.textops.replace_hdrs_str(body, strip(top).rstrip() + parameters + strip(others), "f")
            elif _OVERLOAD.search(body):
                self._ksr.textops.replace_hdrs_str(body, strip(body), "f")

    def arm(self, on_reply: str, on_failure: str, attempt: int, *, no_response_s: float) -> None:
        """Name the callbacks of the next attempt, its number and how long it may stay without any reply."""
        if attempt:
            # The branch's own flags: a branch number would skip attempts that got no branch.
            self._pv.seti("$bf", attempt)
        self._tm.t_on_reply(on_reply)
        self._tm.t_on_failure(on_failure)
        self._tm.t_set_fr(TIMER_C_MS, int(no_response_s * 1000))

    def await_final(self) -> None:
        """Give a request that was answered provisionally its full time; for INVITE the server does so itself."""
        self._tm.t_set_fr(TIMER_C_MS, TIMER_F_MS)

    def arm_dialog(self, on_reply: str) -> None:
        """Name the callback for the replies to a request within a dialog."""
        self._tm.t_on_reply(on_reply)

    def arm_probe(self, on_reply: str, *, timeout_s: float) -> None:
        """Name the callback of the local request at hand and how long its answer is waited for."""
        self._tm.t_on_reply(on_reply)
        self._tm.t_set_fr(int(timeout_s * 1000), int(timeout_s * 1000))

    def append_header(self, line: str) -> None:
        """Add a header, `Name: value` with its line end, to the request at hand."""
        self._ksr.hdr.append(line)

    def append_to_reply(self, line: str) -> None:
        """Add a header, `Name: value` with its line end, to the answer to come."""
        self._ksr.hdr.append_to_reply(line)

    def remove_header(self, name: str) -> None:
        """Take all headers of that name out of what is sent on."""
        self._ksr.hdr.remove(name)

    def send(self, method: str, uri: str, next_hop: str, headers: str) -> bool:
        """Send a request of our own, with our callback for local requests run in between; False when it failed."""
        return self._tm.t_uac_send(method, uri, next_hop, "", headers, "") > 0

    # --- what is remembered of a transaction ---

    def remember(self, name: str, text: str) -> None:
        """Keep a text with the transaction; its name must be one of a few, for Kamailio never forgets a name."""
        self._pv.sets(f"$avp({name})", text)

    def recall(self, name: str) -> str:
        """Return what remember kept, empty when nothing."""
        return self._pv.gete(f"$avp({name})")

    def marks(self) -> int:
        """Return the number that mark kept with the transaction, 0 at first."""
        return int(self._pv.get("$mf") or 0)

    def mark(self, marks: int) -> None:
        """Keep a number of up to 32 bits with the transaction, at no cost in shared memory."""
        self._pv.seti("$mf", marks)

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
