"""What a worker does with requests, replies and failures."""

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.core.snapshot import Rule
from steelyard.edge import kamailio, shared

from tests.edge.fake_sip import Transaction, Unsendable
from tests.edge.rig import Rig, entry, in_order, uri

UNSENT = list(Unsendable)


def statuses(answers) -> list[int]:
    """Return the status of each answer."""
    return [answer.status for answer in answers]


def hops(rig: Rig) -> list[str]:
    """Return where requests went, in order."""
    return [sent.uri for sent in rig.server.sent]


# --- checks ---


def test_a_request_without_hops_left_is_answered_483(rig) -> None:
    """RFC 3261 section 16.3: Max-Forwards of 0 is as far as a request goes."""
    rig.publish(entry(1))
    assert [483] == statuses(rig.server.receive(rig.request(max_forwards=0)))
    assert [] == rig.server.sent


def test_an_ack_without_hops_left_is_dropped(rig) -> None:
    """An ACK is never answered."""
    assert [] == rig.server.receive(rig.request("ACK", max_forwards=0))
    assert [] == rig.server.sent


def test_a_malformed_request_goes_no_further(rig) -> None:
    """The sanity check answers it, once; it takes no place."""
    rig.publish(entry(1))
    assert [400] == statuses(rig.server.receive(rig.request(sane=False)))
    assert [] == rig.server.sent


@pytest.mark.parametrize("field", ["call_id", "uri"])
def test_a_request_that_cannot_be_read_is_answered_400(rig, field) -> None:
    """Bytes that are no UTF-8 in Call-ID or Request-URI stop a request, not the worker."""
    rig.publish(entry(1))
    rig.server.receive(rig.request(**{field: "sip:\udcff@example.com"}))
    assert [400] == statuses(rig.server.answers)
    assert [] == rig.server.sent
    assert uri(1) == rig.send().uri


@pytest.mark.parametrize("field", ["method", "to_tag"])
def test_a_request_with_an_unreadable_method_or_tag_is_answered_400(rig, field) -> None:
    """Anybody can send one: it must not fill the log with tracebacks."""
    rig.publish(entry(1))
    answered = statuses(rig.server.receive(rig.request(**{field: "\udcff"})))
    rig.server.log.clear()
    assert [400] == answered


def test_an_ack_that_cannot_be_read_is_dropped(rig) -> None:
    """No error is logged for it either."""
    assert [] == rig.server.receive(rig.request("ACK", call_id="\udcff"))


# --- CANCEL ---


def test_a_cancel_follows_its_invite(rig) -> None:
    """It goes where the INVITE went, and is answered at once."""
    rig.publish(*in_order(2))
    invite = rig.request()
    rig.server.receive(invite)
    cancel = rig.request("CANCEL", call_id=invite.call_id, branch=invite.branch)
    assert [200] == statuses(rig.server.receive(cancel))
    assert [uri(1)] == rig.server.cancels


def test_a_cancel_of_nothing_is_answered_481(rig) -> None:
    """RFC 3261 section 9.2: there is no such transaction."""
    rig.publish(entry(1))
    assert [481] == statuses(rig.server.receive(rig.request("CANCEL")))
    assert [] == rig.server.sent


# --- requests within a call ---


def test_a_request_with_a_route_follows_it(rig) -> None:
    """No pick, no place: a call in progress is not load."""
    rig.publish(entry(1))
    sent = rig.send("BYE", to_tag="x", routed=True, uri="sip:callee@192.0.2.9")
    assert "sip:callee@192.0.2.9" == sent.uri
    assert 0 == rig.in_flight.count("d1")
    assert [] == rig.filed()


@pytest.mark.parametrize(("method", "stays"), [("INVITE", 1), ("SUBSCRIBE", 1), ("BYE", 0), ("INFO", 0)])
def test_only_what_may_begin_a_dialog_is_record_routed_again(rig, method, stays) -> None:
    """RFC 3261 section 16.6, step 4: a peer that has lost its route set learns it again."""
    rig.send(method, to_tag="x", routed=True)
    assert stays == len(rig.server.record_routed)


def test_a_retransmission_within_a_call_is_absorbed(rig) -> None:
    """The second copy goes nowhere."""
    bye = rig.request("BYE", to_tag="x", routed=True)
    rig.server.receive(bye)
    rig.server.receive(bye)
    assert 1 == len(rig.server.sent)
    assert 1 == rig.server.retransmitted


@pytest.mark.parametrize("why", UNSENT)
def test_a_request_within_a_call_that_cannot_be_sent_is_answered_500(rig, why) -> None:
    """The caller is told, once."""
    rig.server.unsendable["sip:gone@192.0.2.9"] = why
    request = rig.request("BYE", to_tag="x", routed=True, uri="sip:gone@192.0.2.9")
    assert [500] == statuses(rig.server.receive(request))


def test_an_ack_for_an_answer_of_our_own_ends_its_transaction(rig) -> None:
    """The caller acknowledges our 503: it is not repeated any more, and the ACK goes nowhere."""
    request = rig.request()
    assert [503] == statuses(rig.server.receive(request))
    for to_tag in ("x", ""):  # a broken caller leaves our tag out
        ack = rig.request("ACK", call_id=request.call_id, branch=request.branch, to_tag=to_tag)
        assert [] == rig.server.receive(ack)
    assert [request, request] == [transaction.request for transaction in rig.server.acknowledged]
    assert [] == rig.server.sent


@pytest.mark.parametrize("why", UNSENT)
def test_an_ack_that_cannot_be_sent_is_not_answered(rig, why) -> None:
    """An ACK is never answered."""
    rig.server.unsendable["sip:gone@192.0.2.9"] = why
    assert [] == rig.server.receive(rig.request("ACK", to_tag="x", routed=True, uri="sip:gone@192.0.2.9"))


@pytest.fixture
def call(rig) -> str:
    """Return the Call-ID of a call that the second of two destinations answered."""
    rig.publish(*in_order(2))
    sent = rig.send()
    rig.server.reply(sent, 503)
    rig.server.reply(rig.server.sent[-1], 200)
    assert [uri(1), uri(2)] == hops(rig)
    return sent.transaction.request.call_id


@pytest.mark.parametrize("method", ["ACK", "BYE", "INVITE"])
def test_a_caller_that_sends_no_route_reaches_its_destination(rig, call, method) -> None:
    """Some callers lose the Record-Route: the note of the answered call stands in for it."""
    assert uri(2) == rig.send(method, call_id=call, to_tag="x").uri
    assert 3 == len(rig.server.sent)


def test_a_caller_without_route_may_talk_for_hours(rig, call) -> None:
    """Its ACK shows that it needs the note, which then stays for as long as a call may last."""
    rig.send("ACK", call_id=call, to_tag="x")
    rig.pass_time(shared.DIALOG_S - 10)
    assert uri(2) == rig.send("INFO", call_id=call, to_tag="x").uri
    rig.pass_time(shared.DIALOG_S - 10)
    assert uri(2) == rig.send("BYE", call_id=call, to_tag="x").uri


def test_a_call_whose_caller_uses_routes_leaves_no_note(rig, call) -> None:
    """The note is gone once no ACK can come any more."""
    rig.send("ACK", call_id=call, to_tag="x", routed=True)
    rig.pass_time(shared.ANSWER_TO_ACK_S + 2)
    assert [481] == statuses(rig.server.receive(rig.request("BYE", call_id=call, to_tag="x")))


def test_a_call_that_ended_leaves_no_note(rig, call) -> None:
    """BYE makes the note brief."""
    rig.send("ACK", call_id=call, to_tag="x")
    rig.send("BYE", call_id=call, to_tag="x")
    rig.pass_time(shared.ANSWER_TO_ACK_S + 2)
    assert [481] == statuses(rig.server.receive(rig.request("BYE", call_id=call, to_tag="x")))


@pytest.mark.parametrize(
    ("method", "status", "noted"),
    [("INVITE", 200, True), ("SUBSCRIBE", 202, True), ("INVITE", 486, False), ("MESSAGE", 200, False)],
)
def test_only_an_answer_that_begins_a_dialog_is_noted(rig, method, status, noted) -> None:
    """Where no dialog begins, nothing has to be found again."""
    rig.publish(entry(1))
    sent = rig.send(method)
    rig.server.reply(sent, status)
    assert noted == (rig.dialogs.find(sent.transaction.request.call_id) is not None)


@pytest.mark.parametrize("method", ["BYE", "INVITE", "INFO"])
def test_a_request_of_no_known_call_is_answered_481(rig, method) -> None:
    """A To tag that belongs to nothing here is not balanced."""
    rig.publish(entry(1))
    assert [481] == statuses(rig.server.receive(rig.request(method, to_tag="x")))
    assert [] == rig.server.sent


def test_an_ack_of_no_known_call_is_dropped(rig) -> None:
    """An ACK for an answer of our own ends here."""
    rig.publish(entry(1))
    assert [] == rig.server.receive(rig.request("ACK", to_tag="x"))
    assert [] == rig.server.sent


# --- new requests ---


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE", "REGISTER", "SUBSCRIBE", "OPTIONS", "PUBLISH"])
def test_a_new_request_goes_to_a_destination(rig, method) -> None:
    """Its next hop is the destination; its Request-URI stays the caller's."""
    rig.publish(entry(1, no_response_s=1.5))
    sent = rig.send(method)
    assert (uri(1), method) == (sent.uri, sent.method)
    assert 1500 == sent.no_response_ms
    assert "sip:bob@example.com" == sent.transaction.request.uri
    assert [] == rig.server.answers


def test_a_new_request_takes_a_place(rig) -> None:
    """Every worker sees it."""
    rig.publish(entry(1))
    rig.send()
    rig.send()
    assert 2 == rig.in_flight.count("d1")
    assert 2 == Rig(rig.server).in_flight.count("d1")


def test_workers_share_what_they_know_of_the_load(rig) -> None:
    """Two workers that pick by load fill two equal destinations alike."""
    other = Rig(rig.server)
    rig.publish(entry(1), entry(2), rule=Rule.LEAST)
    for _ in range(10):
        rig.server.script = rig.node
        rig.send()
        rig.server.script = other.node
        other.send()
    assert [10, 10] == [rig.in_flight.count("d1"), rig.in_flight.count("d2")]


@pytest.mark.parametrize(("method", "stays"), [("INVITE", 1), ("SUBSCRIBE", 1), ("MESSAGE", 0), ("REGISTER", 0)])
def test_only_what_may_begin_a_dialog_is_record_routed(rig, method, stays) -> None:
    """RFC 3261 section 16.6, step 4."""
    rig.publish(entry(1))
    rig.send(method)
    assert stays == len(rig.server.record_routed)


def test_a_new_request_that_was_routed_here_is_balanced(rig) -> None:
    """Our own Route, which a caller may have been given beforehand, is taken off and chooses nothing."""
    rig.publish(entry(1))
    sent = rig.send(routed=True)
    assert uri(1) == sent.uri
    assert [sent.transaction.request.call_id] == rig.server.routes_taken_off


@pytest.mark.parametrize("method", ["BYE", "PRACK", "UPDATE", "INFO"])
def test_a_request_that_begins_nothing_is_answered_481(rig, method) -> None:
    """Without a To tag it belongs to no call."""
    rig.publish(entry(1))
    assert [481] == statuses(rig.server.receive(rig.request(method)))
    assert [] == rig.server.sent


def test_an_ack_without_to_tag_is_dropped(rig) -> None:
    """There is nothing to answer and nowhere to send it."""
    rig.publish(entry(1))
    assert [] == rig.server.receive(rig.request("ACK"))
    assert [] == rig.server.sent


def test_a_retransmission_is_absorbed(rig) -> None:
    """It is sent once, counted once, and its last answer repeated."""
    rig.publish(entry(1), entry(2))
    invite = rig.request()
    rig.server.receive(invite)
    rig.server.receive(invite)
    assert 1 == len(rig.server.sent)
    assert 1 == rig.server.retransmitted
    assert 1 == rig.in_flight.count("d1") + rig.in_flight.count("d2")


def test_a_retransmission_that_another_worker_holds_is_absorbed(rig) -> None:
    """Two copies that arrive at once are one request."""
    rig.publish(entry(1))
    invite = rig.request()
    rig.server.held_by_another_worker.add(invite.branch)
    assert [] == rig.server.receive(invite)
    assert [] == rig.server.sent
    assert 0 == rig.in_flight.count("d1")


def test_a_retransmission_that_another_worker_holds_is_answered_again(rig) -> None:
    """When its transaction has begun already, the last answer is repeated all the same."""
    rig.publish(entry(1))
    invite = rig.request()
    rig.server.receive(invite)
    rig.server.held_by_another_worker.add(invite.branch)
    rig.server.receive(invite)
    assert 1 == rig.server.retransmitted


def test_a_request_that_another_worker_has_just_begun_is_left_to_it(rig) -> None:
    """Between the look and the beginning of a transaction another worker may be faster."""
    rig.publish(entry(1))
    invite = rig.request()
    rig.server.begun_by_another_worker.add(invite.branch)
    assert [] == rig.server.receive(invite)
    assert [] == rig.server.sent
    assert 0 == rig.in_flight.count("d1")


@pytest.mark.parametrize(("entries", "status"), [([entry(1)], 200), ([], 503)])
def test_a_ping_of_the_node_itself_says_whether_it_can_serve(rig, entries, status) -> None:
    """OPTIONS to the node is answered here, and 503 while there is no destination."""
    rig.publish(*entries)
    assert [status] == statuses(rig.server.receive(rig.request("OPTIONS", for_us=True, uri="sip:127.0.0.1")))
    assert [] == rig.server.sent


def test_options_for_a_user_is_balanced(rig) -> None:
    """OPTIONS asks about a callee as well as about a server."""
    rig.publish(entry(1))
    assert uri(1) == rig.send("OPTIONS", for_us=True, uri="sip:bob@127.0.0.1").uri


def test_a_request_without_destination_is_answered_503_and_the_reason_logged(rig) -> None:
    """The log names the Call-ID and why there is no destination."""
    rig.publish(reason="every destination is in maint")
    request = rig.request()
    assert [503] == statuses(rig.server.receive(request))
    level, text = rig.server.log[-1]
    assert "warn" == level
    assert request.call_id in text
    assert "every destination is in maint" in text


def test_a_request_before_the_first_list_is_answered_503(rig) -> None:
    """Until the control process has published anything there is nowhere to go."""
    assert [503] == statuses(rig.server.receive(rig.request()))
    assert "not published" in rig.server.log[-1][1]


def test_a_new_list_is_used_from_the_next_request_on(rig) -> None:
    """A worker reads a snapshot when its version changes."""
    rig.publish(entry(1))
    assert uri(1) == rig.send().uri
    rig.publish(entry(2))
    assert uri(2) == rig.send().uri


def test_a_snapshot_that_cannot_be_read_leaves_the_last_one_in_force(rig) -> None:
    """It is logged once, and no call is lost."""
    rig.publish(entry(1))
    rig.send()
    rig.snapshots.publish(77, "[damaged")
    assert uri(1) == rig.send().uri
    assert uri(1) == rig.send().uri
    assert 1 == len(rig.server.errors())
    rig.server.log.clear()


# --- replies ---


def test_the_first_reply_gives_the_place_back_and_files_its_time(rig) -> None:
    """Response time is from sent to first reply, whatever comes after."""
    rig.publish(entry(1))
    rig.send()
    sent = rig.send()
    rig.pass_time(0.25)
    rig.server.reply(sent, 180)
    assert 1 == rig.in_flight.count("d1")
    assert [("answer", ["d1", "250000", "2", "180", "-"])] == rig.filed()


def test_later_replies_free_no_place_and_file_no_time(rig) -> None:
    """Of those after the first, the final one alone is filed, as how the call ended, and once."""
    rig.publish(entry(1))
    rig.send()
    sent = rig.send()
    rig.server.reply(sent, 183)
    rig.filed()
    rig.server.reply(sent, 180)
    assert [200] == statuses(rig.server.reply(sent, 200))
    rig.server.reply(sent, 200)
    assert [("final", ["d1", "200", "-"])] == rig.filed()
    assert 1 == rig.in_flight.count("d1")


def test_what_follows_a_100_is_timed_once(rig) -> None:
    """The control process compares how soon 100 came with what followed it."""
    rig.publish(entry(1))
    sent = rig.send()
    rig.pass_time(0.001)
    rig.server.reply(sent, 100)
    rig.pass_time(0.4)
    rig.filed()
    rig.server.reply(sent, 180)
    rig.server.reply(sent, 183)
    assert [("beyond", ["d1", "1000", "401000"])] == rig.filed()


def test_a_100_is_no_first_reply_where_the_operator_says_so(rig) -> None:
    """With first_reply beyond-100 the place is held until something else comes."""
    rig.publish(entry(1, beyond_100=True))
    sent = rig.send()
    rig.pass_time(0.001)
    rig.server.reply(sent, 100)
    rig.server.reply(sent, 100)
    assert 1 == rig.in_flight.count("d1")
    assert [] == rig.filed()
    rig.pass_time(0.4)
    rig.server.reply(sent, 200)
    assert 0 == rig.in_flight.count("d1")
    assert [("beyond", ["d1", "1000", "401000"]), ("answer", ["d1", "401000", "1", "200", "-"])] == rig.filed()


def test_a_reply_after_the_destination_left_gives_its_place_back(rig) -> None:
    """An attempt carries what it takes to settle it."""
    rig.publish(entry(1))
    sent = rig.send()
    rig.publish(entry(2))
    rig.send()
    rig.server.reply(sent, 200)
    assert 0 == rig.in_flight.count("d1")


def test_a_reply_after_the_sweep_frees_no_second_place(rig) -> None:
    """The control process has freed it already."""
    rig.publish(entry(1))
    sent = rig.send()
    for _ in range(shared.life_s(2.0) + 3):
        rig.pass_time(1)
        rig.in_flight.sweep("d1", rig.now_us, 2.0)
    rig.send()
    rig.server.reply(sent, 180)
    assert 1 == rig.in_flight.count("d1")


@pytest.mark.parametrize(("holds", "left"), [(True, 1), (False, 0)])
def test_a_failure_keeps_its_place_where_failures_count_as_load(rig, holds, left) -> None:
    """A proxy that answers 503 in a millisecond must not look idle."""
    rig.publish(entry(1, holds=holds))
    rig.server.reply(rig.send(), 500)
    assert left == rig.in_flight.count("d1")


@pytest.mark.parametrize(("holds", "left"), [(True, 1), (False, 0)])
def test_a_late_failure_is_counted_as_one(rig, holds, left) -> None:
    """500 after 180: the first reply had looked good."""
    rig.publish(entry(1, holds=holds))
    sent = rig.send()
    rig.server.reply(sent, 180)
    rig.filed()
    assert [500] == statuses(rig.server.reply(sent, 500))
    assert [("final", ["d1", "500", "-"])] == rig.filed()
    assert left == rig.in_flight.count("d1")


@pytest.mark.parametrize("status", [404, 486, 501, 505, 603])
def test_a_busy_callee_is_no_failure_of_its_proxy(rig, status) -> None:
    """Its place is given back even where failures hold theirs."""
    rig.publish(entry(1, holds=True))
    sent = rig.send()
    rig.server.reply(sent, 180)
    rig.filed()
    assert [status] == statuses(rig.server.reply(sent, status))
    assert [("final", ["d1", str(status), "-"])] == rig.filed()
    assert 0 == rig.in_flight.count("d1")


@pytest.mark.parametrize(
    ("status", "header", "filed"),
    [
        (503, "120 (maintenance);duration=3600", "120(maintenance);duration=3600"),
        (503, "", "-"),
        (503, "1" * 99, "1" * 32),
        (500, "120", "-"),
    ],
)
def test_only_a_503_may_ask_to_be_left_alone(rig, status, header, filed) -> None:
    """Retry-After travels as one word of limited length."""
    rig.publish(entry(1))
    rig.server.reply(rig.send(), status, Retry_After=header)
    [(kind, fields)] = rig.filed()
    assert ("answer", [str(status), filed]) == (kind, fields[3:])


def test_a_503_whose_retry_after_cannot_be_read_is_a_503_all_the_same(rig) -> None:
    """A comment in Latin-1 is no reason to take the answer for silence."""
    rig.publish(entry(1))
    rig.server.reply(rig.send(), 503, Retry_After="120 (gesch\udce4ftlich)")
    filed = rig.filed()
    rig.server.log.clear()
    assert ["answer"] == [kind for kind, _ in filed]


def test_a_retransmitted_failure_is_counted_once(rig) -> None:
    """A proxy repeats its 503 until the ACK arrives: that is one failure."""
    rig.publish(*in_order(2, holds=True))
    sent = rig.send()
    rig.server.reply(sent, 503)
    rig.filed()
    rig.server.reply(sent, 503)
    assert [] == rig.filed()
    assert 1 == rig.in_flight.count("d1")


def test_a_provisional_reply_gives_a_request_its_full_time(rig) -> None:
    """RFC 3261 section 17.1.2.2: a MESSAGE that is being worked on is waited for as long as timer F."""
    rig.publish(entry(1))
    sent = rig.send("MESSAGE")
    rig.server.reply(sent, 100)
    assert kamailio.TIMER_F_MS == sent.transaction.fr_ms[1]


def test_a_provisional_reply_does_not_shorten_an_invite(rig) -> None:
    """Timer C is longer than three minutes."""
    rig.publish(entry(1))
    sent = rig.send()
    rig.server.reply(sent, 180)
    assert sent.transaction.fr_ms[0] > 180_000


# --- failures ---


def test_a_503_moves_the_request_on(rig) -> None:
    """The caller never sees it; the next destination answers."""
    rig.publish(*in_order(2))
    assert [] == rig.server.reply(rig.send(), 503)
    assert [uri(1), uri(2)] == hops(rig)
    assert [200] == statuses(rig.server.reply(rig.server.sent[1], 200))


def test_silence_moves_the_request_on(rig) -> None:
    """Nothing within no_response_s is a failure of the destination."""
    rig.publish(*in_order(2))
    assert [] == rig.server.time_out(rig.send())
    assert [uri(1), uri(2)] == hops(rig)
    assert [("silence", ["d1"])] == rig.filed()
    assert [0, 1] == [rig.in_flight.count("d1"), rig.in_flight.count("d2")]


@pytest.mark.parametrize("why", UNSENT)
def test_a_request_that_cannot_be_sent_moves_on_at_once(rig, why) -> None:
    """No timer runs: the next destination is tried within the same callback."""
    rig.publish(*in_order(2))
    rig.server.unsendable[uri(1)] = why
    assert [] == rig.server.receive(rig.request())
    assert [uri(2)] == hops(rig)
    assert [("silence", ["d1"])] == rig.filed()


@pytest.mark.parametrize("why", list(Unsendable))
@pytest.mark.parametrize("status", [200, 486])
def test_a_reply_is_counted_where_it_came_from(rig, why, status) -> None:
    """An attempt that could not be sent does not take the replies of the next one."""
    rig.publish(*in_order(3))
    rig.server.unsendable[uri(1)] = why
    sent = rig.send()
    rig.filed()
    assert [status] == statuses(rig.server.reply(sent, status))
    assert [("answer", ["d2", "0", "1", str(status), "-"])] == rig.filed()
    assert 0 == rig.in_flight.count("d2")
    assert [uri(2)] == hops(rig)


@pytest.mark.parametrize("why", UNSENT)
def test_a_destination_that_cannot_be_sent_to_is_passed_over_in_a_failure_too(rig, why) -> None:
    """The second attempt fails in the failure callback, the third serves."""
    rig.publish(*in_order(3))
    rig.server.unsendable[uri(2)] = why
    rig.server.reply(rig.send(), 503)
    assert [uri(1), uri(3)] == hops(rig)
    assert [200] == statuses(rig.server.reply(rig.server.sent[1], 200))


@pytest.mark.parametrize("status", [404, 408, 486, 500, 504, 600])
def test_an_answer_is_final_whatever_it_says(rig, status) -> None:
    """RFC 3263 section 4.3: only 503 and silence lead to another server."""
    rig.publish(*in_order(3))
    assert [status] == statuses(rig.server.reply(rig.send(), status))
    assert [uri(1)] == hops(rig)


@pytest.mark.parametrize("beyond_100", [False, True])
@pytest.mark.parametrize("provisional", [100, 180])
def test_a_caller_that_was_answered_is_never_rerouted(rig, beyond_100, provisional) -> None:
    """A phone may be ringing: the time-out that follows goes to the caller."""
    rig.publish(*in_order(2, beyond_100=beyond_100))
    sent = rig.send()
    rig.server.reply(sent, provisional)
    assert [408] == statuses(rig.server.time_out(sent))
    assert [uri(1)] == hops(rig)


def test_a_call_that_never_got_beyond_100_counts_as_silence(rig) -> None:
    """Where 100 is no reply, nothing but a 100 is none."""
    rig.publish(entry(1, beyond_100=True))
    sent = rig.send()
    rig.server.reply(sent, 100)
    rig.server.time_out(sent)
    assert [("silence", ["d1"])] == rig.filed()
    assert 0 == rig.in_flight.count("d1")


@pytest.mark.parametrize("fail", ["reply", "time_out", "refuse"])
def test_each_destination_gets_a_request_at_most_once(rig, fail) -> None:
    """When all have failed, each was tried, none twice, and the caller gets one answer."""
    rig.publish(*[entry(number) for number in range(1, 6)], max_attempts=8)
    if fail == "refuse":
        rig.server.unsendable = {uri(number): Unsendable.REFUSED for number in range(2, 6)}
    rig.server.receive(rig.request())
    while rig.server.sent[-1].last_status == 0:
        if fail == "time_out":
            rig.server.time_out(rig.server.sent[-1])
        else:
            rig.server.reply(rig.server.sent[-1], 503)
    branches = rig.server.sent[0].transaction.branches
    assert {uri(number) for number in range(1, 6)} == {branch.uri for branch in branches}
    assert 5 == len(branches)
    assert [503] == statuses(rig.server.answers)


def test_no_more_destinations_are_tried_than_allowed(rig) -> None:
    """After max_attempts the caller gets the last answer, a 503 as 500: others might still take it."""
    rig.publish(*in_order(5), max_attempts=3)
    rig.server.receive(rig.request())
    for number in range(3):
        rig.server.reply(rig.server.sent[number], 503)
    assert [uri(1), uri(2), uri(3)] == hops(rig)
    assert [500] == statuses(rig.server.answers)


@pytest.mark.parametrize(("method", "status"), [("INVITE", 408), ("MESSAGE", 504)])
def test_silence_of_the_last_allowed_attempt_is_answered_by_the_method(rig, method, status) -> None:
    """RFC 4320 section 4.1: a request that is no INVITE is never answered 408."""
    rig.publish(*in_order(3), max_attempts=2)
    rig.send(method)
    for number in range(2):
        rig.server.time_out(rig.server.sent[number])
    assert [status] == statuses(rig.server.answers)


@pytest.mark.parametrize("method", ["INVITE", "MESSAGE"])
def test_a_caller_for_whom_nobody_is_left_gets_503(rig, method) -> None:
    """The one case in which a proxy may say so (RFC 3261 section 16.7)."""
    rig.publish(*in_order(2))
    rig.send(method)
    for number in range(2):
        rig.server.time_out(rig.server.sent[number])
    assert [503] == statuses(rig.server.answers)


def test_nobody_reachable_is_answered_503(rig) -> None:
    """Where not one of all destinations can be sent to, the caller is told at once."""
    rig.publish(*in_order(2))
    rig.server.unsendable = {uri(1): Unsendable.UNRESOLVED, uri(2): Unsendable.REFUSED}
    assert [503] == statuses(rig.server.receive(rig.request()))
    assert [] == rig.server.sent
    assert [0, 0] == [rig.in_flight.count("d1"), rig.in_flight.count("d2")]


def test_a_list_that_changes_meanwhile_serves_the_next_attempt(rig) -> None:
    """A failover picks from the snapshot of its own moment."""
    rig.publish(entry(1))
    sent = rig.send()
    rig.publish(entry(1), entry(2))
    rig.server.reply(sent, 503)
    assert [uri(1), uri(2)] == hops(rig)


@pytest.mark.parametrize("how", ["487", "503", "silence"])
def test_a_cancelled_call_stays_cancelled(rig, how) -> None:
    """Whatever the destination does after the CANCEL, no other one is bothered."""
    rig.publish(*in_order(2))
    invite = rig.request()
    rig.server.receive(invite)
    rig.server.receive(rig.request("CANCEL", call_id=invite.call_id, branch=invite.branch))
    sent = rig.server.sent[0]
    if how == "silence":
        rig.server.time_out(sent)
    else:
        rig.server.reply(sent, int(how))
    assert [uri(1)] == hops(rig)
    assert 2 == len(rig.server.answers)  # of the CANCEL and of the INVITE
    assert 0 == rig.in_flight.count("d1")


def test_a_call_that_is_cancelled_while_it_is_sent_goes_nowhere_else(rig) -> None:
    """Another worker takes the CANCEL between two attempts: that worker answers."""
    rig.publish(*in_order(3))

    def cancel(transaction: Transaction) -> None:
        transaction.cancelled = True

    rig.server.while_sending = cancel
    assert [] == rig.server.receive(rig.request())
    assert [] == rig.server.sent
    assert 0 == sum(rig.in_flight.count(key) for key in ("d1", "d2", "d3"))


def test_a_late_answer_of_the_silent_one_changes_no_count(rig) -> None:
    """A reply after its time-out goes to the caller; its place was given back before."""
    rig.publish(*in_order(2))
    rig.send()
    sent = rig.send()
    rig.server.time_out(sent)
    rig.filed()
    rig.server.reply(sent, 180)
    assert [] == rig.filed()
    assert 1 == rig.in_flight.count("d1")


# --- overload control, in the places that test_router_overload.py does not reach ---

OFFER = ';oc;oc-algo="loss"'
CALLERS = "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-caller"


def shed(rig: Rig, *numbers: int, oc: int = 100) -> None:
    """Let destinations ask for less."""
    for number in numbers:
        feedback = Feedback(oc, 60_000, None, Algorithm.LOSS)
        rig.throttles.take(f"127.0.0.1:500{number}", feedback, rig.now_us)


@pytest.mark.parametrize("why", UNSENT)
def test_c1_an_offer_is_withdrawn_where_the_next_attempt_is_to_make_none(rig, why) -> None:
    """Also when the first attempt never left, and both are made in one breath."""
    rig.publish(entry(1, tier=1), entry(2, tier=2, overload_control=False), entry(3, tier=3))
    rig.server.unsendable[uri(1)] = why
    second = rig.send()
    rig.server.reply(second, 503)
    assert [(uri(2), ""), (uri(3), OFFER)] == [(sent.uri, sent.offer) for sent in rig.server.sent]


@pytest.mark.parametrize("method", ["BYE", "INVITE", "ACK", "INFO"])
def test_c1_a_caller_that_sends_no_route_reaches_a_destination_that_is_offered_it(rig, method) -> None:
    """The next hop is that of the note."""
    rig.publish(*in_order(1))
    call = rig.send()
    rig.server.reply(call, 200)
    sent = rig.send(method, call_id=call.transaction.request.call_id, to_tag="x", uri="sip:bob@example.com")
    assert (uri(1), OFFER) == (sent.uri, sent.offer)


def test_c9_a_request_is_offered_to_each_at_most_once_whoever_sheds(rig) -> None:
    """A failure does not move it to one that sheds it, and the caller is answered once."""
    rig.publish(entry(1), entry(2), entry(3), max_attempts=5)
    rig.gate._mix.ordinary_percent = 100.0
    shed(rig, 1, 2)
    first = rig.send("MESSAGE")
    assert uri(3) == first.uri
    assert 1 == len(rig.server.reply(first, 503))
    assert [uri(3)] == hops(rig)


def test_c9_a_request_that_is_refused_for_overload_takes_no_place(rig) -> None:
    """Nothing was sent, no count may say so, and no state is kept of it."""
    rig.publish(*in_order(2))
    shed(rig, 1, 2)
    rig.gate._mix.ordinary_percent = 100.0
    [answer] = rig.server.receive(rig.request())
    assert (503, "Overload", False) == (answer.status, answer.reason, answer.stateful)
    assert [0, 0] == [rig.in_flight.count(key) for key in ("d1", "d2")]
    assert [] == rig.filed()


def test_a_destination_that_is_not_under_control_is_sent_all_of_its_share(rig) -> None:
    """Whatever others ask for."""
    rig.publish(entry(1, overload_control=False), entry(2))
    shed(rig, 2)
    rig.gate._mix.ordinary_percent = 100.0
    assert [uri(1)] * 20 == [rig.send().uri for _ in range(20)]


def test_without_destinations_an_overload_is_not_the_reason(rig) -> None:
    """The log says that the list is empty."""
    rig.publish(reason="the list of destinations is empty")
    shed(rig, 1)
    [answer] = rig.server.receive(rig.request())
    assert (503, "No Destination Available") == (answer.status, answer.reason)
    assert ["the list of destinations is empty" in text for level, text in rig.server.log if level == "warn"]


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_c10_ack_and_cancel_are_never_shed(rig, method) -> None:
    """An ACK has no answer, and a CANCEL ends work: RFC 7200 section 5.3.2."""
    rig.publish(*in_order(1))
    invite = rig.request()
    rig.server.receive(invite)
    rig.server.reply(rig.server.sent[0], 180 if method == "CANCEL" else 200)
    shed(rig, 1)
    before = rig.throttles.shed("127.0.0.1:5001")
    fields = {"branch": invite.branch} if method == "CANCEL" else {"to_tag": "x", "routed": True, "uri": uri(1)}
    rig.server.receive(rig.request(method, call_id=invite.call_id, **fields))
    assert uri(1) == (rig.server.cancels[-1] if method == "CANCEL" else rig.server.sent[-1].uri)
    assert before == rig.throttles.shed("127.0.0.1:5001")


def test_c10_a_retransmission_within_a_dialog_is_not_asked_about_again(rig) -> None:
    """RFC 7339 section 5.4 is about requests, of which this is the same one."""
    rig.publish(*in_order(1))
    bye = rig.request("BYE", to_tag="x", routed=True, uri=uri(1))
    rig.server.receive(bye)
    shed(rig, 1)
    assert [] == rig.server.receive(bye)
    assert 0 == rig.throttles.shed("127.0.0.1:5001")


def test_c11_vias_of_others_are_cleaned_in_a_reply_within_a_dialog(rig) -> None:
    """As in any reply; the own one ends here."""
    rig.publish(*in_order(1))
    bye = rig.send("BYE", to_tag="x", routed=True, uri=uri(1))
    ours = "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0"
    rig.server.reply(bye, 200, Via=[ours, f"{CALLERS};oc=9;oc-validity=5;rport"])
    assert [ours, f"{CALLERS};rport"] == rig.server.passed_on.headers["Via"]


def test_c12_a_callers_offer_is_in_no_attempt(rig) -> None:
    """Nor is what we announce to the caller."""
    rig.load.publish_overload(30, Feedback(30, 1000, (5, 1), Algorithm.LOSS))
    rig.publish(*in_order(2))
    rig.server.reply(rig.send(headers={"Via": CALLERS + OFFER}), 503)
    assert [CALLERS, CALLERS] == [sent.headers["Via"] for sent in rig.server.sent]


@pytest.mark.parametrize(
    ("fields", "status"), [({"max_forwards": 0}, 483), ({"sane": False}, 400), ({"to_tag": "x"}, 481), ({}, 503)]
)
def test_s1_every_answer_of_our_own_carries_the_value(rig, fields, status) -> None:
    """From the first check on: a client that is refused must hear why most of all."""
    rig.load.publish_overload(30, Feedback(30, 1000, (5, 1), Algorithm.LOSS))
    [answer] = rig.server.receive(rig.request(headers={"Via": CALLERS + OFFER}, **fields))
    said = ';oc=30;oc-algo="loss";oc-validity=1000;oc-seq=5.00001'
    assert (status, CALLERS + said) == (answer.status, answer.via)


@pytest.mark.parametrize("status", [100, 180, 200, 404, 486])
def test_s1_every_reply_that_passes_through_carries_the_value(rig, status) -> None:
    """Whatever its class."""
    rig.load.publish_overload(30, Feedback(30, 1000, (5, 1), Algorithm.LOSS))
    rig.publish(*in_order(1))
    ours = "SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK0"
    rig.server.reply(rig.send(headers={"Via": CALLERS + OFFER}), status, Via=[ours, CALLERS])
    assert [ours, CALLERS + ';oc=30;oc-algo="loss";oc-validity=1000;oc-seq=5.00001'] == (
        rig.server.passed_on.headers["Via"]
    )


def test_a_load_query_is_taken_out_of_every_attempt(rig) -> None:
    """And a report: both are between neighbours, and the next destination is none of the caller's."""
    rig.publish(*in_order(2))
    headers = {"Endpoint-Load-Metrics-Request": "TEXT", "Endpoint-Load-Metrics": ["TEXT eps=1", "TEXT eps=2"], "A": "b"}
    rig.server.reply(rig.send(headers=headers), 503)
    assert [{"A": "b"}] * 2 == [sent.headers for sent in rig.server.sent]


def test_c10_requests_within_a_dialog_count_for_the_mix(rig) -> None:
    """With half of the requests in dialogs, shedding half of all takes every new one and none of the others."""
    rig.publish(*in_order(1))
    for _ in range(3):
        rig.send()
        rig.send("BYE", to_tag="x", routed=True, uri=uri(1))
        rig.pass_time(6)
    shed(rig, 1, oc=50)
    assert [503] * 10 == [rig.server.receive(rig.request())[0].status for _ in range(10)]
    assert [uri(1)] * 10 == [rig.send("BYE", to_tag="x", routed=True, uri=uri(1)).uri for _ in range(10)]
