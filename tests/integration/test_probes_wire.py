"""What test_probes.py leaves open of INVITE probes: what servers do that accept, ring, fork or come too late."""

import re
import time

import pytest

from lab.parts import why
from lab.process import await_condition
from tests.integration.playing import INVITE, b2bua, proxy
from tests.integration.sip_peer import Message, Peer, reply


def accepting(peer: Peer, *lines: str, status: int = 200):
    """Answer an INVITE with these header lines, and everything else with 200."""

    def answers(request: Message) -> list[str]:
        if request.method == "ACK":
            return []
        contact = f"Contact: <sip:call@127.0.0.1:{peer.port}>"
        return [reply(request, status, contact, *lines) if request.method == "INVITE" else reply(request, 200)]

    return answers


@pytest.mark.xfail(strict=True, reason="prober.py reverses headers and not the hops within one")
def test_a_bye_follows_a_route_whose_hops_stand_in_one_header(bench, peers):
    """RFC 3261 sections 7.3.1 and 12.1.2: a list in one header is the same as several, and is reversed by its hops."""
    peer = peers()
    peer.answers = accepting(peer, "Record-Route: <sip:127.0.0.1:1;lr;hop=1>, <sip:127.0.0.1:1;lr;hop=2>")
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: peer.requests("BYE"), "BYE")
    bye = peer.requests("BYE")[0]
    assert ["2", "1"] == re.findall(r"hop=(\d)", " ".join(bye.headers("Route")))


def test_the_ack_of_an_accepted_probe_follows_the_recorded_route(bench, peers):
    """To the Contact, by the hops in their reverse order, like the BYE."""
    peer = peers(b2bua)
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: peer.requests("ACK"), "ACK")
    ack = peer.requests("ACK")[0]
    assert f"ACK sip:call@127.0.0.1:{peer.port} SIP/2.0" == ack.lines[0]
    assert ["2", "1"] == re.findall(r"hop=(\d)", " ".join(ack.headers("Route")))
    assert "1 ACK" == ack.header("CSeq")


@pytest.mark.xfail(strict=True, reason="ksr_local_request passes over BYE, and ACK is built by tm")
@pytest.mark.parametrize("method", ["ACK", "BYE"])
def test_c1_what_ends_an_accepted_probe_offers_too(bench, peers, method):
    """RFC 7339 section 4.1: every request to a destination does."""
    peer = peers(b2bua)
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: peer.requests(method), method)
    assert ";oc;oc-algo=" in peer.requests(method)[0].via


@pytest.mark.xfail(strict=True, reason="tm repeats the ACK of the first dialog for the second")
def test_each_dialog_of_a_probe_that_was_forked_is_ended(bench, peers):
    """Two answers with different tags are two dialogs, each with an ACK and a BYE of its own."""
    peer = peers()
    contact = f"Contact: <sip:call@127.0.0.1:{peer.port}>"

    def forked(request: Message) -> list[str]:
        if request.method == "INVITE":
            return [reply(request, 200, contact, tag="one"), reply(request, 200, contact, tag="two")]
        return [] if request.method == "ACK" else [reply(request, 200)]

    peer.answers = forked
    bench.control([peer.uri], settings=INVITE)

    def ended(method: str) -> set[str]:
        first = peer.requests("INVITE")[0].header("Call-ID") if peer.requests("INVITE") else ""
        seen = [m for m in list(peer.got) if m.method == method and m.header("Call-ID") == first]
        return {m.header("To").rpartition("tag=")[2] for m in seen}

    await_condition(lambda: {"one", "two"} == ended("BYE"), "two BYEs")
    await_condition(lambda: {"one", "two"} == ended("ACK"), "two ACKs", 3)


@pytest.mark.parametrize("provisional", [100, 180])
def test_a_call_accepted_when_its_probe_is_cancelled_is_ended(bench, peers, provisional):
    """CANCEL and 200 cross on the way: the call stands, and gets ACK and BYE."""
    peer = peers()
    contact = f"Contact: <sip:call@127.0.0.1:{peer.port}>"

    def late(request: Message) -> list[str]:
        if request.method == "INVITE":
            return [reply(request, provisional)]
        if request.method == "CANCEL":
            invite = next(m for m in peer.requests("INVITE") if m.header("Call-ID") == request.header("Call-ID"))
            return [reply(request, 200), reply(invite, 200, contact)]
        return [] if request.method == "ACK" else [reply(request, 200)]

    peer.answers = late
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: peer.requests("CANCEL"), "CANCEL")
    call_id = peer.requests("CANCEL")[0].header("Call-ID")
    for method in ("ACK", "BYE"):
        await_condition(lambda m=method: call_id in {r.header("Call-ID") for r in peer.requests(m)}, method, 5)


def test_a_call_accepted_after_its_probe_was_given_up_is_ended(bench, peers):
    """A server that is slower than the time limit leaves no call either."""
    peer = peers()
    contact = f"Contact: <sip:call@127.0.0.1:{peer.port}>"

    def slow(request: Message) -> list[str]:
        if request.method != "INVITE":
            return [] if request.method == "ACK" else [reply(request, 200)]
        probes = peer.requests("INVITE")
        return [reply(probes[0], 200, contact)] if len(probes) == 2 else []  # the first, when the second comes

    peer.answers = slow
    bench.control([peer.uri], settings={**INVITE, "probe_timeout_s": "0.3", "fall": "9"})
    await_condition(lambda: len(peer.requests("INVITE")) >= 2, "a second probe")
    call_id = peer.requests("INVITE")[0].header("Call-ID")
    for method in ("ACK", "BYE"):
        await_condition(lambda m=method: call_id in {r.header("Call-ID") for r in peer.requests(m)}, method, 5)


def test_an_invite_probe_asks_and_offers_nothing_where_that_is_switched_off(bench, peers):
    """Neither the query nor the offer, one by one."""
    no_query, no_offer = peers(proxy), peers(proxy)
    settings = {f"load_reports@{no_query.uri}": "off", f"overload_control@{no_offer.uri}": "off"}
    bench.control([no_query.uri, no_offer.uri], settings={**INVITE, **settings})
    await_condition(lambda: no_query.requests("INVITE") and no_offer.requests("INVITE"), "probes")
    probes = [peer.requests("INVITE")[-1] for peer in (no_query, no_offer)]
    assert ["", "TEXT"] == [probe.header("Endpoint-Load-Metrics-Request") for probe in probes]
    assert [True, False] == [";oc;oc-algo=" in probe.via for probe in probes]


@pytest.mark.parametrize("status", [302, 404, 486, 503, 603])
def test_any_final_answer_to_a_probe_is_a_sign_of_life(bench, peers, status):
    """It is acknowledged, and the destination is up."""
    peer = peers(lambda m: [] if m.method == "ACK" else [reply(m, status)])
    bench.control([peer.uri], settings={**INVITE, "fall": "1"})
    await_condition(lambda: len(peer.requests("ACK")) >= 2, "ACK")
    assert ("up", []) == (why(bench.client, peer.uri)["health"], peer.requests("CANCEL"))


def test_probes_of_many_destinations_leave_one_after_the_other(bench, peers):
    """Twenty, asked once a second, come in no burst: no fifth of a second has more than half of them."""
    arrivals: list[float] = []
    destinations = [
        peers(lambda m: (arrivals.append(time.monotonic()), proxy(m))[1] if m.method == "INVITE" else [])
        for _ in range(20)
    ]
    bench.control([peer.uri for peer in destinations], settings=INVITE)
    await_condition(lambda: len(arrivals) >= 80, "four rounds", 15)
    crowd = max(sum(start <= each < start + 0.2 for each in arrivals) for start in arrivals)
    assert crowd <= 10
