"""INVITE probes: who is asked, when, and what becomes of the answer. What pings and probes ask for is here too."""

import itertools
import re

import pytest
from steelyard.core.balancer import Probe
from steelyard.core.settings import ProbeMethod
from steelyard.edge import probing

from tests.edge.fake_sip import Unsendable
from tests.edge.rig import Rig, uri

INVITE = ProbeMethod.INVITE


def publish(rig: Rig, **probes: Probe) -> None:
    """Publish the probes of u1, u2 ... as the control process does."""
    rig.version += 1
    rig.probes.publish(rig.version, probing.encode({uri(int(name[1:])): probe for name, probe in probes.items()}))


def tick_for(rig: Rig, seconds: float) -> None:
    """Let the probing process tick for a while."""
    for _ in range(round(seconds / 0.05)):
        rig.node.ksr_probe_tick(None)
        rig.pass_time(0.05)


def probe_once(rig: Rig, **fields):
    """Send one probe and return it."""
    publish(rig, u1=Probe(1, 0.7, INVITE, **fields))
    tick_for(rig, 1.05)
    rig.filed()
    return rig.server.local[0]


def test_a_probe_may_go_no_further_and_asks_for_the_load(rig) -> None:
    """RFC 3261 section 16.3: any proxy answers it itself."""
    probe = probe_once(rig)
    assert ("INVITE", uri(1), "ksr_probe_reply", 700) == (probe.method, probe.uri, probe.on_reply, probe.timeout_ms)
    assert "Max-Forwards: 0\r\n" in probe.text
    assert {"Endpoint-Load-Metrics-Request": "TEXT"} == probe.headers


def test_c1_a_probe_offers_overload_control(rig) -> None:
    """Every request to a destination does."""
    assert ';oc;oc-algo="loss"' == probe_once(rig).offer


def test_a_probe_asks_nothing_where_it_is_switched_off(rig) -> None:
    """By load_reports and overload_control."""
    probe = probe_once(rig, asks_load=False, overload_control=False)
    assert ({}, "") == (probe.headers, probe.offer)


def test_c1_a_ping_asks_and_offers_like_a_probe(rig) -> None:
    """And nothing where it is switched off."""
    publish(rig, u1=Probe(1, 0.7), u2=Probe(1, 0.7, asks_load=False, overload_control=False))
    pings = [rig.server.ping(uri(number)) for number in (1, 2)]
    assert [{"Endpoint-Load-Metrics-Request": "TEXT"}, {}] == [ping.headers for ping in pings]
    assert [';oc;oc-algo="loss"', ""] == [ping.offer for ping in pings]


def test_each_destination_is_asked_by_its_own_method(rig) -> None:
    """By one of the two, never by both."""
    publish(rig, u1=Probe(1, 0.7, INVITE), u2=Probe(1, 0.7), u3=Probe(0, 0.7, INVITE))
    tick_for(rig, 1.05)
    assert [uri(1)] == [probe.uri for probe in rig.server.local]
    assert [True, False, True] == [rig.server.ping(uri(number)).dropped for number in (1, 2, 3)]


def test_probes_keep_their_interval_and_are_spread(rig) -> None:
    """Within a tenth of it, each destination at its own time."""
    publish(rig, u1=Probe(2, 0.7, INVITE), u2=Probe(2, 0.7, INVITE), u3=Probe(2, 0.7, INVITE))
    times: dict[str, list[float]] = {uri(number): [] for number in (1, 2, 3)}
    for _ in range(600):
        before = len(rig.server.local)
        tick_for(rig, 0.05)
        for probe in rig.server.local[before:]:
            times[probe.uri].append(rig.now_us / 1e6)
    assert 3 == len({row[0] for row in times.values()})
    for row in times.values():
        gaps = [later - sooner for sooner, later in itertools.pairwise(row)]
        assert all(1.79 <= gap <= 2.26 for gap in gaps)


def test_a_destination_that_comes_up_is_probed_at_its_new_interval(rig) -> None:
    """And not when the long one of its down-time would have ended."""
    publish(rig, u1=Probe(3600, 0.7, INVITE))
    tick_for(rig, 2)
    assert 1 == len(rig.server.local)
    publish(rig, u1=Probe(1, 0.7, INVITE))
    tick_for(rig, 1.05)
    assert 2 <= len(rig.server.local) <= 3


def test_one_that_left_and_came_back_is_asked_within_a_second(rig) -> None:
    """Its old date is forgotten."""
    publish(rig, u1=Probe(3600, 0.7, INVITE))
    tick_for(rig, 1.05)
    publish(rig)
    tick_for(rig, 0.05)
    publish(rig, u1=Probe(3600, 0.7, INVITE))
    tick_for(rig, 1.05)
    assert 2 == len(rig.server.local)


@pytest.mark.parametrize("status", [200, 404, 483, 503, 603])
def test_any_final_answer_is_filed_with_its_source_and_report(rig, status) -> None:
    """483 is the expected one; what it means is for the control process to say."""
    probe = probe_once(rig)
    rig.server.pong(probe, 100)
    rig.server.pong(probe, status, source="127.0.0.9", Endpoint_Load_Metrics="TEXT eps=0.5, cpu_utilization=0.1")
    [(kind, fields)] = rig.filed()
    assert ("pong", probe.call_id, str(status), "127.0.0.9") == (kind, fields[0], fields[1], fields[3])
    assert "TEXT%20eps=0.5,%20cpu_utilization=0.1" == fields[4]


def test_two_reports_in_one_answer_are_filed_as_no_report(rig) -> None:
    """Both, one after the other, which is refused where it is read."""
    probe = probe_once(rig)
    rig.server.pong(probe, 483, Endpoint_Load_Metrics=["TEXT eps=1", "TEXT eps=2"])
    [(_, fields)] = rig.filed()
    assert "TEXT%20eps=1,TEXT%20eps=2" == fields[4]


def test_a_report_of_any_length_makes_a_fact_of_bounded_length(rig) -> None:
    """64 KB from the network fill no queue."""
    probe = probe_once(rig)
    rig.server.pong(probe, 483, Endpoint_Load_Metrics="TEXT " + "x" * 65536)
    [(_, fields)] = rig.filed()
    assert len(fields[4]) < 1100


def test_c14_overload_control_is_taken_from_the_answer_to_a_probe(rig) -> None:
    """And from that to a ping."""
    probe = probe_once(rig)
    via = 'SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK9;oc=30;oc-algo="loss";oc-validity=1000;oc-seq=1.1'
    rig.server.pong(probe, 483, Via=via)
    assert 30 == rig.throttles.in_force("127.0.0.1:5001", rig.now_us).oc


def test_an_answer_that_accepts_a_call_is_ended_with_bye_once(rig) -> None:
    """However often the 2xx comes; each dialog of a forked one has its own."""
    probe = probe_once(rig)
    fields = {
        "From": "<sip:steelyard@localhost>;tag=1",
        "To": f"<{uri(1)}>;tag=a",
        "Contact": "<sip:b2bua@127.0.0.1:5099>",
        "Record_Route": ["<sip:127.0.0.1:1;lr>", "<sip:127.0.0.1:2;lr>"],
    }
    for tag in ("a", "a", "b", "a"):
        rig.server.pong(probe, 200, to_tag=tag, **fields)
    byes = rig.server.local[1:]
    assert [("BYE", uri(1), probe.call_id)] * 2 == [(bye.method, bye.uri, bye.call_id) for bye in byes]
    assert ["<sip:127.0.0.1:2;lr>", "<sip:127.0.0.1:1;lr>"] == re.findall(r"Route: (.*)\r", byes[0].text)
    assert "CSeq: 2 BYE\r\n" in byes[0].text
    assert "To: <sip:127.0.0.1:5001>;tag=a\r\n" in byes[0].text
    assert ("", {}) == (byes[0].on_reply, byes[0].headers)


def test_a_bye_that_cannot_be_sent_is_told(rig) -> None:
    """A call may have stayed behind."""
    probe = probe_once(rig)
    rig.server.unsendable[uri(1)] = Unsendable.UNRESOLVED
    rig.server.pong(probe, 200, to_tag="a")
    assert [("warn", True)] == [(level, probe.call_id in text) for level, text in rig.server.log]


def test_a_probe_that_cannot_leave_is_waited_for_in_vain(rig) -> None:
    """As one that was lost: a name that does not resolve goes down like any silent destination."""
    rig.server.unsendable[uri(1)] = Unsendable.UNRESOLVED
    publish(rig, u1=Probe(1, 0.7, INVITE))
    tick_for(rig, 1.05)
    [(kind, fields)] = rig.filed()
    assert ("ping", uri(1)) == (kind, fields[1])
    assert [] == rig.server.local


def test_a_request_of_the_server_that_is_no_probe_is_left_alone(rig) -> None:
    """Nothing is added to it and nothing is waited for."""
    rig.server.send_local("INVITE", uri(1), "", "Call-ID: x\r\n")
    assert ("", {}) == (rig.server.local[0].on_reply, rig.server.local[0].headers)
    assert [] == rig.server.errors()
