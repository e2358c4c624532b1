"""What test_reports.py leaves open of load reports: other carriers, other senders, other ways to be wrong."""

import re
import socket

import pytest

from lab.parts import effective, why
from lab.process import await_condition
from tests.integration.playing import GOOD, dialog_of, push, refused, reporting, route_of
from tests.integration.sip_peer import Message, TcpPeer, ok, reply


def test_a_report_in_the_483_to_an_invite_probe_is_taken(bench, peers):
    """Where OPTIONS is not asked at all."""
    peer = peers(lambda m: [reply(m, 483, f"Endpoint-Load-Metrics: {GOOD}")] if m.method == "INVITE" else [])
    bench.control([peer.uri], settings={"probe_method": "invite"})
    await_condition(lambda: why(bench.client, peer.uri).get("utilization") == "0.500", "a report")
    assert "sip" == why(bench.client, peer.uri)["report_source"]


def test_a_report_is_believed_only_from_the_address_that_was_asked(bench, peers):
    """One that comes from elsewhere is refused, by its source; it is a sign of life nevertheless."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as elsewhere:
        elsewhere.bind(("127.0.0.2", 0))

        def answers(request: Message) -> list[str]:
            port = int(re.search(r"127\.0\.0\.1:(\d+)", request.via)[1])
            elsewhere.sendto(reply(request, 200, f"Endpoint-Load-Metrics: {GOOD}").encode(), ("127.0.0.1", port))
            return []

        peer = peers(answers)
        bench.control([peer.uri])
        await_condition(lambda: int(why(bench.client, peer.uri).get("reports_refused") or 0) >= 2, "counted")
        await_condition(lambda: refused(bench), "told")
        assert ["the answer came from 127.0.0.2, which was not asked; told once"] == refused(bench)
        assert "" == why(bench.client, peer.uri)["utilization"]


@pytest.mark.parametrize(
    "control",
    ["on", "off"],
)
def test_a_report_in_the_answer_to_a_bye_is_removed(bench, peers, control):
    """In 180, in 200 and within the dialog, whether or not overload control is offered."""
    peer, caller = peers(), peers()

    lines = (f"Contact: <sip:b@127.0.0.1:{peer.port}>", f"Endpoint-Load-Metrics: {GOOD}")
    peer.answers = lambda m: {"INVITE": [reply(m, 180, *lines)], "BYE": [reply(m, 200, *lines)]}.get(m.method, [])
    node = bench.control([peer.uri], settings={"probe_method": "none", "overload_control": control})
    call_id = caller.send(node.port, "INVITE")
    await_condition(lambda: any(m.status == 180 for m in caller.responses(call_id)), "ringing")
    peer._socket.sendto(reply(peer.requests("INVITE")[0], 200, *lines).encode(), ("127.0.0.1", node.port))
    await_condition(lambda: any(m.status == 200 for m in caller.responses(call_id)), "the call")
    answer = caller.responses(call_id)[-1]
    caller.ask(node.port, "BYE", route_of(answer), uri=peer.uri, cseq="2", **dialog_of(answer))
    seen = caller.responses(answer.header("Call-ID"))
    assert {100, 180, 200} == {message.status for message in seen}
    assert {""} == {message.header("Endpoint-Load-Metrics") for message in seen}
    assert "" == why(bench.client, peer.uri)["utilization"]


def test_a_report_from_the_caller_within_a_dialog_is_removed(bench, peers):
    """In its answer to the other side's BYE."""
    peer, caller = peers(), peers()
    peer.answers = lambda m: [] if m.method == "ACK" else [reply(m, 200, f"Contact: <sip:b@127.0.0.1:{peer.port}>")]
    caller.answers = lambda m: [reply(m, 200, f"Endpoint-Load-Metrics: {GOOD}")]
    node = bench.control([peer.uri], settings={"probe_method": "none"})
    answer = caller.ask(node.port, "INVITE")
    bye = peer.ask(
        node.port,
        "BYE",
        route_of(answer),
        uri=f"sip:peer@127.0.0.1:{caller.port}",
        to="<sip:peer@localhost>;tag=1",
        call_id=answer.header("Call-ID"),
    )
    assert (200, "") == (bye.status, bye.header("Endpoint-Load-Metrics"))


@pytest.mark.parametrize(
    "length",
    [
        15_000,
        pytest.param(
            65_536,
            marks=pytest.mark.xfail(
                strict=True,
                reason="Kamailio reads no message beyond its tcp_rd_buf_size: the answer is lost, its sender goes down",
            ),
        ),
    ],
)
def test_an_endless_report_by_tcp_is_refused_and_its_destination_stays_up(bench, peers, length):
    """It is far beyond what a report may be, and no reason to call its sender dead."""
    peer = peers(lambda m: [reply(m, 200, f"Endpoint-Load-Metrics: TEXT {'a' * length}=1")], TcpPeer)
    bench.control([peer.uri], settings={"fall": "2"}, tcp=True)
    await_condition(lambda: len(peer.requests("OPTIONS")) >= 4, "pings")
    assert "up" == why(bench.client, peer.uri)["health"]
    await_condition(lambda: int(why(bench.client, peer.uri).get("reports_refused") or 0) >= 1, "counted", 3)


@pytest.mark.parametrize("source", ["ping", "pushed"])
def test_load_reports_off_lets_no_report_count(bench, peers, source):
    """Neither that of a ping, which nobody asked for, nor a pushed one."""
    peer = peers(reporting(GOOD) if source == "ping" else ok)
    bench.control([peer.uri], settings={"load_reports": "off"})
    if source == "pushed":
        push(bench, peer.uri, cpu_utilization="0.4", rps_fractional="20", time="1")
    await_condition(lambda: len(peer.requests("OPTIONS")) >= 4, "pings")
    assert ("", "0") == tuple(why(bench.client, peer.uri)[name] for name in ("utilization", "reports_refused"))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cpu_utilization": "nan"}, "cpu_utilization='nan'"),
        ({"cpu_utilization": "-0.1"}, "cpu_utilization='-0.1'"),
        ({"mem_utilization": "1.01"}, "mem_utilization='1.01'"),
        ({"percent": "101"}, "percent='101'"),
        ({"state": "asleep"}, "state='asleep'"),
        ({b"cpu_utilization": b"\xff\xfe"}, "cpu_utilization="),
        ({b"\xff": b"1", "cpu_utilization": "much"}, "cpu_utilization="),
    ],
)
def test_a_bad_pushed_value_is_refused_and_nothing_else_suffers(bench, peers, fields, named):
    """Not the list, which is still read, nor another one's report."""
    peer, other = peers(), peers()
    bench.control([peer.uri, other.uri])
    push(bench, peer.uri, cpu_utilization="0.5", rps_fractional="10")
    await_condition(lambda: why(bench.client, peer.uri).get("utilization") == "0.500", "a good one")
    bench.client.hset(f"steelyard:{{1}}:report:{peer.uri}", mapping=fields)
    await_condition(lambda: refused(bench), "told", 5)
    assert named in refused(bench)[0]
    push(bench, other.uri, cpu_utilization="0.25", rps_fractional="10")
    await_condition(lambda: why(bench.client, other.uri).get("utilization") == "0.250", "the other one's", 5)
    bench.client.hset("steelyard:{1}:state", other.uri, "drain")
    await_condition(lambda: effective(bench.client).get(other.uri) == 0, "drained", 3)
    assert "0.500" == why(bench.client, peer.uri)["utilization"]
