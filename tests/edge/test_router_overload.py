"""Overload control in the control node's workers; c1, s1 and the like are RFC 7339's rules for clients and servers."""

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.core.overload import Announcer

from tests.edge.fake_sip import Message
from tests.edge.rig import Rig, entry, in_order, uri

OFFER = ';oc;oc-algo="loss"'
OURS = "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0"
CALLERS = "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-caller"


def ask(rig: Rig, number: int, oc: int, *, algorithm: str = "loss", validity_ms: int = 60_000) -> None:
    """Let a destination ask for less from now on."""
    feedback = Feedback(oc, validity_ms, None, Algorithm(algorithm))
    rig.throttles.take(f"127.0.0.1:500{number}", feedback, rig.now_us)


def asks(oc: int, seq: str = "1.1") -> str:
    """Return our Via as a destination that asks for less sends it back."""
    return f'{OURS};oc={oc};oc-algo="loss";oc-validity=1000;oc-seq={seq}'


def outcomes(rig: Rig, count: int, **fields) -> dict[str, int]:
    """Send new requests; return how many went to whom, and how many were answered with which status."""
    seen: dict[str, int] = {}
    for _ in range(count):
        sent, answered = len(rig.server.sent), len(rig.server.answers)
        rig.server.receive(rig.request("MESSAGE", **fields))
        left = [each.uri for each in rig.server.sent[sent:]] or [str(a.status) for a in rig.server.answers[answered:]]
        for each in left:
            seen[each] = seen.get(each, 0) + 1
    return seen


def test_c1_every_request_to_a_destination_offers_overload_control(rig) -> None:
    """Also the second attempt, the ACK and the BYE of the call; c2: and says nothing else."""
    rig.publish(*in_order(2))
    first = rig.send()
    rig.server.reply(first, 503)
    second = rig.server.sent[-1]
    rig.server.reply(second, 200)
    rig.send("ACK", routed=True, to_tag="b", uri=uri(2))
    rig.send("BYE", routed=True, to_tag="b", uri=uri(2))
    assert [uri(1), uri(2), uri(2), uri(2)] == [sent.uri for sent in rig.server.sent]
    assert [OFFER] * 4 == [sent.offer for sent in rig.server.sent]


def test_c1_nobody_else_is_offered_it(rig) -> None:
    """A request within a dialog that goes to the caller, and a destination where it is switched off."""
    rig.publish(entry(1, tier=1), entry(2, tier=2, overload_control=False), entry(3, tier=3))
    rig.server.reply(rig.send(), 503)
    rig.server.reply(rig.server.sent[-1], 503)
    rig.send("BYE", routed=True, to_tag="a", uri="sip:caller@127.0.0.1:9")
    assert [OFFER, "", OFFER, ""] == [sent.offer for sent in rig.server.sent]


def test_c3_a_version_that_can_read_a_list_is_offered_both_algorithms(server) -> None:
    """From 5.8 on Kamailio reads a comma between quotes; each request lists both, whatever was chosen."""
    server.version = "6.0.1"
    rig = Rig(server)
    rig.publish(entry(1))
    assert [';oc;oc-algo="loss,rate"'] * 2 == [rig.send().offer, rig.send().offer]


@pytest.mark.parametrize("status", [100, 180, 200, 404, 503, 603])
def test_c14_any_response_may_carry_it(rig, status) -> None:
    """In force at once, for every worker."""
    rig.publish(entry(1))
    rig.server.reply(rig.send(), status, Via=asks(40))
    assert 40 == Rig(rig.server).throttles.in_force("127.0.0.1:5001", rig.now_us).oc


def test_c14_a_response_within_a_dialog_may_carry_it(rig) -> None:
    """To a BYE, say."""
    rig.publish(entry(1))
    bye = rig.send("BYE", routed=True, to_tag="b", uri=uri(1))
    rig.server.reply(bye, 200, Via=asks(40))
    assert 40 == rig.throttles.in_force("127.0.0.1:5001", rig.now_us).oc


def test_c4_an_offer_that_comes_back_as_it_was_means_nothing(rig) -> None:
    """The destination does not support it."""
    rig.publish(entry(1))
    rig.server.reply(rig.send(), 200, Via=OURS + OFFER)
    assert rig.throttles.in_force("127.0.0.1:5001", rig.now_us) is None


def test_c5_the_same_number_does_not_prolong_it(rig) -> None:
    """It ends a second after it was first heard of; a larger number starts anew."""
    rig.publish(entry(1))
    calls = [rig.send() for _ in range(3)]
    rig.server.reply(calls[0], 180, Via=asks(40))
    rig.pass_time(0.8)
    rig.server.reply(calls[1], 180, Via=asks(40))
    rig.pass_time(0.3)
    assert rig.throttles.in_force("127.0.0.1:5001", rig.now_us) is None
    rig.server.reply(calls[2], 180, Via=asks(50, "1.2"))
    assert 50 == rig.throttles.in_force("127.0.0.1:5001", rig.now_us).oc


@pytest.mark.parametrize("text", ["oc=101", "oc=-1", "oc=x", 'oc=5;oc-algo="A"', f"oc=5;oc-seq={'9' * 40}"])
def test_feedback_that_cannot_be_is_ignored_and_filed(rig, text) -> None:
    """By its name, for the control process to tell it once."""
    rig.publish(entry(1))
    rig.server.reply(rig.send(), 180, Via=f"{OURS};{text}")
    assert rig.throttles.in_force("127.0.0.1:5001", rig.now_us) is None
    [(_, fields)] = [fact for fact in rig.filed() if fact[0] == "feedback"]
    assert "127.0.0.1:5001" == fields[0]


@pytest.mark.parametrize("oc", [0, 25, 50, 90, 100])
def test_c8_no_more_is_sent_than_may_be(rig, oc) -> None:
    """Of 400 requests the share that is asked for is kept away, evenly."""
    rig.publish(entry(1))
    outcomes(rig, 40)
    ask(rig, 1, oc)
    rig.gate._mix.ordinary_percent = 100.0
    assert 4 * (100 - oc) == pytest.approx(outcomes(rig, 400).get(uri(1), 0), abs=2)
    assert 4 * oc == pytest.approx(rig.throttles.shed("127.0.0.1:5001"), abs=2)


def test_c9_what_one_sheds_goes_to_another_that_asks_for_nothing(rig) -> None:
    """Once, and nothing is refused."""
    rig.publish(entry(1), entry(2))
    ask(rig, 1, 100)
    assert {uri(2): 200} == outcomes(rig, 200)


def test_c9_where_all_ask_for_less_the_rest_gets_503_without_retry_after(rig) -> None:
    """What one sheds never adds to the load of another that asks for less."""
    rig.publish(entry(1), entry(2))
    rig.gate._mix.ordinary_percent = 100.0
    ask(rig, 1, 50)
    ask(rig, 2, 50)
    assert {uri(1): 100, uri(2): 100, "503": 200} == pytest.approx(outcomes(rig, 400), abs=3)
    assert all("Retry-After" not in answer.headers for answer in rig.server.answers)
    assert [] == [text for level, text in rig.server.log if level == "warn"]


def test_c9_who_was_full_a_moment_ago_takes_only_its_own_share(rig) -> None:
    """What others shed would bring its overload back."""
    rig.publish(entry(1), entry(2))
    rig.gate._mix.ordinary_percent = 100.0
    ask(rig, 1, 100)
    ask(rig, 2, 50, validity_ms=100)
    rig.pass_time(1)
    assert {uri(2): 50, "503": 50} == outcomes(rig, 100)
    rig.pass_time(6)
    ask(rig, 1, 100)
    assert {uri(2): 100} == outcomes(rig, 100)


def test_c9_while_anybody_asks_for_less_each_gets_its_share_of_the_asking(rig) -> None:
    """By turns: an in-flight count that is low for what was shed would have all of them asked of one."""
    rig.publish(entry(1), entry(2))
    rig.gate._mix.ordinary_percent = 100.0
    ask(rig, 1, 90)
    ask(rig, 2, 10)
    assert {uri(1): 20, uri(2): 180, "503": 200} == pytest.approx(outcomes(rig, 400), abs=3)


@pytest.mark.parametrize("fields", [{"uri": "urn:service:sos"}, {"headers": {"Resource-Priority": "ets.0"}}])
def test_c10_priority_is_shed_last(rig, fields) -> None:
    """Not while shedding all that is ordinary is enough, whichever destination it comes to first."""
    rig.publish(entry(1), entry(2))
    ask(rig, 1, 80)
    ask(rig, 2, 75)
    seen = {key: n for key, n in outcomes(rig, 50, **fields).items() if key != "503"}
    assert 50 == sum(seen.values())


def test_c10_priority_that_one_sheds_is_offered_to_the_others(rig) -> None:
    """Each by its own lot, so that none is refused that another can take."""
    rig.publish(*in_order(3))
    ask(rig, 1, 100)
    ask(rig, 2, 100)
    ask(rig, 3, 50)
    assert {uri(3): 20} == outcomes(rig, 20, uri="urn:service:sos")
    ask(rig, 3, 100)
    assert {"503": 20} == outcomes(rig, 20, uri="urn:service:sos")


def test_c10_a_request_within_a_dialog_is_shed_last_and_goes_nowhere_else(rig) -> None:
    """ACK and CANCEL never."""
    rig.publish(entry(1), entry(2))
    call = rig.request(branch="z9hG4bK-call")
    ask(rig, 1, 80)
    assert uri(1) == rig.send("BYE", routed=True, to_tag="b", uri=uri(1)).uri
    rig.server.receive(call)
    ask(rig, 1, 100)
    ask(rig, 2, 100)
    before = len(rig.server.sent)
    assert [503] == [a.status for a in rig.server.receive(rig.request("BYE", routed=True, to_tag="b", uri=uri(1)))]
    assert before == len(rig.server.sent)
    assert uri(1) == rig.send("ACK", routed=True, to_tag="b", uri=uri(1)).uri
    assert [200] == [a.status for a in rig.server.receive(Message("CANCEL", branch="z9hG4bK-call"))][-1:]


def test_c11_what_servers_further_on_say_is_taken_out_of_the_response(rig) -> None:
    """Of all Vias but ours, which ends here."""
    rig.publish(entry(1))
    others = [f"{CALLERS};oc=7;rport", 'SIP/2.0/UDP 192.0.2.7;oc;oc-algo="loss", SIP/2.0/UDP 192.0.2.8;oc-validity=3']
    rig.server.reply(rig.send(), 180, Via=[asks(5), *others])
    assert [
        asks(5),
        f"{CALLERS};rport",
        "SIP/2.0/UDP 192.0.2.7, SIP/2.0/UDP 192.0.2.8",
    ] == rig.server.passed_on.headers["Via"]


def offered(**fields):
    """Return the headers of a request whose sender offers overload control."""
    return {"Via": CALLERS + OFFER, **fields}


def announce(rig: Rig, percent: int) -> str:
    """Publish what to tell upstream; return it as it stands in a Via."""
    rig.load.publish_overload(percent, Announcer().announce(percent, unix_s=1000.0))
    return rig.load.overload()[1]


def test_s1_a_client_that_offers_is_answered_with_a_value(rig) -> None:
    """S3: 0 while there is no overload, with a validity of 0."""
    said = announce(rig, 0)
    assert ';oc=0;oc-algo="loss";oc-validity=0;oc-seq=1000.00000' == said
    [answer] = rig.server.receive(rig.request(headers=offered()))  # nobody is on the list: 503
    assert CALLERS + said == answer.via


def test_c12_a_clients_offer_ends_here(rig) -> None:
    """It is not forwarded, and the response carries our own value in its place."""
    said = announce(rig, 20)
    rig.publish(entry(1))
    call = rig.send(headers=offered())
    assert CALLERS == call.headers["Via"]
    rig.server.reply(call, 180, Via=[OURS + OFFER, CALLERS])
    assert [OURS + OFFER, CALLERS + said] == rig.server.passed_on.headers["Via"]


def test_s4_a_response_carries_the_value_of_its_own_moment(rig) -> None:
    """Not that of the request."""
    announce(rig, 20)
    rig.publish(entry(1))
    call = rig.send(headers=offered())
    said = announce(rig, 60)
    rig.server.reply(call, 180, Via=f"{OURS}, {CALLERS}")
    assert f"{OURS}, {CALLERS}{said}" == rig.server.passed_on.headers["Via"].replace(",  ", ", ")


def test_s1_also_within_a_dialog(rig) -> None:
    """Also where the next hop is no destination of ours."""
    said = announce(rig, 20)
    bye = rig.send("BYE", routed=True, to_tag="a", uri="sip:caller@127.0.0.1:9", headers=offered())
    rig.server.reply(bye, 200, Via=[OURS, CALLERS])
    assert [OURS, CALLERS + said] == rig.server.passed_on.headers["Via"]


@pytest.mark.parametrize("via", [CALLERS, CALLERS + ";oc=5", CALLERS + ';oc;oc-algo="A"', CALLERS + ";octet"])
def test_s1_who_does_not_offer_is_told_nothing(rig, via) -> None:
    """Neither is a client that does not know loss."""
    announce(rig, 20)
    [answer] = rig.server.receive(rig.request(headers={"Via": via}))
    assert via == answer.via


def test_a_message_that_cannot_be_changed_is_served_all_the_same(rig) -> None:
    """Without an announcement."""
    announce(rig, 20)
    rig.publish(entry(1))
    rig.server.unchangeable = True
    assert uri(1) == rig.send(headers=offered()).uri
    assert [] == rig.server.errors()


def test_load_reports_of_strangers_are_removed_and_filed(rig) -> None:
    """In a request and in a response, within a dialog too; they are for neighbours."""
    rig.publish(entry(1))
    call = rig.send(source="192.0.2.9", headers={"Endpoint-Load-Metrics": "TEXT eps=1", "Subject": "x"})
    assert {"Subject": "x"} == call.headers
    rig.server.reply(call, 180, Endpoint_Load_Metrics="TEXT eps=1")
    assert {} == rig.server.passed_on.headers
    bye = rig.send("BYE", routed=True, to_tag="b", uri=uri(1))
    rig.server.reply(bye, 200, Endpoint_Load_Metrics="TEXT eps=1")
    assert {} == rig.server.passed_on.headers
    assert [["192.0.2.9"], ["127.0.0.1"], ["127.0.0.1"]] == [f for kind, f in rig.filed() if kind == "stray"]


def test_a_query_that_passes_through_is_removed(rig) -> None:
    """It was meant for us."""
    rig.publish(entry(1))
    assert {} == rig.send(headers={"Endpoint-Load-Metrics-Request": "TEXT"}).headers
    assert [] == [fact for fact in rig.filed() if fact[0] == "stray"]


def test_a_rate_is_kept_by_all_workers_together(server) -> None:
    """RFC 7415: ten a second, whoever sends them; a burst of five at most is ordinary."""
    server.version = "6.0.1"
    workers = [Rig(server), Rig(server)]
    workers[0].publish(entry(1))
    ask(workers[0], 1, 10, algorithm="rate")
    passed = 0
    for _ in range(100):  # ten seconds at ten requests a tenth of a second
        for rig in workers:
            rig.pass_time(0.1)
            passed += sum(rig.gate.lets_pass("127.0.0.1:5001", priority=False) for _ in range(5))
    assert 100 == pytest.approx(passed, abs=15)


def test_what_is_known_of_a_server_can_be_forgotten(rig) -> None:
    """When it has left the list."""
    ask(rig, 1, 50)
    rig.gate.lets_pass("127.0.0.1:5001", priority=False)
    rig.throttles.forget("127.0.0.1:5001")
    assert (None, 0) == (rig.throttles.in_force("127.0.0.1:5001", rig.now_us), rig.throttles.shed("127.0.0.1:5001"))
    assert not rig.gate.is_in_overload("127.0.0.1:5001")
