"""INVITE probes and load queries on the wire."""

import re

from lab.parts import why
from lab.process import await_condition
from tests.integration.playing import INVITE, b2bua, proxy
from tests.integration.sip_peer import Message, reply


def test_a_probe_is_an_invite_that_may_go_no_further_and_asks_for_the_load(bench, peers):
    """483 keeps the destination up and is acknowledged; no OPTIONS is sent beside it."""
    peer = peers(proxy)
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: len(peer.requests("INVITE")) >= 3 and len(peer.requests("ACK")) >= 2, "probes")
    probe = peer.requests("INVITE")[0]
    assert ("0", "TEXT") == (probe.header("Max-Forwards"), probe.header("Endpoint-Load-Metrics-Request"))
    assert ";oc;oc-algo=" in probe.via
    assert peer.requests("ACK")[0].header("Call-ID") == probe.header("Call-ID")
    assert [] == peer.requests("OPTIONS")
    await_condition(lambda: why(bench.client, peer.uri).get("ping_ms"), "a sample")
    assert "up" == why(bench.client, peer.uri)["health"]


def test_a_ping_asks_for_the_load_and_offers_too(bench, peers):
    """And neither where it is switched off."""
    asked, unasked = peers(), peers()
    settings = {f"load_reports@{unasked.uri}": "off", f"overload_control@{unasked.uri}": "off"}
    bench.control([asked.uri, unasked.uri], settings=settings)
    await_condition(lambda: asked.requests("OPTIONS") and unasked.requests("OPTIONS"), "pings")
    pings = [peer.requests("OPTIONS")[-1] for peer in (asked, unasked)]
    assert ["TEXT", ""] == [ping.header("Endpoint-Load-Metrics-Request") for ping in pings]
    assert [True, False] == [";oc;oc-algo=" in ping.via for ping in pings]


def test_who_leaves_probes_unanswered_is_down_and_comes_back(bench, peers):
    """After `fall` of them, each within its own time."""
    peer, other = peers(lambda _: ()), peers(proxy)
    bench.control([peer.uri, other.uri], settings={**INVITE, "fall": "2", "rise": "2"})
    await_condition(lambda: why(bench.client, peer.uri).get("health") == "down", "down", 15)
    assert "up" == why(bench.client, other.uri)["health"]
    peer.answers = proxy
    await_condition(lambda: why(bench.client, peer.uri).get("health") == "up", "up", 15)


def test_a_probe_that_rings_on_is_cancelled(bench, peers):
    """Once its time is over; it leaves no call."""

    def ringing(request: Message) -> list[str]:
        if request.method == "CANCEL":
            invite = next(m for m in peer.requests("INVITE") if m.header("Call-ID") == request.header("Call-ID"))
            return [reply(request, 200), reply(invite, 487)]
        return [reply(request, 180)] if request.method == "INVITE" else []

    peer = peers()
    peer.answers = ringing
    bench.control([peer.uri], settings=INVITE)
    await_condition(lambda: len(peer.requests("CANCEL")) >= 2, "CANCEL")
    cancelled = peer.requests("CANCEL")[0].header("Call-ID")
    await_condition(lambda: cancelled in {m.header("Call-ID") for m in peer.requests("ACK")}, "the 487's ACK")


def test_probes_are_spread_over_their_interval(bench, peers):
    """Ten destinations are not asked at once."""
    destinations = [peers(proxy) for _ in range(10)]
    order: list[int] = []
    for number, peer in enumerate(destinations):
        peer.answers = lambda m, number=number: (order.append(number), proxy(m))[1] if m.method == "INVITE" else []
    bench.control([peer.uri for peer in destinations], settings=INVITE)
    await_condition(lambda: len(order) >= 40, "probes", 15)
    first = order[:10]
    assert first != sorted(first)
    assert set(range(10)) == set(order[:15])


def test_a_b2bua_that_accepts_the_probe_is_left_without_a_call(bench, peers):
    """Each of a hundred is acknowledged and ended, once, along the route it recorded."""
    destinations = [peers(b2bua) for _ in range(20)]
    bench.control([peer.uri for peer in destinations], settings=INVITE)

    def calls(method: str) -> list[str]:
        return [m.header("Call-ID") for peer in destinations for m in peer.requests(method)]

    await_condition(lambda: len(calls("BYE")) >= 100, "a hundred probes", 20)
    bench.settings(probe_method="none")
    await_condition(lambda: set(calls("INVITE")) == set(calls("BYE")) == set(calls("ACK")), "no call left", 10)
    assert len(calls("BYE")) == len(set(calls("BYE")))
    bye = destinations[0].requests("BYE")[0]
    assert ["2", "1"] == re.findall(r"hop=(\d)", " ".join(bye.headers("Route")))
    assert "2 BYE" == bye.header("CSeq")
    assert "tag=peer" in bye.header("To")


def test_stock_sipp_is_left_without_a_call(bench):
    """`sipp -sn uas` answers 180 and 200 to any INVITE, and expects ACK and BYE."""
    uas = bench.proxy("-uas")
    bench.control([uas.uri], settings={**INVITE, "probe_timeout_s": "1"})
    await_condition(lambda: why(bench.client, uas.uri).get("ping_ms"), "a sample", 10)

    def counted(column: str) -> int:
        lines = (bench.folder / f"uas{uas.port}.csv").read_text().splitlines()
        return int(dict(zip(lines[0].split(";"), lines[-1].split(";"), strict=False))[column])

    await_condition(lambda: counted("SuccessfulCall(C)") >= 5, "calls that were ended", 15)
    bench.settings(probe_method="none")
    await_condition(lambda: counted("CurrentCall") == 0, "no call left", 10)
    assert 0 == counted("FailedCall(C)")
