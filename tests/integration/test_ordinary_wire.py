"""What kamailio.cfg serves by itself: requests within dialogs, and replies to calls."""

import re
import time

import pytest
from steelyard.edge.shared import ANSWER_TO_ACK_S

from lab.parts import why
from lab.process import await_condition
from tests.integration.playing import dialog_of, route_of, set_up
from tests.integration.sip_peer import Peer, reply


class Call:
    """A call that was answered, and what is sent within it."""

    def __init__(self, bench, peers) -> None:
        """Set up a destination that offers what it gets, and call it."""
        self.node, self.servers, self.destinations, self.caller = set_up(bench, peers, 1)
        self.destination: Peer = self.destinations[0]
        answer = self.caller.ask(self.node.port, "INVITE")
        self.fields = {"uri": self.destination.uri, **dialog_of(answer)}
        self.route = route_of(answer)

    def ask(self, method: str, *lines: str, **fields: str):
        """Send a request within the call and return its answer."""
        return self.caller.ask(self.node.port, method, self.route, *lines, **{"cseq": "2", **self.fields, **fields})

    def send(self, method: str, *lines: str, **fields: str) -> None:
        """Send a request within the call."""
        self.caller.send(self.node.port, method, self.route, *lines, **{"cseq": "2", **self.fields, **fields})


@pytest.fixture
def call(bench, peers) -> Call:
    """Return a call that was answered."""
    return Call(bench, peers)


def test_a_request_within_a_dialog_loses_a_hop_and_our_route(call):
    """As any proxy does it."""
    assert 200 == call.ask("INFO").status
    [info] = call.destination.requests("INFO")
    assert ["69"] == info.headers("Max-Forwards")
    assert [] == info.headers("Route")
    assert [] == info.headers("Record-Route")


def test_an_invite_within_a_dialog_is_routed_back_through_us(call):
    """For a peer that has lost its route set."""
    call.ask("INVITE")
    assert f":{call.node.port};" in call.destination.requests("INVITE")[1].header("Record-Route")


def test_a_request_without_hops_left_goes_no_further(call):
    """It is refused; an ACK is dropped, for it has no answer."""
    call.send("ACK", "Max-Forwards: 0")
    assert 483 == call.ask("INFO", "Max-Forwards: 0").status
    assert [] == [m for m in call.destination.got if m.method in ("ACK", "INFO")]


def test_a_request_that_is_not_sane_is_refused(call):
    """RFC 3261 section 16.3."""
    assert 420 == call.ask("INFO", "Proxy-Require: levitation").status


def test_a_retransmission_within_a_dialog_is_answered_and_not_sent_on(call):
    """By the transaction that the first one began."""
    for _ in range(3):
        assert 200 == call.ask("BYE", branch="z9hG4bK-again").status
    assert 1 == len([m for m in call.destination.got if m.method == "BYE"])


def test_a_request_whose_next_hop_cannot_be_found_is_answered_500(call):
    """At once: no timer runs."""
    assert 500 == call.ask("INFO", uri="sip:b@nowhere.invalid").status


def test_a_request_whose_route_leads_elsewhere_goes_there(call, peers):
    """Ours is taken off, the next one is followed."""
    other = peers()
    call.ask("INFO", f"Route: <sip:127.0.0.1:{other.port};lr>")
    assert 1 == len(other.requests("INFO"))
    assert "" == re.sub(r"SIP/2.0/UDP [^;]*;branch=[^;]*", "", other.requests("INFO")[0].via)  # nobody's offer


def test_what_is_no_plain_text_within_a_dialog_is_sent_on_as_it_is(call):
    """Nobody here has to read it."""
    assert 200 == call.ask("INFO", "Subject: Grüße", uri=f"sip:Grüße@127.0.0.1:{call.destination.port}").status


@pytest.mark.parametrize("statuses", [(200,), (180, 200), (100, 180, 200), (180, 183, 486), (404,), (100, 503), (500,)])
def test_a_reply_is_settled_whoever_does_it(bench, peers, statuses):
    """In kamailio.cfg or in Python: the place is given back, the answer is timed and counted once."""
    node, _, destinations, caller = set_up(bench, peers, 1, policy="adaptive")
    contact = f"Contact: <sip:b@127.0.0.1:{destinations[0].port}>"

    def answers(request):
        if request.method != "INVITE":
            return
        time.sleep(0.05)
        for status in statuses:
            yield reply(request, status, contact)

    destinations[0].answers = answers
    last = statuses[-1]
    assert [last] * 12 == [caller.ask(node.port, "INVITE").status for _ in range(12)]
    answered_ms = lambda: float(why(bench.client, destinations[0].uri).get("response_time_ms") or 0)  # noqa: E731
    if last < 500:
        await_condition(lambda: 50 <= answered_ms() < 100, "a response time")
        assert "0" == node.table("in_flight")["d1"]
    assert "ERROR" not in node.log


def test_a_call_without_route_is_known_for_as_long_as_its_ack_may_take(call):
    """And no longer: its note is no burden for the calls of two hours."""
    dump = call.node.rpc("htable.get", "dialogs", call.fields["call_id"])
    assert call.destination.uri in dump
    [expires] = re.findall(r"expire: (.*)", dump)
    left_s = time.mktime(time.strptime(expires, "%Y-%m-%d %H:%M:%S")) - time.time()
    assert ANSWER_TO_ACK_S - 5 <= left_s <= ANSWER_TO_ACK_S


def test_a_retransmitted_final_reply_is_counted_once(bench, peers):
    """Its attempt has ended."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    for server, peer in zip(servers, destinations, strict=True):
        peer.answers = lambda request, server=server: server(request) * 3
    for _ in range(6):
        assert 200 == caller.ask(node.port, "INVITE").status
    cells = node.table("in_flight")
    assert {"0"} == {cells["d1"], cells["d2"]}
