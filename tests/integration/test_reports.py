"""Load reports from the wire and from Redis, into the weights and what is said of them."""

import pytest

from lab.parts import effective, why
from lab.process import await_condition
from tests.integration.playing import GOOD, dialog_of, push, refused, reporting, route_of
from tests.integration.sip_peer import Message, ok, reply


def test_a_report_in_the_answer_to_a_ping_is_weighed_and_shown(bench, peers):
    """With its age; after the blackout it decides the weight."""
    fast, slow = peers(reporting(GOOD)), peers(reporting("TEXT cpu_utilization=0.5,rps_fractional=20"))
    bench.control([fast.uri, slow.uri])
    await_condition(lambda: why(bench.client, fast.uri).get("utilization") == "0.500", "a report")
    fields = why(bench.client, fast.uri)
    assert ("application_utilization", "40", "sip") == (
        fields["most_constrained"],
        fields["reported_rps"],
        fields["report_source"],
    )
    assert float(fields["report_age_s"]) < 3
    await_condition(lambda: abs(effective(bench.client)[fast.uri] - 66.7) < 1, "weights of 2 to 1", 25)
    assert "80.0" == why(bench.client, fast.uri)["reported_capacity"]


def test_stale_reports_fade_and_nothing_jumps(bench, peers):
    """The one that stops reporting keeps its share, give or take what its pings say."""
    peer, other = peers(reporting(GOOD)), peers(reporting(GOOD))
    bench.control([peer.uri, other.uri])
    await_condition(lambda: why(bench.client, peer.uri).get("report_trust") == "1.00", "trust", 20)
    peer.answers = ok
    seen = []
    await_condition(
        lambda: (
            seen.append(effective(bench.client).get(peer.uri, 0.0)),
            float(why(bench.client, peer.uri).get("report_trust") or 1) < 0.5,
        )[1],
        "fading",
        30,
    )
    assert all(40 <= share <= 60 for share in seen), (min(seen), max(seen))  # pings alone are left to judge by
    assert "its last load report is" in why(bench.client, peer.uri)["reason"]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (["TEXT cpu_utilization=much"], "cpu_utilization='much'"),
        (["TEXT cpu_utilization=-1"], "cpu_utilization='-1'"),
        (["TEXT mem_utilization=1.5"], "mem_utilization='1.5'"),
        (["TEXT eps=1,eps=2"], "twice"),
        ([GOOD, GOOD], "two reports are none"),
        (["TEXT " + "a" * 3000], "characters long"),
        (['JSON {"cpu_utilization": 0.3}'], "expected TEXT"),
    ],
)
def test_what_cannot_be_a_report_is_ignored_counted_and_told_once(bench, peers, values, named):
    """With its source; the destination stays up."""
    peer = peers(reporting(*values))
    bench.control([peer.uri])
    await_condition(lambda: int(why(bench.client, peer.uri).get("reports_refused") or 0) >= 2, "counted")
    await_condition(lambda: refused(bench), "told")
    [event] = [event for event in bench.events() if event["kind"] == "report refused"]
    assert (peer.uri, True) == (event["destination"], named in event["reason"]), event
    assert ("", "up") == (why(bench.client, peer.uri)["utilization"], why(bench.client, peer.uri)["health"])


def test_a_report_that_passes_through_is_removed_and_changes_nothing(bench, peers):
    """In a request from a caller, in the response to it, and within a dialog."""

    def leaky(request: Message) -> list[str]:
        contact = f"Contact: <sip:b@127.0.0.1:{peer.port}>"
        return [] if request.method == "ACK" else [reply(request, 200, contact, f"Endpoint-Load-Metrics: {GOOD}")]

    peer, caller = peers(), peers()
    peer.answers = leaky
    node = bench.control([peer.uri], settings={"probe_method": "none"})
    lines = (f"Endpoint-Load-Metrics: {GOOD}", "Endpoint-Load-Metrics-Request: TEXT", "Subject: kept")
    answer = caller.ask(node.port, "INVITE", *lines)
    [invite] = peer.requests("INVITE")
    assert ("", "", "kept") == tuple(
        invite.header(name) for name in ("Endpoint-Load-Metrics", "Endpoint-Load-Metrics-Request", "Subject")
    )
    bye = caller.ask(node.port, "BYE", route_of(answer), uri=peer.uri, cseq="2", **dialog_of(answer))
    assert ["", ""] == [message.header("Endpoint-Load-Metrics") for message in (answer, bye)]
    await_condition(lambda: refused(bench), "told")
    assert ["from 127.0.0.1, in a message that passes through; removed; told once"] == refused(bench)
    assert "" == why(bench.client, peer.uri)["utilization"]


def test_a_pushed_report_is_taken_within_two_seconds(bench, peers):
    """With the same names."""
    peer = peers()
    bench.control([peer.uri])
    push(bench, peer.uri, cpu_utilization="0.4", rps_fractional="20", time="1")
    await_condition(lambda: why(bench.client, peer.uri).get("report_source") == "pushed", "taken", 3)
    assert "0.400" == why(bench.client, peer.uri)["utilization"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"state": "drain"}, "state drain by its agent's word"),
        ({"state": "maint"}, "state maint by its agent's word"),
        ({"down": "no licence"}, "down by its agent's word: no licence"),
        ({"percent": "0"}, "0 % by its agent's word"),
    ],
)
def test_an_agents_word_takes_a_destination_out_and_its_silence_back(bench, peers, fields, reason):
    """As HAProxy's agent-check has it; the key's end is the end of the word."""
    peer, other = peers(), peers()
    bench.control([peer.uri, other.uri])
    push(bench, peer.uri, **fields)
    await_condition(lambda: effective(bench.client).get(peer.uri) == 0, "out", 3)
    await_condition(lambda: why(bench.client, peer.uri)["reason"] == reason, "said", 3)
    bench.client.delete(f"steelyard:{{1}}:report:{peer.uri}")
    await_condition(lambda: effective(bench.client).get(peer.uri, 0) > 40, "back", 3)


def test_a_percentage_is_of_the_declared_weight(bench, peers):
    """25 % of 1 beside 1 is a fifth."""
    peer, other = peers(), peers()
    bench.control([peer.uri, other.uri], settings={"policy": "weighted"})
    push(bench, peer.uri, percent="25%")
    await_condition(lambda: abs(effective(bench.client)[peer.uri] - 20) < 0.1, "a fifth", 3)


def test_no_report_brings_up_who_fails_the_pings(bench, peers):
    """Whatever its agent says."""
    silent, other = peers(lambda _: ()), peers()
    bench.control([silent.uri, other.uri], settings={"fall": "2", "probe_timeout_s": "0.3"})
    await_condition(lambda: why(bench.client, silent.uri).get("health") == "down", "down", 10)
    push(bench, silent.uri, state="ready", down="0", cpu_utilization="0.01", rps_fractional="5000")
    await_condition(lambda: why(bench.client, silent.uri).get("report_source") == "pushed", "taken", 3)
    assert ("down", 0) == (why(bench.client, silent.uri)["health"], effective(bench.client)[silent.uri])


def test_a_bad_pushed_report_is_refused_by_name(bench, peers):
    """A value of 64 KB, and a key of another type; the last word stays in force."""
    peer = peers()
    bench.control([peer.uri])
    push(bench, peer.uri, cpu_utilization="9" * 65536)
    await_condition(lambda: refused(bench), "told", 3)
    assert "pushed: " in refused(bench)[0]
    bench.client.delete(f"steelyard:{{1}}:report:{peer.uri}")
    bench.client.set(f"steelyard:{{1}}:report:{peer.uri}", "x")
    await_condition(lambda: why(bench.client, peer.uri)["reports_refused"] == "2", "counted", 3)
    assert 100 == effective(bench.client)[peer.uri]
