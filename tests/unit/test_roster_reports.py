"""What is taken of load reports and of an agent's word, what is refused, and what is said of either."""

import pytest
from steelyard.core.refusals import REPEAT_S

from tests.unit.balanced import A, B, Balanced

GOOD = "TEXT cpu_utilization=0.5,rps_fractional=50"
BAD = "TEXT cpu_utilization=85"
TOO_MUCH = "cpu_utilization='85': expected a number from 0 to 10"
NAMED = "sip:proxy.example.com"
IPV6 = "sip:[2001:db8::1]:5080"


def reported(uri, *headers, source="192.0.2.1", **hashes):
    """Return a set of one whose pings were answered with these, one a second."""
    balanced = Balanced({uri: 1}, **hashes)
    for second, header in enumerate(headers):
        balanced.report(uri, header, now_s=float(second), source=source)
    balanced.decide(float(len(headers)))
    return balanced


def pushed(*reports, **hashes):
    """Return a set of two for the first of which these were read from Redis, one a second, each decided upon."""
    balanced = Balanced({A: 1, B: 1}, **hashes)
    for second, fields in enumerate(reports, 1):
        balanced.balancer.on_pushed(A, fields, now_s=float(second))
        balanced.decide(float(second))
    return balanced


# --- reports in answers to pings ---


@pytest.mark.parametrize(
    ("uri", "source", "utilization"),
    [
        (A, "192.0.2.1", "0.500"),
        (A, "192.0.2.2", ""),
        (A, "2001:db8::1", ""),
        (IPV6, "2001:db8::1", "0.500"),
        (IPV6, "2001:DB8:0:0::1", "0.500"),
        (IPV6, "2001:db8::2", ""),
        (NAMED, "192.0.2.77", "0.500"),
    ],
)
def test_a_report_counts_only_from_the_address_that_was_asked(uri, source, utilization):
    """However the address is spelled; one that only a resolver knows may be any."""
    balanced = reported(uri, GOOD, source=source)
    assert utilization == balanced.why(uri)["utilization"]
    assert (0 if utilization else 1) == len(balanced.told("report refused"))


def test_an_answer_from_elsewhere_is_a_sign_of_life_all_the_same():
    """A proxy with two addresses is alive, whatever may be said of its report."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0)
    for _ in range(2):
        balanced.report(A, GOOD, now_s=now_s, source="198.51.100.9")
    balanced.decide(now_s)
    assert ("up", "2") == (balanced.why(A)["health"], balanced.why(A)["reports_refused"])


def test_an_answer_that_refuses_the_ping_may_carry_a_report():
    """Whoever is full has the most to tell."""
    balanced = Balanced({A: 1})
    balanced.balancer.on_ping("ping", A, sent_s=0.0)
    balanced.balancer.on_pong("ping", 503, "192.0.2.1", GOOD, received_s=0.1)
    balanced.decide(1.0)
    assert "0.500" == balanced.why(A)["utilization"]


@pytest.mark.parametrize("report", [GOOD, BAD])
def test_a_report_that_answers_no_ping_of_ours_is_nothing(report):
    """Neither believed nor refused: whoever sends it is nobody."""
    balanced = Balanced({A: 1})
    balanced.balancer.on_pong("never sent", 200, "192.0.2.1", report, received_s=0.1)
    balanced.decide(1.0)
    assert ("", "0") == (balanced.why(A)["utilization"], balanced.why(A)["reports_refused"])
    assert [] == balanced.told("report refused")


def test_an_answer_counts_once_however_often_it_comes():
    """The second one answers nothing any more."""
    balanced = Balanced({A: 1})
    balanced.balancer.on_ping("ping", A, sent_s=0.0)
    for _ in range(3):
        balanced.balancer.on_pong("ping", 200, "192.0.2.1", BAD, received_s=0.1)
    balanced.decide(1.0)
    assert "1" == balanced.why(A)["reports_refused"]


def test_a_refused_report_leaves_the_last_good_one():
    """It is older, and better than none."""
    balanced = reported(A, GOOD, BAD, BAD)
    fields = balanced.why(A)
    assert ("0.500", "3.0", "2") == (fields["utilization"], fields["report_age_s"], fields["reports_refused"])


def test_a_refused_report_is_named_with_what_is_wrong_with_it():
    """The field, its value and what was expected; then not again."""
    assert [(A, f"{TOO_MUCH}; told once")] == reported(A, BAD, BAD, BAD).told("report refused")


def test_a_good_report_has_the_next_bad_one_told_again():
    """Something changed there between."""
    assert 2 == len(reported(A, BAD, BAD, GOOD, BAD, BAD).told("report refused"))


def test_reports_that_stay_bad_are_told_again_every_hour():
    """With their number since."""
    balanced = reported(A, BAD, BAD, BAD)
    balanced.report(A, BAD, now_s=REPEAT_S)
    balanced.decide(REPEAT_S)
    assert [(A, f"{TOO_MUCH}; told once"), (A, f"{TOO_MUCH}; 3 more since it was told")] == (
        balanced.told("report refused")
    )


def test_a_destination_that_left_is_told_of_anew_when_it_is_back():
    """Nothing of its reports is left over."""
    balanced = reported(A, BAD)
    balanced.declare({}, 2.0)
    balanced.declare({A: 1}, 3.0)
    balanced.report(A, BAD, now_s=4.0)
    balanced.decide(4.0)
    assert 2 == len(balanced.told("report refused"))
    assert "1" == balanced.why(A)["reports_refused"]


@pytest.mark.parametrize("report", [GOOD, BAD])
def test_where_reports_are_switched_off_nothing_is_read(report):
    """For one destination alone, and neither counted nor told."""
    balanced = reported(A, report, settings={f"load_reports@{A}": "off"})
    assert ("", "0") == (balanced.why(A)["utilization"], balanced.why(A)["reports_refused"])
    assert [] == balanced.told("report refused")


# --- reports that an agent pushes ---


def test_what_was_pushed_long_ago_grows_old():
    """It is read again every second, and only a change of a field says that somebody is there."""
    fields = {"cpu_utilization": "0.5", "rps_fractional": "50", "time": "1"}
    balanced = pushed(*[fields] * 9)
    assert "8.0" == balanced.why(A)["report_age_s"]
    balanced.balancer.on_pushed(A, {**fields, "time": "2"}, now_s=10.0)
    balanced.decide(10.0)
    assert "0.0" == balanced.why(A)["report_age_s"]


def test_a_key_that_is_gone_is_no_report():
    """What it said last grows old."""
    balanced = pushed({"cpu_utilization": "0.5", "rps_fractional": "50"}, {}, {})
    assert ("0.500", "2.0") == (balanced.why(A)["utilization"], balanced.why(A)["report_age_s"])


def test_a_pushed_load_is_not_taken_where_reports_are_switched_off():
    """Nor does it count later, when they are on again and it has not changed."""
    fields = {"cpu_utilization": "0.5", "rps_fractional": "50"}
    balanced = pushed(fields, settings={"load_reports": "off"})
    balanced.declare({A: 1, B: 1}, 2.0)
    balanced.balancer.on_pushed(A, fields, now_s=2.0)
    balanced.decide(2.0)
    assert ("", "", "") == tuple(
        balanced.why(A)[name] for name in ("utilization", "report_source", "reported_capacity")
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (None, "pushed: the key is no hash; told once"),
        ({"cpu_utilization": "85"}, f"pushed: {TOO_MUCH}; told once"),
        ({"state": "away"}, "pushed: state='away': expected one of ready, drain, maint; told once"),
        ({"percent": "200%"}, "pushed: percent='200%': expected a number from 0 to 100; told once"),
    ],
)
def test_what_cannot_be_a_pushed_report_is_counted_and_told_once_while_it_stands_there(fields, reason):
    """It is read every second, and is news only once."""
    balanced = pushed(*[fields] * 5)
    assert "1" == balanced.why(A)["reports_refused"]
    assert [(A, reason)] == balanced.told("report refused")
    assert {A: 1.0, B: 1.0} == balanced.weights()


@pytest.mark.parametrize("fields", [None, {"state": "away"}, {"state": "ready", "eps": "-1"}])
def test_the_last_word_stays_while_what_is_pushed_cannot_be_used(fields):
    """An agent that breaks neither puts its proxy in nor takes it out; a key that is gone takes the word along."""
    balanced = pushed({"state": "drain"}, fields, fields)
    assert {B} == balanced.entries().keys()
    balanced.balancer.on_pushed(A, {}, now_s=4.0)
    balanced.decide(4.0)
    assert {A, B} == balanced.entries().keys()


def test_a_pushed_report_of_nobody_on_the_list_is_nothing():
    """Not even a bad one is told."""
    balanced = Balanced({A: 1})
    for fields in (None, {"state": "away"}, {"state": "drain"}):
        balanced.balancer.on_pushed(B, fields, now_s=0.0)
    assert () == balanced.decide(0.0).events


# --- an agent's word ---


def test_a_word_is_in_force_with_the_next_decision():
    """It does not wait for the period, and the same word is no reason to weigh again."""
    balanced = Balanced({A: 1, B: 1})
    balanced.balancer.on_pushed(A, {"state": "drain", "time": "1"}, now_s=0.1)
    assert balanced.decide(0.1).snapshot is not None
    balanced.balancer.on_pushed(A, {"state": "drain", "time": "2"}, now_s=0.2)
    assert balanced.decide(0.2).standings is None


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([{"state": "drain"}, {}], ["drain, 100", "ready, 100"]),
        ([{"state": "drain"}, {"state": "maint"}, {"state": "ready"}], ["drain, 100", "maint, 100", "ready, 100"]),
        ([{"percent": "0"}, {"percent": "10"}], ["ready, 0", "ready, 10"]),
        ([{"percent": "50"}, {"percent": "25%"}, {}], []),
        ([{"state": "ready", "percent": "100", "down": "0"}], []),
        ([{"down": "disk full"}, {"down": "0"}], ["it is down: disk full", "ready, 100"]),
        ([{"down": "a"}, {"down": "b"}, {"percent": "40"}], ["it is down: a", "it is down: b", "ready, 40"]),
    ],
)
def test_a_word_that_lets_calls_in_or_keeps_them_out_is_told(words, told):
    """Another percentage is not: it may change every second."""
    expected = [text if text.startswith("it is") else f"{text} % of the declared weight" for text in told]
    assert [(A, f"its agent says {text}") for text in expected] == pushed(*words).told("report")


def test_a_percentage_holds_as_long_as_it_stands_there():
    """Unlike a load it does not grow old."""
    fields = {"percent": "25"}
    balanced = pushed(*[fields] * 100)
    assert {A: 20.0, B: 80.0} == balanced.shares()


@pytest.mark.parametrize(
    ("word", "settings", "weights"),
    [
        ({"percent": "50"}, {"policy": "weighted"}, {A: 0.5, B: 1.0}),
        ({"percent": "50"}, {"policy": "round-robin"}, {A: 1.0, B: 1.0}),
        ({"percent": "50"}, {"threshold_cps": "10"}, {A: 0.5, B: 1.0}),
        ({"percent": "50"}, {"load_reports": "off"}, {A: 0.5, B: 1.0}),
        ({"percent": "0"}, {"policy": "round-robin"}, {B: 1.0}),
        ({"state": "drain"}, {"load_reports": "off"}, {B: 1.0}),
    ],
)
def test_a_word_is_no_load_report(word, settings, weights):
    """It counts wherever declared weights do, also where loads are not asked for."""
    assert weights == pushed(word, settings=settings).weights()


def test_a_percentage_does_not_move_a_manual_destination_and_0_does():
    """Its weight is the operator's; whether it can take calls at all is not."""
    assert {A: 1.0, B: 1.0} == pushed({"percent": "50"}, mode={A: "manual"}).weights()
    assert {B: 1.0} == pushed({"percent": "0"}, mode={A: "manual"}).weights()


@pytest.mark.parametrize("state", ["drain", "maint"])
def test_a_word_opens_nothing_that_the_operator_closed(state):
    """The stricter of the two counts."""
    balanced = pushed({"state": "ready", "percent": "100"}, state={A: state})
    assert {B} == balanced.entries().keys()
    assert f"state {state}" == balanced.why(A)["reason"]


@pytest.mark.parametrize(
    "word", [{"state": "ready"}, {"percent": "100"}, {"down": "0"}, {"cpu_utilization": "0", "rps_fractional": "9"}]
)
def test_no_word_brings_up_who_fails_the_pings(word):
    """It would be the word of one that cannot be reached."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0)
    for second in range(30):
        balanced.balancer.on_pushed(A, {**word, "time": str(second)}, now_s=now_s + second)
        balanced.decide(now_s + second)
    assert ({B}, "down") == (balanced.entries().keys(), balanced.why(A)["health"])
    assert {A: False, B: True} == balanced.balancer.up()


@pytest.mark.parametrize(
    ("word", "interval_s"), [({"state": "maint"}, 0.0), ({"state": "drain"}, 1.0), ({"down": "x"}, 1.0)]
)
def test_only_maint_stops_the_pings(word, interval_s):
    """Who is drained or down is watched; the pings go on when the word is gone."""
    balanced = pushed(word)
    assert (interval_s, 1.0) == (balanced.probes[A].interval_s, balanced.probes[B].interval_s)
    balanced.balancer.on_pushed(A, {}, now_s=2.0)
    balanced.decide(2.0)
    assert 1.0 == balanced.probes[A].interval_s


def test_a_word_leaves_with_its_destination_and_comes_back_with_it():
    """It is read anew, although nothing of it has changed."""
    balanced = pushed({"state": "drain"})
    balanced.declare({B: 1}, 2.0)
    balanced.declare({A: 1, B: 1}, 3.0)
    balanced.decide(3.0)
    assert {A, B} == balanced.entries().keys()
    balanced.balancer.on_pushed(A, {"state": "drain"}, now_s=4.0)
    balanced.decide(4.0)
    assert {B} == balanced.entries().keys()


# --- what passes through ---


def test_strays_and_bad_feedback_are_told_once_for_each_source():
    """One source may send both; neither is a destination's doing, as far as is known."""
    balanced = Balanced({A: 1})
    for _ in range(3):
        balanced.balancer.on_stray("192.0.2.9", now_s=0.0)
        balanced.balancer.on_stray("192.0.2.8", now_s=0.0)
        balanced.balancer.on_bad_feedback("192.0.2.9", "oc=x", now_s=0.0)
        balanced.balancer.on_bad_feedback("192.0.2.9:5060", "oc=y", now_s=0.0)
    balanced.decide(0.0)
    passing = "in a message that passes through; removed; told once"
    assert [("", f"from 192.0.2.9, {passing}"), ("", f"from 192.0.2.8, {passing}")] == balanced.told("report refused")
    assert [
        ("", "overload control from 192.0.2.9: oc=x; told once"),
        ("", "overload control from 192.0.2.9:5060: oc=y; told once"),
    ] == balanced.told("feedback refused")


def test_strays_and_bad_feedback_that_go_on_are_told_every_hour():
    """With their number since."""
    balanced = Balanced({A: 1})
    for now_s in (0.0, 1.0, REPEAT_S):
        balanced.balancer.on_stray("192.0.2.9", now_s=now_s)
        balanced.balancer.on_bad_feedback("192.0.2.9", "oc=x", now_s=now_s)
    balanced.decide(REPEAT_S)
    for kind in ("report refused", "feedback refused"):
        assert [False, True] == [reason.endswith("; 2 more since it was told") for _, reason in balanced.told(kind)]


def test_what_passes_through_is_not_counted_against_a_destination():
    """Its own reports are as good as before."""
    balanced = reported(A, GOOD)
    balanced.balancer.on_stray("192.0.2.1", now_s=1.0)
    balanced.balancer.on_bad_feedback("192.0.2.1:5060", "oc=x", now_s=1.0)
    balanced.decide(2.0)
    assert ("0.500", "0") == (balanced.why(A)["utilization"], balanced.why(A)["reports_refused"])
