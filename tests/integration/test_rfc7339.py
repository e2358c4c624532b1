"""RFC 7339 between real servers: the control node towards its destinations, and towards its own upstream."""

import re
import socket
import time

import pytest

from lab.parts import why
from lab.process import await_condition, free_port
from tests.integration.playing import CARRIES_LISTS, SETTINGS, dialog_of, oc_of, route_of, set_up, tell
from tests.integration.sip_peer import OFFER, Message, ok, parameters, reply

OURS = {"oc": "", "oc-algo": "loss,rate" if CARRIES_LISTS else "loss"}


# --- client ---


def test_c1_c2_every_request_to_a_destination_offers_and_says_nothing_else(bench, peers):
    """INVITE, the second attempt after 503, ACK and BYE; nothing towards the caller."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    bench.client.hset("steelyard:{1}:priority", destinations[1].uri, 1)
    servers[0].status = 503
    destinations[1].answers = lambda m: (
        () if m.method == "ACK" else [reply(m, 200, f"Contact: <sip:b@127.0.0.1:{destinations[1].port}>")]
    )
    await_condition(lambda: "waits until" in why(bench.client, destinations[1].uri).get("reason", ""), "second tier")
    answer = caller.ask(node.port, "INVITE")
    dialog, route = dialog_of(answer), route_of(answer)
    caller.send(node.port, "ACK", route, uri=destinations[1].uri, **dialog)
    caller.ask(node.port, "BYE", route, uri=destinations[1].uri, cseq="2", **dialog)
    await_condition(lambda: destinations[1].requests("ACK"), "ACK")
    seen = [destinations[0].requests("INVITE"), *(destinations[1].requests(m) for m in ("INVITE", "ACK", "BYE"))]
    assert [1, 1, 1, 1] == [len(each) for each in seen]
    assert [OURS] * 4 == [parameters(each[0].via) for each in seen]
    bye = f"BYE sip:peer@127.0.0.1:{caller.port}"
    destinations[1].send(node.port, "BYE", route, uri=bye.split()[1], to="<sip:x@y>;tag=1", call_id=dialog["call_id"])
    await_condition(lambda: caller.requests("BYE"), "BYE to the caller")
    assert {} == parameters(caller.requests("BYE")[0].via)


def test_c3_the_offer_stays_the_same_after_an_algorithm_was_chosen(bench, peers):
    """All that is supported, in every request."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(0, 1)
    for _ in range(3):
        caller.ask(node.port)
    assert [OURS] * 3 == [parameters(m.via) for m in destinations[0].requests("MESSAGE")]


def test_c4_a_destination_that_sends_the_offer_back_is_not_throttled(bench, peers):
    """It does not support overload control."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    assert [200] * 20 == caller.ask_many(node.port, 20)
    assert "" == oc_of(node, destinations[0])


def test_c5_numbers_decide_what_is_news(bench, peers):
    """Equal and older ones are ignored; one that is far behind is a server that began anew, one without is news."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    seen = []
    for oc, seq in ((1, "1000.5"), (2, "1000.5"), (3, "999.9"), (4, "1000.6"), (5, "2.1"), (6, None), (7, "2.2")):
        number = "" if seq is None else f";oc-seq={seq}"
        servers[0].feedback = f';oc={oc};oc-algo="loss";oc-validity=60000{number}'
        tell(node, destinations[0], caller)
        seen.append(oc_of(node, destinations[0]))
    assert ["1", "1", "1", "4", "5", "6", "7"] == seen


def test_c6_validity_is_half_a_second_unless_it_is_said(bench, peers):
    """0 ends it at once; one without a value of oc is disregarded."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    address = f"127.0.0.1:{destinations[0].port}"

    def until_us() -> int:
        return int(node.rpc("htable.get", "overload", address).split("value: ")[1].split()[3])

    servers[0].feedback = ';oc=10;oc-algo="loss";oc-seq=1.1'
    before_us = time.monotonic_ns() // 1000
    caller.ask(node.port)
    assert 500_000 <= until_us() - before_us <= 500_000 + (time.monotonic_ns() // 1000 - before_us)
    servers[0].ask(30, 2)
    tell(node, destinations[0], caller)
    servers[0].feedback = ';oc;oc-algo="loss";oc-validity=90000;oc-seq=3.1'
    tell(node, destinations[0], caller)
    assert "30" == oc_of(node, destinations[0])
    servers[0].feedback = ';oc=99;oc-algo="loss";oc-validity=0;oc-seq=4.1'
    tell(node, destinations[0], caller)
    assert "" == oc_of(node, destinations[0])
    assert [200] * 20 == caller.ask_many(node.port, 20)


def test_c7_when_its_time_is_over_nothing_is_shed(bench, peers):
    """And nothing of it is remembered."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(100, 5, validity_ms=700)
    caller.ask(node.port)
    servers[0].feedback = None
    assert 503 in caller.ask_many(node.port, 10)
    await_condition(lambda: caller.ask(node.port).status == 200, "the end of it", 5)
    servers[0].ask(20, 4)  # an older number, of which nothing is known any more
    tell(node, destinations[0], caller)
    assert "20" == oc_of(node, destinations[0])


@pytest.mark.parametrize("oc", [30, 70])
def test_c8_all_workers_together_send_no_more_than_they_may(bench, peers, oc):
    """From the next request on, within three standard deviations of what a lot would give."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    caller.ask_many(node.port, 40)
    servers[0].ask(oc, 1, validity_ms=60_000)
    caller.ask(node.port)
    statuses = caller.ask_many(node.port, 400)
    await_condition(lambda: why(bench.client, destinations[0].uri).get("oc") == f"{oc} % fewer requests", "in `why`")
    # Of the ordinary share, which is 80 % until it has been measured, and nearly all of them then.
    shed = statuses.count(503) / 400
    assert oc / 100 - 0.07 <= shed <= min(oc / 80, 1) + 0.07


def test_c9_what_one_sheds_goes_to_another_and_only_then_is_refused(bench, peers):
    """To one that asks for nothing; where both do, 503 without Retry-After."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    servers[0].ask(100, 1, validity_ms=60_000)
    tell(node, destinations[0], caller)
    before = len(destinations[0].requests("MESSAGE"))
    assert [200] * 100 == caller.ask_many(node.port, 100)
    assert before == len(destinations[0].requests("MESSAGE"))
    servers[1].ask(100, 1, validity_ms=60_000)
    tell(node, destinations[1], caller)
    answers = [caller.ask(node.port) for _ in range(5)]
    assert [(503, "")] * 5 == [(answer.status, answer.header("Retry-After")) for answer in answers]


def test_c10_emergencies_priorities_and_calls_in_progress_come_last(bench, peers):
    """While 75 of 100 are shed, none of them is; ordinary ones are."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(75, 1, validity_ms=60_000)
    caller.ask(node.port)
    assert [200] * 30 == caller.ask_many(node.port, 30, uri="urn:service:sos")
    assert [200] * 30 == caller.ask_many(node.port, 30, "Resource-Priority: ets.0")
    assert [200] * 10 == [
        caller.ask(
            node.port, "INFO", f"Route: <sip:127.0.0.1:{node.port};lr>", uri=destinations[0].uri, to="<sip:a@b>;tag=2"
        ).status
        for _ in range(10)
    ]
    assert caller.ask_many(node.port, 60).count(503) > 30


def test_c10_ack_and_cancel_are_never_shed(bench, peers):
    """Whatever is asked for."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    destinations[0].answers = lambda m: [reply(m, 180)] if m.method == "INVITE" else ok(m)
    call_id = caller.send(node.port, "INVITE", branch="z9hG4bK-c10")
    await_condition(lambda: any(m.status == 180 for m in caller.responses(call_id)), "ringing")
    destinations[0].answers = servers[0]
    servers[0].ask(100, 1, validity_ms=60_000)
    caller.ask(node.port)
    caller.send(node.port, "CANCEL", call_id=call_id, branch="z9hG4bK-c10")
    await_condition(lambda: destinations[0].requests("CANCEL"), "CANCEL")
    caller.send(
        node.port, "ACK", f"Route: <sip:127.0.0.1:{node.port};lr>", uri=destinations[0].uri, to="<sip:a@b>;tag=2"
    )
    await_condition(lambda: destinations[0].requests("ACK"), "ACK")


def test_c11_what_others_said_is_taken_out_of_a_response(bench, peers):
    """A server's words end at its neighbour."""

    def leaky(request: Message) -> list[str]:
        text = reply(request, 200, feedback=";oc=0;oc-validity=0")
        return [re.sub(r"(Via: SIP/2.0/UDP 127.0.0.1:\d+;branch=z9hG4bK-[^\r]*)", r"\1;oc=55;oc-validity=900", text)]

    destination, caller = peers(leaky), peers()
    node = bench.control([destination.uri], settings=SETTINGS)
    assert {} == parameters(caller.ask(node.port).via)


def test_c12_an_upstreams_offer_is_not_forwarded(bench, peers):
    """It is between the two of us, and is answered by us."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, via=OFFER)
    [request] = destinations[0].requests("MESSAGE")
    assert [OURS, {}] == [parameters(via) for via in request.headers("Via")]
    assert ("0", "0") == (parameters(answer.via)["oc"], parameters(answer.via)["oc-validity"])


def test_c13_a_silent_destination_is_left_alone_asked_ever_less_often_and_comes_back(bench, peers):
    """Repeated timeouts stop the sending; one good answer after another begins it again."""
    settings = {"probe_method": "options", "probe_timeout_s": "0.2", "fall": "2", "rise": "1"}
    node, _, destinations, caller = set_up(bench, peers, 2, **settings)
    destinations[0].answers = lambda _: ()
    await_condition(lambda: "down" in bench.event_kinds(), "down")
    before = len(destinations[0].requests("MESSAGE"))
    assert [200] * 20 == caller.ask_many(node.port, 20)
    assert before == len(destinations[0].requests("MESSAGE"))
    pings = len(destinations[0].requests("OPTIONS"))
    await_condition(lambda: len(destinations[0].requests("OPTIONS")) > pings + 1, "probes go on", 15)
    destinations[0].answers = ok
    await_condition(lambda: "up" in bench.event_kinds(), "up", 15)


@pytest.mark.parametrize("status", [180, 200, 404, 503])
def test_c14_any_response_is_heard(bench, peers, status):
    """Provisional, good or bad."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].ask(25, 1)
    servers[0].status = status
    caller.send(node.port, "INVITE")
    await_condition(lambda: oc_of(node, destinations[0]) == "25", "heard")


@pytest.mark.parametrize(
    "text", ["oc=101", "oc=-1", 'oc=5;oc-algo="window"', f"oc=5;oc-seq={'9' * 40}", "oc=5;oc=6", "oc=5;oc-validity=x"]
)
def test_feedback_that_cannot_be_is_disregarded_and_named_once(bench, peers, text):
    """Nothing is shed for it."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].feedback = f";{text}"
    assert [200] * 10 == caller.ask_many(node.port, 10)
    assert "" == oc_of(node, destinations[0])
    await_condition(lambda: "feedback refused" in bench.event_kinds(), "told")
    assert [True] == [
        str(destinations[0].port) in e["reason"] for e in bench.events() if e["kind"] == "feedback refused"
    ]


@pytest.mark.skipif(not CARRIES_LISTS, reason="this Kamailio cannot carry a second algorithm: only loss is offered")
def test_a_rate_is_kept_by_all_workers_together(bench, peers):
    """RFC 7415: twenty a second, whatever comes."""
    node, servers, destinations, caller = set_up(bench, peers, 1)
    servers[0].feedback = ';oc=20;oc-algo="rate";oc-validity=60000;oc-seq=1.1'
    tell(node, destinations[0], caller)
    began_s, before = time.monotonic(), len(destinations[0].requests("MESSAGE"))
    statuses = []
    while time.monotonic() - began_s < 5:
        statuses += caller.ask_many(node.port, 20)
    passed = len(destinations[0].requests("MESSAGE")) - before
    assert 20 * (time.monotonic() - began_s) == pytest.approx(passed, rel=0.2)
    assert statuses.count(503) > 0


def test_overload_control_can_be_switched_off(bench, peers):
    """For one destination; nothing is offered to it and nothing is heard."""
    node, servers, destinations, caller = set_up(bench, peers, 1, overload_control="off")
    servers[0].feedback = None
    caller.ask(node.port)
    assert {} == parameters(destinations[0].requests("MESSAGE")[0].via)


# --- server: towards our own upstream ---


def test_s1_s3_upstream_is_told_of_no_overload_while_one_destination_is_free(bench, peers):
    """And of the mean once all of them ask for less; s6: and of its end."""
    node, servers, destinations, caller = set_up(bench, peers, 2)
    servers[0].ask(60, 1, validity_ms=60_000)
    tell(node, destinations[0], caller)
    for _ in range(3):
        assert "0" == parameters(caller.ask(node.port, via=OFFER).via)["oc"]
    servers[1].ask(40, 1, validity_ms=60_000)
    tell(node, destinations[1], caller)
    await_condition(lambda: parameters(caller.ask(node.port, via=OFFER).via)["oc"] == "50", "told")
    said = parameters(caller.ask(node.port, via=OFFER).via)
    assert ("loss", "1000") == (said["oc-algo"], said["oc-validity"])
    assert re.fullmatch(r"\d+\.\d{5}", said["oc-seq"])
    for server in servers:
        server.feedback = ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=9.00001'
    await_condition(lambda: parameters(caller.ask(node.port, via=OFFER).via)["oc-validity"] == "0", "over")
    assert float(said["oc-seq"]) < float(parameters(caller.ask(node.port, via=OFFER).via)["oc-seq"])


def test_s1_our_own_answers_carry_it_too(bench, peers):
    """A ping of the upstream's, a refusal, and what has no destination."""
    node, _, _, caller = set_up(bench, peers, 1)
    for answer in (
        caller.ask(node.port, "OPTIONS", via=OFFER, uri=f"sip:127.0.0.1:{node.port}"),
        caller.ask(node.port, "MESSAGE", "Max-Forwards: 0", via=OFFER),
        caller.ask(node.port, "BYE", via=OFFER, to="<sip:a@b>;tag=9"),
    ):
        assert "0" == parameters(answer.via).get("oc"), answer.text


# --- what Kamailio 5.6.3 cannot read ---


def test_a_via_with_a_comma_between_quotes_loses_nobody(bench, peers):
    """An upstream that offers two algorithms, in a request and, sent back by the destination, in the response."""
    node, _, destinations, caller = set_up(bench, peers, 1)
    answer = caller.ask(node.port, via=';oc;oc-algo="loss,rate"')
    assert (200, "0") == (answer.status, parameters(answer.via)["oc"])
    destinations[0].answers = lambda m: [reply(m, 200, feedback=';oc=0;oc-algo="loss,rate";oc-validity=0')]
    assert 200 == caller.ask(node.port).status


def test_a_via_with_a_comma_between_quotes_loses_nobody_by_tcp(bench, peers):
    """Where the whole connection would be closed."""
    destination = peers()
    node = bench.control([destination.uri], settings=SETTINGS, tcp=True)
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as connection:
        for number in range(2):
            connection.sendall(
                f"MESSAGE sip:service@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:{free_port()};"
                f'branch=z9hG4bK-tcp{number};oc;oc-algo="loss,rate"\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\n'
                f"Call-ID: tcp{number}\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n".encode()
            )
            assert b"SIP/2.0 200" in connection.recv(4096)
