"""Where the script goes on with requests and replies that kamailio.cfg has dealt with so far."""

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.edge.shared import REST_S

from tests.edge.rig import entry, in_order, uri

HOST = "127.0.0.1:5001"


def arrive(rig, callback, method, **fields):
    """Let kamailio.cfg hand over a request; return what was answered."""
    before = len(rig.server.answers)
    request = rig.request(method, **fields)
    with rig.server.at_hand(request):
        assert 1 == getattr(rig.node, callback)(request)
    return [answer.status for answer in rig.server.answers[before:]]


# --- requests outside of dialogs ---


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "SUBSCRIBE"])
def test_a_new_request_is_sent_to_a_destination(rig, method) -> None:
    """With callbacks, offer and account like any other."""
    rig.publish(entry(1))
    assert [] == arrive(rig, "ksr_new_request", method)
    [sent] = rig.server.sent
    assert (uri(1), "ksr_reply", "ksr_failure") == (sent.uri, sent.on_reply, sent.on_failure)
    assert ';oc;oc-algo="loss"' == sent.offer
    assert 1 == rig.in_flight.count("d1")


def test_what_kamailio_cfg_has_done_is_not_done_again(rig) -> None:
    """Max-Forwards, Route and Record-Route."""
    rig.publish(entry(1))
    arrive(rig, "ksr_new_request", "INVITE", max_forwards=0, routed=True)
    assert 1 == len(rig.server.sent)
    assert [] == rig.server.routes_taken_off
    assert [] == rig.server.record_routed


def test_a_new_request_without_destinations_is_refused(rig) -> None:
    """As ever."""
    rig.publish(reason="the list of destinations is empty")
    assert [503] == arrive(rig, "ksr_new_request", "INVITE")
    rig.server.log.clear()


def test_a_failure_of_a_new_request_moves_it_on(rig) -> None:
    """From here on all is the script's."""
    rig.publish(*in_order(2))
    arrive(rig, "ksr_new_request", "INVITE")
    rig.server.reply(rig.server.sent[0], 503)
    assert [uri(1), uri(2)] == [sent.uri for sent in rig.server.sent]


@pytest.mark.parametrize("callback", ["ksr_new_request", "ksr_without_route"])
def test_a_request_that_is_no_utf_8_is_refused(rig, callback) -> None:
    """Before anything is done with it."""
    rig.publish(entry(1))
    assert [400] == arrive(rig, callback, "INVITE", call_id="\udcff")
    assert [] == rig.server.sent


# --- requests within dialogs that have no Route ---


@pytest.mark.parametrize("method", ["ACK", "BYE", "INVITE"])
def test_a_request_without_route_goes_where_its_call_is(rig, method) -> None:
    """By the note of its call."""
    rig.dialogs.note("call-n", uri(1))
    rig.publish(entry(1))
    assert [] == arrive(rig, "ksr_without_route", method, call_id="call-n", to_tag="x", max_forwards=0)
    assert uri(1) == rig.server.sent[-1].uri


@pytest.mark.parametrize(("method", "statuses"), [("BYE", [481]), ("ACK", [])])
def test_a_request_without_route_of_no_known_call_is_refused(rig, method, statuses) -> None:
    """Except ACK, which has no answer."""
    assert statuses == arrive(rig, "ksr_without_route", method, to_tag="x")
    assert [] == rig.server.sent


# --- replies ---


def test_a_plain_reply_is_counted_and_left_as_it_is(rig) -> None:
    """There is nothing in it to be taken out."""
    rig.publish(entry(1))
    sent = rig.send()
    sent.on_reply = "ksr_plain_reply"
    rig.server.reply(sent, 200, Via=["SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0", "SIP/2.0/UDP 127.0.0.1:9"])
    assert [("answer", ["d1", "0", "1", "200", "-"])] == rig.filed()
    assert 0 == rig.in_flight.count("d1")
    assert ["SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0", "SIP/2.0/UDP 127.0.0.1:9"] == (
        rig.server.passed_on.headers["Via"]
    )


def test_what_a_reply_says_is_heeded_by_where_its_request_went(rig) -> None:
    """Nothing is kept with a transaction for a reply that may never say anything."""
    rig.publish(entry(1))
    bye = rig.send("BYE", to_tag="x", routed=True, uri=uri(1))
    said = ';oc=30;oc-algo="loss";oc-validity=1000;oc-seq=5.1'
    rig.server.reply(bye, 200, Via="SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0" + said)
    assert 30 == rig.throttles.in_force(HOST, rig.now_us).oc


# --- what kamailio.cfg goes by ---


def test_offers_are_made_to_those_published_and_to_nobody_else(rig) -> None:
    """Whoever leaves is forgotten."""
    cells = rig.server.tables["offers"].cells
    rig.offers.publish([HOST, "127.0.0.1:5002"])
    assert {HOST: '"loss"', "127.0.0.1:5002": '"loss"'} == {key: text for key, (text, _) in cells.items()}
    rig.offers.publish(["127.0.0.1:5002"])
    assert ["127.0.0.1:5002"] == list(cells)


def last(rig) -> int:
    """Return what tells kamailio.cfg of an overload."""
    return rig.server.ksr.htable.sht_get("overload", "last")


@pytest.mark.parametrize(("validity_s", "passes_after_s"), [(1, REST_S + 1), (60, 60 + REST_S)])
def test_an_overload_is_over_when_nothing_is_in_force_and_a_rest_has_passed(rig, validity_s, passes_after_s) -> None:
    """Until then requests within dialogs are asked about too."""
    rig.throttles.take(HOST, Feedback(30, validity_s * 1000, None, Algorithm.LOSS), rig.now_us)
    for _ in range(passes_after_s - 1):
        rig.pass_time(1)
        rig.throttles.calm([HOST], rig.now_us)
        assert last(rig)
    rig.pass_time(1)
    rig.throttles.calm([HOST], rig.now_us)
    assert not last(rig)


def test_requests_that_the_script_has_not_seen_count_for_the_mix(rig) -> None:
    """With as many of them as of new ones half are ordinary."""
    rig.publish(entry(1))
    rig.server.passed = 3
    for _ in range(3):
        rig.send()
    rig.pass_time(5)
    rig.send()
    assert 50.0 == rig.gate._mix.ordinary_percent
    assert 0 == rig.server.passed
