"""What test_rfc7339.py leaves open of RFC 7339, on the wire: other requests, other responses, other shapes of a Via."""

import re
import time

import pytest

from lab.parts import ControlNode, why
from lab.process import await_condition
from tests.integration.playing import CARRIES_LISTS, SETTINGS, Server, dialog_of, oc_of, route_of, set_up, tell
from tests.integration.sip_peer import OFFER, Message, Peer, TcpPeer, ok, parameters, reply

UNMENDED = pytest.mark.xfail(
    condition=not CARRIES_LISTS, strict=True, reason="kamailio.cfg does not mend this way of writing it"
)


def offers(message: Message) -> bool:
    """Say whether a request offers overload control in its topmost Via, and says nothing else of it."""
    said = parameters(message.via)
    return said.keys() == {"oc", "oc-algo"} and said["oc"] == "" and "loss" in said["oc-algo"]


# --- client ---


@pytest.mark.parametrize("method", ["INVITE", "UPDATE", "REFER"])
def test_c1_each_request_within_a_dialog_offers(bench, peers, method):
    """Whatever its method, towards the destination."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, "INVITE")
    caller.ask(node.port, method, route_of(answer), uri=destinations[0].uri, cseq="2", **dialog_of(answer))
    assert [True] * len(destinations[0].requests(method)) == [offers(m) for m in destinations[0].requests(method)]


@pytest.mark.xfail(strict=True, reason="router.py knows only who may be picked as under control")
@pytest.mark.parametrize("state", ["drain", "maint"])
def test_c1_c14_who_gets_no_new_calls_is_offered_to_and_heard_in_its_old_ones(bench, peers, state):
    """RFC 7339 section 5.3: overload control is of all requests to a server, also of those within its last dialogs."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, "INVITE")
    bench.client.hset("steelyard:{1}:state", destinations[0].uri, state)
    await_condition(lambda: why(bench.client, destinations[0].uri).get("state") == state, state)
    servers[0].ask(25, 1)
    caller.ask(node.port, "BYE", route_of(answer), uri=destinations[0].uri, cseq="2", **dialog_of(answer))
    assert offers(destinations[0].requests("BYE")[0])
    assert "25" == oc_of(node, destinations[0])


def test_c1_cancel_offers_in_the_via_of_its_invite(bench, peers):
    """RFC 3261 section 9.1: its only Via is the INVITE's topmost one."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    destinations[0].answers = lambda m: [reply(m, 180)] if m.method == "INVITE" else ok(m)
    call_id = caller.send(node.port, "INVITE", branch="z9hG4bK-c1")
    await_condition(lambda: any(m.status == 180 for m in caller.responses(call_id)), "ringing")
    caller.send(node.port, "CANCEL", call_id=call_id, branch="z9hG4bK-c1")
    await_condition(lambda: destinations[0].requests("CANCEL"), "CANCEL")
    assert destinations[0].requests("INVITE")[0].via == destinations[0].requests("CANCEL")[0].via


def test_c1_the_ack_of_a_refusal_offers_in_the_via_of_its_invite(bench, peers):
    """RFC 3261 section 17.1.1.3: its only Via is the INVITE's topmost one."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].status = 486
    caller.ask(node.port, "INVITE")
    await_condition(lambda: destinations[0].requests("ACK"), "ACK")
    assert destinations[0].requests("INVITE")[0].via == destinations[0].requests("ACK")[0].via


def test_c1_a_destination_by_tcp_is_offered_to_and_heard(bench, peers):
    """The transport makes no difference."""
    server = Server()
    destination, caller = peers(server, TcpPeer), peers()
    node = bench.control([destination.uri], settings=SETTINGS, tcp=True)
    server.ask(100, 1)
    assert 200 == caller.ask(node.port).status
    assert offers(destination.requests("MESSAGE")[0])
    assert ("100", 503) == (oc_of(node, destination), caller.ask(node.port).status)


def test_c2_what_an_upstream_says_in_its_request_is_not_said_on(bench, peers):
    """A request carries the offer alone, whatever a confused client wrote."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    caller.ask(node.port, via=';oc;oc-algo="loss";oc-validity=500;oc-seq=1.1')
    [request] = destinations[0].requests("MESSAGE")
    assert [True, {}] == [offers(request), parameters(request.headers("Via")[1])]


def test_c5_an_equal_number_does_not_prolong_what_is_in_force(bench, peers):
    """Its validity began with the first response of that number."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    address = f"127.0.0.1:{destinations[0].port}"

    def until_us() -> str:
        return node.rpc("htable.get", "overload", address).split("value: ")[1].split()[3]

    servers[0].ask(10, 1)
    tell(node, destinations[0], caller)
    first = until_us()
    tell(node, destinations[0], caller)
    assert first == until_us()


def test_c8_once_the_mix_is_known_the_part_is_exact(bench, peers):
    """Where all requests are ordinary, 40 of 100 are shed, and not 40 of the 80 that RFC 7339 begins with."""
    node, servers, destinations, caller = set_up(bench, peers, 1, tcp=False)
    began_s = time.monotonic()
    while time.monotonic() - began_s < 5.5:  # all workers have measured for five seconds
        caller.ask_many(node.port, 40)
    caller.ask_many(node.port, 200)
    servers[0].ask(40, 1)
    tell(node, destinations[0], caller)
    statuses = caller.ask_many(node.port, 500)
    assert 0.40 == pytest.approx(statuses.count(503) / 500, abs=3 * (0.4 * 0.6 / 500) ** 0.5)


def test_c9_what_is_shed_goes_to_the_next_tier_before_anybody_is_refused(bench, peers):
    """A destination of a higher priority number is one that can take it."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    bench.client.hset("steelyard:{1}:priority", destinations[1].uri, 1)
    await_condition(lambda: "waits until" in why(bench.client, destinations[1].uri).get("reason", ""), "second tier")
    servers[0].ask(100, 1)
    tell(node, destinations[0], caller)
    before = len(destinations[1].requests("MESSAGE"))
    assert [200] * 40 == caller.ask_many(node.port, 40)
    assert 40 == len(destinations[1].requests("MESSAGE")) - before


def test_c9_a_503_in_an_overload_is_tried_elsewhere_only_where_it_is_welcome(bench, peers):
    """RFC 5390's requirement 8: a second attempt never goes to one that wants nothing."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    servers[1].ask(100, 1)
    tell(node, destinations[1], caller)
    before = len(destinations[1].requests("INVITE"))
    servers[0].status = 503
    answers = [caller.ask(node.port, "INVITE") for _ in range(10)]
    assert before == len(destinations[1].requests("INVITE"))
    assert [""] * 10 == [answer.header("Retry-After") for answer in answers]
    assert all(answer.status in {500, 503} for answer in answers)


def test_c10_a_request_of_priority_is_still_served_when_all_are_in_overload(bench, peers):
    """An emergency finds the one that takes it."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    for number, server in enumerate(servers):
        server.ask(80, 1)
        tell(node, destinations[number], caller)
    assert [200] * 40 == caller.ask_many(node.port, 40, uri="urn:service:sos.fire")
    assert caller.ask_many(node.port, 100).count(503) > 60


@pytest.mark.parametrize(
    "control",
    ["on", "off"],
)
def test_c11_what_others_said_is_taken_out_of_a_response_within_a_dialog(bench, peers, control):
    """The answer to BYE, like that to INVITE, whether or not we offer to its sender."""
    node, _, destinations, caller = set_up(bench, peers, 1, overload_control=control)

    def leaky(request: Message) -> list[str]:
        contact = f"Contact: <sip:b@127.0.0.1:{destinations[0].port}>"
        text = reply(request, 200, contact)
        return (
            []
            if request.method == "ACK"
            else [re.sub(r"(Via: SIP/2.0/UDP 127.0.0.1:\d+;branch=z9hG4bK-[^\r]*)", r"\1;oc=55;oc-validity=900", text)]
        )

    destinations[0].answers = leaky
    answer = caller.ask(node.port, "INVITE")
    bye = caller.ask(node.port, "BYE", route_of(answer), uri=destinations[0].uri, cseq="2", **dialog_of(answer))
    assert [{}, {}] == [parameters(answer.via), parameters(bye.via)]


def test_c11_what_a_caller_says_is_taken_out_of_its_response_to_the_other_side(bench, peers):
    """A BYE from the called side, answered by the caller."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, "INVITE")

    def leaky(request: Message) -> list[str]:
        return [re.sub(r"(branch=z9hG4bK-[^\r]*)", r"\1;oc=55;oc-validity=900", reply(request, 200))]

    caller.answers = leaky
    bye = destinations[0].ask(
        node.port,
        "BYE",
        route_of(answer),
        uri=f"sip:peer@127.0.0.1:{caller.port}",
        to="<sip:peer@localhost>;tag=1",
        call_id=answer.header("Call-ID"),
    )
    assert (200, {}) == (bye.status, parameters(bye.via))


@pytest.mark.parametrize(
    "offer",
    [
        '; oc ; oc-algo = "loss"',
        ';OC;OC-Algo="LOSS"',
        ";rport;oc",
        ';oc-algo="loss";oc;rport',
        ';oc;oc-algo="loss, rate"',
        pytest.param(';oc;oc-algo = "loss,rate"', marks=UNMENDED),
        pytest.param(';oc;OC-ALGO="loss,rate"', marks=UNMENDED),
        ';oc;oc-algo="rate,loss"',
    ],
)
def test_c12_s1_an_offer_is_understood_in_every_way_of_writing_it(bench, peers, offer):
    """RFC 3261 section 7.3.1: names are the same in all cases, and space may stand around a separator."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    call_id = caller.send(node.port, via=offer)
    await_condition(lambda: caller.responses(call_id), "an answer", 3)
    [answer] = caller.responses(call_id)
    said = parameters(answer.via)
    assert (200, "0", "loss", "0") == (answer.status, said.get("oc"), said.get("oc-algo"), said.get("oc-validity"))
    assert {} == parameters(destinations[0].requests("MESSAGE")[0].headers("Via")[1])
    if "rport" in offer:
        assert f"rport={caller.port}" in answer.via


def test_c12_an_offer_in_a_request_within_a_dialog_is_not_forwarded_either(bench, peers):
    """ACK and BYE, and the CANCEL of a call."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, "INVITE", via=OFFER)
    fields = {"uri": destinations[0].uri, "via": OFFER, **dialog_of(answer)}
    caller.send(node.port, "ACK", route_of(answer), **fields)
    bye = caller.ask(node.port, "BYE", route_of(answer), cseq="2", **fields)
    await_condition(lambda: destinations[0].requests("ACK"), "ACK")
    for method in ("INVITE", "ACK", "BYE"):
        assert {} == parameters(destinations[0].requests(method)[0].headers("Via")[1]), method
    assert "0" == parameters(bye.via)["oc"]


@pytest.mark.parametrize("status", [100, 183, 302, 603])
def test_c14_every_class_of_response_to_an_invite_is_heard(bench, peers, status):
    """Also a 100 Trying that nothing follows."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(25, 1)
    servers[0].status = status
    caller.send(node.port, "INVITE")
    await_condition(lambda: oc_of(node, destinations[0]) == "25", "heard")


@pytest.mark.parametrize("method", ["options", "invite"])
def test_c14_the_answer_to_a_ping_or_probe_is_heard(bench, peers, method):
    """Without any call, so that who sheds all learns when it is over."""
    node, servers, destinations, caller = set_up(bench, peers, 1, probe_method=method)
    servers[0].status = 483 if method == "invite" else 200
    servers[0].ask(100, 1)
    await_condition(lambda: oc_of(node, destinations[0]) == "100", "heard")
    assert 503 == caller.ask(node.port).status
    servers[0].feedback = ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=2.1'
    servers[0].status = 200
    await_condition(lambda: caller.ask(node.port).status == 200, "the end of it", 5)


def test_c14_the_answer_to_a_request_within_a_dialog_is_heard(bench, peers):
    """BYE's 200."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, "INVITE")
    servers[0].ask(25, 1)
    caller.ask(node.port, "BYE", route_of(answer), uri=destinations[0].uri, cseq="2", **dialog_of(answer))
    assert "25" == oc_of(node, destinations[0])


def test_who_is_not_offered_to_is_not_heard(bench, peers):
    """`overload_control off`: what such a destination says all the same changes nothing, here or upstream."""
    node, _, destinations, caller = set_up(bench, peers, 1, overload_control="off")

    def unasked(request: Message) -> list[str]:
        text = reply(request, 200)
        return [re.sub(r"(Via: [^\r]*)", r'\1;oc=90;oc-algo="loss";oc-validity=60000;oc-seq=1.1', text, count=1)]

    destinations[0].answers = unasked
    assert [200] * 20 == caller.ask_many(node.port, 20)
    end_s = time.monotonic() + 1
    while time.monotonic() < end_s:
        assert "0" == parameters(caller.ask(node.port, via=OFFER).via)["oc"]
    assert ("", []) == (
        why(bench.client, destinations[0].uri)["oc"],
        [k for k in bench.event_kinds() if k == "overload"],
    )


# --- server: towards our own upstream ---


def in_overload(bench, peers, count: int = 1):
    """Set up a control node all of whose destinations ask for 50 % less, and that says so to its upstream."""
    node, servers, destinations, caller = set_up(bench, peers, count)
    for server, peer in zip(servers, destinations, strict=True):
        server.ask(50, 1)
        tell(node, peer, caller)
    await_condition(lambda: parameters(caller.ask(node.port, via=OFFER).via)["oc"] == "50", "told")
    return node, servers, destinations, caller


def test_s1_a_503_for_overload_says_how_much_to_shed(bench, peers):
    """The refusal too carries the value to who offered, and not to who did not."""
    node, _, _, caller = in_overload(bench, peers)
    answers = [caller.ask(node.port, via=OFFER) for _ in range(20)]
    assert {"50"} == {parameters(answer.via)["oc"] for answer in answers}
    assert {200, 503} == {answer.status for answer in answers}
    assert [{}] * 10 == [parameters(caller.ask(node.port).via) for _ in range(10)]


def test_s1_what_is_answered_for_a_silent_destination_says_it(bench, peers):
    """The answer after a timeout is ours."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    destinations[0].answers = lambda _: ()
    for method in ("INVITE", "MESSAGE"):
        answer = caller.ask(node.port, method, via=OFFER)
        assert (True, "0") == (answer.status >= 400, parameters(answer.via).get("oc")), answer.text


def test_s1_cancelled_calls_say_it(bench, peers):
    """In the answer to CANCEL and in the 487."""
    node, _, destinations, caller = set_up(bench, peers, 1)

    def ringing(request: Message) -> list[str]:
        if request.method == "CANCEL":
            return [reply(request, 200), reply(destinations[0].requests("INVITE")[0], 487)]
        return [reply(request, 180)] if request.method == "INVITE" else []

    destinations[0].answers = ringing
    call_id = caller.send(node.port, "INVITE", branch="z9hG4bK-s1", via=OFFER)
    await_condition(lambda: any(m.status == 180 for m in caller.responses(call_id)), "ringing")
    caller.send(node.port, "CANCEL", call_id=call_id, branch="z9hG4bK-s1", via=OFFER)
    await_condition(lambda: {200, 487} <= {m.status for m in caller.responses(call_id)}, "the end")
    said = {m.status: parameters(m.via).get("oc") for m in caller.responses(call_id)}
    assert {100: "0", 180: "0", 200: "0", 487: "0"} == said


def test_s2_one_algorithm_is_named_whatever_was_offered(bench, peers):
    """Loss, of a list as well."""
    node, _, _, caller = set_up(bench, peers, 1)
    assert "loss" == parameters(caller.ask(node.port, via=';oc;oc-algo="rate,loss,window"').via)["oc-algo"]


def test_s4_s5_the_value_is_renewed_with_a_larger_number(bench, peers):
    """For as long as the overload lasts, so that it does not expire at the upstream."""
    node, _, _, caller = in_overload(bench, peers)
    seen: list[tuple[int, ...]] = []

    def enough() -> bool:
        said = parameters(caller.ask(node.port, via=OFFER).via)
        assert ("50", "1000") == (said["oc"], said["oc-validity"])
        seen.append(tuple(map(int, said["oc-seq"].split("."))))
        return len(set(seen)) >= 4

    await_condition(enough, "three renewals", 6)
    assert seen == sorted(seen)


def test_s8_a_100_trying_and_what_follows_say_the_same(bench, peers):
    """RFC 7339 section 5.11."""
    node, _, _, caller = in_overload(bench, peers)
    for _ in range(10):
        answer = caller.ask(node.port, "INVITE", via=OFFER)
        if answer.status == 200:
            break
    responses = caller.responses(answer.header("Call-ID"))
    assert [100, 200] == [response.status for response in responses]
    assert ["50", "50"] == [parameters(response.via)["oc"] for response in responses]


def test_upstream_is_told_0_again_as_soon_as_one_can_take_more(bench, peers):
    """Of two in overload, one recovers."""
    node, servers, destinations, caller = in_overload(bench, peers, 2)
    servers[0].feedback = ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=9.1'
    tell(node, destinations[0], caller)
    await_condition(lambda: parameters(caller.ask(node.port, via=OFFER).via)["oc"] == "0", "told")


@pytest.mark.parametrize("form", ["comma", "header", "compact"])
def test_the_vias_below_the_upstreams_come_back_whole(bench, peers, form):
    """In one header or in two, by its long or its short name."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    lower = "SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-low;x=1"
    via, lines = OFFER, []
    if form == "comma":
        via = f"{OFFER}, {lower}"
    else:
        lines = [f"{'v' if form == 'compact' else 'Via'}: {lower}"]
    if form == "compact":  # the peer sends back only what it knows by its long name
        destinations[0].answers = lambda m: [reply(m, 200, f"v: {lower}")]
    answer = caller.ask(node.port, "MESSAGE", *lines, via=via)
    vias = [*answer.headers("Via"), *answer.headers("v")]
    assert re.search(r"^SIP/2\.0/UDP 127\.0\.0\.1:\d+;branch=z9hG4bK[^,]*;oc=0;oc-algo=\"loss\"", vias[0])
    assert ", ".join(vias).endswith(lower)
    [request] = destinations[0].requests("MESSAGE")
    below = ", ".join([*request.headers("Via"), *request.headers("v")][1:])
    assert re.fullmatch(rf"SIP/2\.0/UDP 127\.0\.0\.1:{caller.port};branch=[^;,]*, *{re.escape(lower)}", below)


# --- what Kamailio 5.6.3 cannot read ---


LISTS = ';oc;oc-algo="loss,rate"'


def send_rows(caller: Peer, node: ControlNode, *rows: str, body: str = "") -> list[Message]:
    """Send a MESSAGE of these headers beside its usual ones, which come last, and return the answers to it."""
    call_id = f"rows-{caller.port}"
    usual = ["From: <sip:a@b>;tag=1", "To: <sip:c@d>", "CSeq: 1 MESSAGE", "Max-Forwards: 70"]
    head = [f"MESSAGE sip:service@127.0.0.1:{node.port} SIP/2.0", *rows, *usual, f"Content-Length: {len(body)}"]
    if not any(row.startswith("Call-ID") for row in rows):
        head.insert(-1, f"Call-ID: {call_id}")
    text = "\r\n".join(head).replace("THIS-CALL", call_id) + "\r\n\r\n" + body
    caller._socket.sendto(text.encode(), ("127.0.0.1", node.port))
    await_condition(lambda: caller.responses(call_id), "an answer", 3)
    return caller.responses(call_id)


@pytest.mark.parametrize(
    "rows",
    [
        ("VIA-1", f"Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-low{LISTS}"),
        (f"VIA-1{LISTS}", f"Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-low{LISTS}"),
        (f"VIA-1, SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-low{LISTS}",),
        pytest.param(
            ("VIA-1", "Call-ID: THIS-CALL", f"Via: SIP/2.0/UDP 192.0.2.7:5070;branch=z9hG4bK-low{LISTS}"),
            marks=UNMENDED,
        ),
        pytest.param(("Call-ID: THIS-CALL", f"VIA-1{LISTS}"), marks=UNMENDED),
    ],
    ids=["lower", "both", "one header", "lower after the Call-ID", "top after the Call-ID"],
)
def test_a_comma_between_quotes_in_any_via_loses_nobody(bench, peers, rows):
    """Of a client two hops away as well; RFC 3261 section 7.3.1: headers of different names come in any order."""
    node, _, _, caller = set_up(bench, peers, 1)
    own = f"Via: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bK-rows"
    answers = send_rows(caller, node, *(row.replace("VIA-1", own) for row in rows))
    assert [200] == [message.status for message in answers]


@UNMENDED
def test_a_comma_between_quotes_leaves_a_body_and_its_length_as_they_are(bench, peers):
    """What is mended is the Via alone: a body may quote one, as that of a NOTIFY for a REFER does."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    body = 'SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;oc;oc-algo="loss,rate"\r\n'
    own = f"Via: SIP/2.0/UDP 127.0.0.1:{caller.port};branch=z9hG4bK-body{LISTS}"
    answers = send_rows(caller, node, own, "Content-Type: message/sipfrag", body=body)
    assert [200] == [message.status for message in answers]
    assert body == destinations[0].requests("MESSAGE")[0].text.partition("\r\n\r\n")[2]


def test_a_response_by_tcp_with_a_comma_between_quotes_is_not_lost(bench, peers):
    """From a destination that picks from a list by sending it back whole."""
    destination = peers(lambda m: [reply(m, 200, feedback=';oc=7;oc-algo="loss,rate"')], TcpPeer)
    caller = peers()
    node = bench.control([destination.uri], settings=SETTINGS, tcp=True)
    assert [200, 200] == [caller.ask(node.port).status for _ in range(2)]


@pytest.mark.parametrize("text", ["oc=101", "oc=-1", "oc=", "oc=5;oc-seq=1.123456"])
def test_feedback_that_cannot_be_leaves_what_was_in_force(bench, peers, text):
    """The last good one goes on until its time is over."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(20, 1)
    tell(node, destinations[0], caller)
    servers[0].feedback = f';{text};oc-algo="loss"'
    tell(node, destinations[0], caller)
    tell(node, destinations[0], caller)
    assert "20" == oc_of(node, destinations[0])
