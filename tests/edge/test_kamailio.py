"""The adapter to Kamailio: headers, next hops and what is said in Vias; c11 and the like are RFC 7339's rules."""

import pytest
from steelyard.edge.kamailio import MAX_HEADERS, Kamailio

from tests.edge.fake_sip import Message, Unsendable

OURS = "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"
CLIENT = "SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK2"
FIRST = "SIP/2.0/UDP 192.0.2.3;branch=z9hG4bK3"
OFFER = ';oc;oc-algo="loss"'
SAID = ';oc=20;oc-algo="loss";oc-validity=1000;oc-seq=5.00001'


@pytest.fixture
def sip(server) -> Kamailio:
    """Return the adapter."""
    return Kamailio(server.ksr)


# --- headers ---


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], []), (["a"], ["a"]), (["a", "b, c", "d"], ["a", "b, c", "d"]), (["x"] * 99, ["x"] * MAX_HEADERS)],
)
def test_headers_of_one_name_keep_their_order(server, sip, values, expected) -> None:
    """A limited number of them: anybody can send thousands."""
    with server.at_hand(Message(headers={"X-Many": values})):
        assert expected == sip.headers("x-many")


def test_a_header_that_is_no_utf8_is_as_if_empty(server, sip) -> None:
    """It must not stop what else there is to read."""
    with server.at_hand(Message(headers={"X-Bytes": "\udcff", "Subject": "x"})):
        assert ("", "x", "") == (sip.header("X-Bytes"), sip.header("Subject"), sip.header("X-Missing"))


@pytest.mark.parametrize(
    ("next_hop", "uri", "expected"),
    [
        ("", "sip:bob@192.0.2.9", "192.0.2.9:5060"),
        ("sip:192.0.2.1:5070;lr", "sip:bob@192.0.2.9", "192.0.2.1:5070"),
        ("", "sip:bob@Proxy.Example.com;transport=tcp", "proxy.example.com:5060"),
        ("sip:[2001:db8::1]", "sip:bob@192.0.2.9", "[2001:db8::1]:5060"),
    ],
)
def test_the_next_hop_is_where_the_request_would_go(server, sip, next_hop, uri, expected) -> None:
    """The Route's or the note's before the Request-URI's; by host and port."""
    with server.at_hand(Message(uri=uri)):
        if next_hop:
            sip.point_to(next_hop)
        assert expected == sip.next_hop()


def test_a_request_of_our_own_that_cannot_be_sent_is_told(server, sip) -> None:
    """By False."""
    server.script = type("Script", (), {"ksr_local_request": lambda *_: 1})()
    server.unsendable["sip:192.0.2.9"] = Unsendable.UNRESOLVED
    headers = "Call-ID: x\r\n"
    assert not sip.send("OPTIONS", "sip:192.0.2.9", "", headers)
    assert sip.send("OPTIONS", "sip:192.0.2.8", "", headers)


# --- what is said to a client ---


def answered_via(server) -> str:
    """Answer the request at hand, and return the client's Via as the answer has it."""
    server.ksr.sl.send_reply(200, "OK")
    return server.answers[-1].via


@pytest.mark.parametrize(
    ("via", "answered", "goes_on"),
    [
        (CLIENT + OFFER, CLIENT + SAID, CLIENT),
        (f"{CLIENT}{OFFER};rport", f"{CLIENT};rport{SAID}", f"{CLIENT};rport"),
        (f"{CLIENT}{OFFER} , {FIRST};oc=9", f"{CLIENT}{SAID}, {FIRST};oc=9", f"{CLIENT}, {FIRST};oc=9"),
    ],
)
def test_s1_an_answer_says_it_in_the_clients_own_via(server, sip, via, answered, goes_on) -> None:
    """C12: in place of the offer, which does not go on; other parameters and other Vias stay."""
    with server.at_hand(Message(headers={"Via": via})):
        assert sip.announce(SAID, forwarded=False)
        assert answered == answered_via(server)
        assert goes_on == server.outgoing_headers()["Via"]


def test_s1_what_is_said_may_go_on_for_replies_to_bring_it_back(server, sip) -> None:
    """Where nobody would put it into them."""
    with server.at_hand(Message(headers={"Via": [CLIENT + OFFER, FIRST]})):
        assert sip.announce(SAID, forwarded=True)
        assert [CLIENT + SAID, FIRST] == server.outgoing_headers()["Via"]


def test_a_message_that_cannot_be_changed_announces_nothing(server, sip) -> None:
    """And says so."""
    server.unchangeable = True
    with server.at_hand(Message(headers={"Via": CLIENT + OFFER})):
        assert not sip.announce(SAID, forwarded=False)


@pytest.mark.parametrize(
    ("vias", "parameters", "expected"),
    [
        ([OURS + SAID, CLIENT], "", [OURS + SAID, CLIENT]),
        ([OURS + SAID, CLIENT], SAID, [OURS + SAID, CLIENT + SAID]),
        ([OURS, CLIENT + OFFER, FIRST + SAID], SAID, [OURS, CLIENT + SAID, FIRST]),
        ([OURS, f"{CLIENT};oc=5, {FIRST};oc=6"], SAID, [OURS, f"{CLIENT}{SAID}, {FIRST}"]),
        ([f"{OURS};oc=4, {CLIENT};oc=5", f"{FIRST};oc=6"], "", [f"{OURS};oc=4, {CLIENT}", FIRST]),
        ([OURS, CLIENT, f"{FIRST};OC-Validity = 5 ;rport"], "", [OURS, CLIENT, f"{FIRST} ;rport"]),
        ([f'{OURS};oc-algo="loss,rate"', CLIENT], SAID, [f'{OURS};oc-algo="loss,rate"', CLIENT + SAID]),
    ],
)
def test_c11_a_reply_says_it_to_the_next_hop_alone(server, sip, vias, parameters, expected) -> None:
    """What others said is taken out of all Vias but our own, however they are spread over headers."""
    with server.at_hand(Message(status=200, headers={"Via": vias}), "reply"):
        sip.announce_in_reply(parameters)
        assert expected == server.outgoing_headers()["Via"]


@pytest.mark.parametrize("vias", [[OURS], [OURS, CLIENT, FIRST], [OURS, f"{CLIENT};octet=5", f"{FIRST};rport"]])
def test_a_reply_in_which_nobody_says_anything_is_left_as_it_is(server, sip, vias) -> None:
    """Not a byte is touched, and nothing is done for it."""
    with server.at_hand(Message(status=200, headers={"Via": vias}), "reply"):
        sip.announce_in_reply("")
        assert [] == server.lumps
