"""What load reports and overload control make of the weights, and what is said of them."""

import math

import pytest
from steelyard.core.balancer import HOLD_FORGOTTEN
from steelyard.core.feedback import Algorithm
from steelyard.core.reported import LINGERING_S
from steelyard.core.roster import Throttled
from steelyard.core.snapshot import Rule
from steelyard.core.throttle import Throttle

from tests.unit.balanced import A, B, Balanced, C

SOURCES = {A: "192.0.2.1", B: "192.0.2.2", C: "192.0.2.3"}
ADDRESSES = {uri: f"{source}:5060" for uri, source in SOURCES.items()}


def header(utilization, rps):
    """Return a report's value."""
    return f"TEXT cpu_utilization={utilization},rps_fractional={rps}"


def reporting(seconds, capacities, **hashes):
    """Return a set whose destinations have reported half load for so many seconds, one report and decision each."""
    balanced = Balanced(dict.fromkeys(capacities, 1), **hashes)
    for now_s in range(seconds + 1):
        for uri, capacity in capacities.items():
            balanced.report(uri, header(0.5, capacity / 2), now_s=float(now_s), source=SOURCES[uri])
            balanced.answer(uri, now_s=float(now_s))
        balanced.decide(float(now_s))
    return balanced


def held(times_s, *, weights=None, silent=(), **hashes):
    """
    Return a set whose destinations answered ten calls a second in these times for half a minute.

    All but the silent ones reported half load and a capacity of 100.
    """
    balanced = Balanced(weights or dict.fromkeys(times_s, 1), **hashes)
    for now_s in range(31):
        for uri, time_s in times_s.items():
            balanced.answer(uri, times=10, now_s=float(now_s), response_time_s=time_s)
            if uri not in silent:
                balanced.report(uri, header(0.5, 50), now_s=float(now_s), source=SOURCES[uri])
        balanced.decide(float(now_s))
    return balanced


def holds(balanced):
    """Return how long each destination holds a request beside the set's usual."""
    return {entry.uri: entry.hold for entry in balanced.snapshot.entries}


def shares(balanced):
    """Return the effective shares, rounded to a tenth of a percent."""
    return {s.uri: round(s.share_percent, 1) for s in balanced.standings}


# --- reports into weights ---


def test_reports_decide_the_weights_of_proxies_that_answer_alike():
    """50, 100 and 200 a second make 1, 2 and 4 parts of seven."""
    balanced = reporting(40, {A: 50, B: 100, C: 200})
    assert {A: 14.3, B: 28.6, C: 57.1} == shares(balanced)
    assert "reports 2.0 x the median's capacity" == balanced.why(C)["reason"]
    assert "reports only 0.5 x the median's capacity" == balanced.why(A)["reason"]


def test_reports_do_not_count_before_the_blackout_is_over():
    """Ten seconds, in which what calls say decides."""
    balanced = reporting(9, {A: 50, B: 100, C: 200})
    assert {A: 33.3, B: 33.3, C: 33.3} == shares(balanced)
    assert "its load reports count once they have come for 10 s" in balanced.why(C)["reason"]


def test_stale_reports_give_way_to_what_calls_say():
    """After a minute nothing is left of them, and no step was seen on the way."""
    balanced = reporting(40, {A: 50, B: 100, C: 200})
    steps = []
    for now_s in range(41, 110):
        for uri in (A, B, C):
            balanced.answer(uri, now_s=float(now_s))
        before = shares(balanced)
        balanced.decide(float(now_s))
        steps.append(max(abs(before[uri] - shares(balanced)[uri]) for uri in before))
    assert {A: 33.3, B: 33.3, C: 33.3} == pytest.approx(shares(balanced), abs=0.2)
    assert max(steps) < 5
    assert "its last load report is" in balanced.why(C)["reason"]


def test_one_that_stops_reporting_is_judged_by_calls_beside_those_that_go_on():
    """In the unit of the others' reports."""
    balanced = reporting(40, {A: 100, B: 100, C: 100})
    for now_s in range(41, 140):
        for uri in (A, B, C):
            balanced.answer(uri, now_s=float(now_s))
            if uri != C:
                balanced.report(uri, header(0.5, 50), now_s=float(now_s), source=SOURCES[uri])
        balanced.decide(float(now_s))
    assert {A: 33.3, B: 33.3, C: 33.3} == pytest.approx(shares(balanced), abs=0.2)


def test_reports_do_not_count_where_they_are_switched_off():
    """Nor are they asked for."""
    balanced = reporting(40, {A: 50, B: 100, C: 200}, settings={"load_reports": "off"})
    assert {A: 33.3, B: 33.3, C: 33.3} == shares(balanced)
    assert [False] * 3 == [probe.asks_load for probe in balanced.probes.values()]
    assert "" == balanced.why(A)["utilization"]


def test_a_row_shows_the_report_and_its_age():
    """The operator can follow how a share came about."""
    balanced = reporting(20, {A: 50, B: 100, C: 200})
    balanced.decide(21.5)
    fields = balanced.why(A)
    assert {
        "utilization": "0.500",
        "most_constrained": "cpu_utilization",
        "reported_rps": "25",
        "reported_capacity": "50.0",
        "report_source": "sip",
        "report_age_s": "1.5",
        "report_trust": "1.00",
        "reports_refused": "0",
    } == {name: fields[name] for name in fields if "report" in name or name in ("utilization", "most_constrained")}


def test_who_holds_requests_longer_gets_more_room_for_the_same_weight():
    """Little's law: what answers in 80 ms instead of 20 has four times as much in hand at the same rate."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(31):
        for uri, time_s in ((A, 0.08), (B, 0.02)):
            balanced.answer(uri, times=10, now_s=float(now_s), response_time_s=time_s)
            balanced.report(uri, header(0.5, 50), now_s=float(now_s), source=SOURCES[uri])
        balanced.decide(float(now_s))
    holds = {entry.uri: entry.hold for entry in balanced.snapshot.entries}
    assert 4.0 == pytest.approx(holds[A] / holds[B], rel=0.1)


def test_a_crowded_proxy_gets_no_more_room_for_being_slow():
    """Above 85 % its requests wait, and that is no reason to send it more."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(31):
        for uri, utilization, time_s in ((A, 0.9, 0.5), (B, 0.5, 0.05)):
            balanced.answer(uri, times=10, now_s=float(now_s), response_time_s=time_s)
            balanced.report(uri, header(utilization, 50), now_s=float(now_s), source=SOURCES[uri])
        balanced.decide(float(now_s))
    assert {A: 1.0, B: 1.0} == {entry.uri: entry.hold for entry in balanced.snapshot.entries}


@pytest.mark.parametrize(("seconds", "grown"), [(9, 1.0), (10, 1.15), (11, 1.15**2)])
def test_reports_count_from_the_tenth_second_on(seconds, grown):
    """Then a capacity grows as fast as any learned one may, 15 % a second."""
    balanced = reporting(seconds, {A: 50, B: 100, C: 800})
    assert grown == pytest.approx(balanced.weights()[C], rel=1e-3)


@pytest.mark.parametrize(
    ("age_s", "trust"), [(0.0, 1.0), (6.0, 1.0), (16.0, math.exp(-1)), (26.0, math.exp(-2)), (60.0, 0.0)]
)
def test_a_report_counts_in_full_for_six_seconds_and_then_fades(age_s, trust):
    """Four times the capacity becomes four to the power of what is left of it, beside answers that are alike."""
    balanced = Balanced({A: 1, B: 1})
    for now_s in range(41):
        for uri, rps in ((A, 25), (B, 100)):
            balanced.report(uri, header(0.5, rps), now_s=float(now_s), source=SOURCES[uri])
        balanced.decide(float(now_s))
    assert pytest.approx(4.0, rel=1e-3) == balanced.weights()[B] / balanced.weights()[A]
    balanced.decide(40.0 + age_s)
    balanced.declare({A: 1, B: 1}, 40.0 + age_s)
    balanced.decide(40.0 + age_s)
    assert pytest.approx(4.0**trust, rel=1e-3) == balanced.weights()[B] / balanced.weights()[A]
    assert f"{trust:.2f}" == balanced.why(A)["report_trust"]


def test_after_a_silence_of_a_minute_the_blackout_begins_anew():
    """Nobody knows what happened meanwhile."""
    balanced = reporting(40, {A: 50, B: 100, C: 200})
    for uri, capacity in ((A, 50), (B, 100), (C, 200)):
        balanced.report(uri, header(0.5, capacity / 2), now_s=100.0, source=SOURCES[uri])
    balanced.decide(100.0)
    assert ["0.00"] * 3 == [balanced.why(uri)["report_trust"] for uri in (A, B, C)]


def test_one_that_is_back_from_maint_reports_as_a_newcomer():
    """What it told before is of another life."""
    balanced = reporting(40, {A: 50, B: 100, C: 200})
    balanced.declare({A: 1, B: 1, C: 1}, 41.0, state={C: "maint"})
    balanced.decide(41.0)
    balanced.declare({A: 1, B: 1, C: 1}, 42.0)
    balanced.decide(42.0)
    assert ("0.00", "") == (balanced.why(C)["report_trust"], balanced.why(C)["reported_capacity"])
    assert "1.00" == balanced.why(A)["report_trust"]


def test_reports_of_one_alone_do_not_favour_it():
    """Nobody's answers differ from its own: whatever unit it reports in, all are alike."""
    balanced = Balanced({A: 1, B: 1, C: 1})
    for now_s in range(41):
        for uri in (A, B, C):
            balanced.answer(uri, times=5, now_s=float(now_s))
        balanced.report(A, header(0.5, 5000), now_s=float(now_s))
        balanced.decide(float(now_s))
    assert {A: 33.3, B: 33.3, C: 33.3} == pytest.approx(shares(balanced), abs=0.1)


@pytest.mark.parametrize(("policy", "weights"), [("weighted", {A: 1.0, B: 3.0}), ("round-robin", {A: 1.0, B: 1.0})])
def test_reports_move_no_weight_but_under_adaptive(policy, weights):
    """The operator's word is exact."""
    balanced = Balanced({A: 1, B: 3}, settings={"policy": policy})
    for now_s in range(41):
        balanced.report(A, header(0.5, 500), now_s=float(now_s))
        balanced.report(B, header(0.5, 5), now_s=float(now_s), source=SOURCES[B])
        balanced.decide(float(now_s))
    assert weights == balanced.weights()


# --- rooms ---


def test_without_reports_the_room_is_the_weight():
    """How long requests are held tells nothing of the room where nothing tells how busy a destination is."""
    assert {A: 1.0, B: 1.0} == holds(held({A: 0.08, B: 0.02}, silent=(A, B)))


def test_the_usual_time_is_the_mean_of_those_that_report():
    """By their weights, which are equal here: 80 and 20 ms make 50. Who does not report has the usual room."""
    balanced = held({A: 0.08, B: 0.02, C: 0.5}, silent=(C,), mode=dict.fromkeys((A, B, C), "manual"))
    assert {A: 1.6, B: 0.4, C: 1.0} == holds(balanced)


@pytest.mark.parametrize(("weight", "expected"), [("0.01", {A: 5.0, B: 0.67}), ("1", {A: 1.96, B: 0.2})])
def test_a_room_is_within_a_fifth_and_five_times_the_usual(weight, expected):
    """No measurement makes more of it, and nothing less."""
    balanced = held({A: 0.5, B: 0.01}, weights={A: weight, B: 1}, mode={A: "manual", B: "manual"})
    assert expected == holds(balanced)


def test_rooms_stay_for_minutes_when_the_reports_stop():
    """Ten minutes after they were fresh a factor of four has become one of 4^(1/e)."""
    balanced = held({A: 0.08, B: 0.02})
    before = holds(balanced)
    balanced.decide(36.0)
    assert before == pytest.approx(holds(balanced), abs=0.01)
    for _ in range(2):  # weights first, which the rooms are compared by
        balanced.declare({A: 1, B: 1}, 636.0)
        balanced.decide(636.0)
    assert pytest.approx((before[A] / before[B]) ** math.exp(-1), rel=0.05) == holds(balanced)[A] / holds(balanced)[B]


def test_who_is_busy_is_forgotten_half_an_hour_after_the_last_report():
    """Equally busy by what reports told then is no aim any more: callers are served soonest."""
    balanced = held({A: 0.08, B: 0.02})
    assert Rule.LEAST is balanced.snapshot.rule
    forgotten_s = 36.0 + LINGERING_S * math.log(1 / HOLD_FORGOTTEN)
    for now_s, rule in ((forgotten_s - 5, Rule.LEAST), (forgotten_s + 5, Rule.SOONEST)):
        balanced.decide(now_s)
        assert rule is balanced.snapshot.rule
    assert {A: 1.0, B: 1.0} == holds(balanced)


def test_one_that_is_back_from_maint_has_the_usual_room():
    """Until it has told again."""
    balanced = held({A: 0.08, B: 0.02})
    balanced.declare({A: 1, B: 1}, 31.0, state={A: "maint"})
    balanced.decide(31.0)
    balanced.declare({A: 1, B: 1}, 32.0)
    balanced.decide(32.0)
    assert 1.0 == holds(balanced)[A]


# --- what is not believed ---


def test_a_report_is_believed_only_from_whom_it_was_asked_of():
    """An answer from another address is counted and told once."""
    balanced = Balanced({A: 1})
    for now_s in (0.0, 1.0):
        balanced.report(A, header(0.5, 50), now_s=now_s, source="198.51.100.9")
    balanced.decide(1.0)
    assert [(A, "the answer came from 198.51.100.9, which was not asked; told once")] == balanced.told("report refused")
    assert ("2", "") == (balanced.why(A)["reports_refused"], balanced.why(A)["utilization"])


def test_a_host_that_is_a_name_is_believed_by_its_transaction():
    """Which address it has is the resolver's to know."""
    uri = "sip:proxy.example.com"
    balanced = Balanced({uri: 1})
    balanced.report(uri, header(0.5, 50), now_s=0.0, source="198.51.100.9")
    balanced.decide(1.0)
    assert "0.500" == balanced.why(uri)["utilization"]


def test_a_bad_report_is_told_again_after_a_good_one():
    """It changes nothing else."""
    balanced = Balanced({A: 1})
    for value in ("TEXT cpu_utilization=9999", "TEXT cpu_utilization=9999", header(0.5, 50), "JSON"):
        balanced.report(A, value, now_s=0.0)
    balanced.decide(1.0)
    assert [True, True] == [
        uri == A and reason.endswith("told once") for uri, reason in balanced.told("report refused")
    ]
    assert ("3", "0.500") == (balanced.why(A)["reports_refused"], balanced.why(A)["utilization"])


def test_a_pong_that_is_too_late_carries_no_report():
    """It is no answer."""
    balanced = Balanced({A: 1})
    balanced.balancer.on_ping("ping", A, sent_s=0.0)
    balanced.balancer.on_pong("ping", 200, SOURCES[A], header(0.5, 50), received_s=1.5)
    balanced.decide(1.5)
    assert "" == balanced.why(A)["utilization"]


def test_a_report_that_merely_passes_through_is_told_once_with_its_source():
    """It was removed where it was seen."""
    balanced = Balanced({A: 1})
    for source in ("192.0.2.9", "192.0.2.9", "192.0.2.8"):
        balanced.balancer.on_stray(source, now_s=0.0)
    balanced.decide(0.0)
    assert ["192.0.2.9", "192.0.2.8"] == [
        reason.split()[1].rstrip(",") for _, reason in balanced.told("report refused")
    ]


def test_bad_feedback_is_told_once_with_its_source():
    """It was disregarded where it was seen."""
    balanced = Balanced({A: 1})
    for _ in range(2):
        balanced.balancer.on_bad_feedback(ADDRESSES[A], "oc=101: more than 100 %", now_s=0.0)
    balanced.decide(0.0)
    assert ["overload control from 192.0.2.1:5060: oc=101: more than 100 %; told once"] == [
        reason for _, reason in balanced.told("feedback refused")
    ]


# --- pushed reports ---


def test_a_pushed_report_counts_like_one_by_sip():
    """Only one that has changed is news."""
    balanced = Balanced({A: 1})
    fields = {"cpu_utilization": "0.5", "rps_fractional": "50", "time": "1"}
    balanced.balancer.on_pushed(A, fields, now_s=0.0)
    balanced.balancer.on_pushed(A, fields, now_s=3.0)
    balanced.decide(3.0)
    assert ("pushed", "3.0") == (balanced.why(A)["report_source"], balanced.why(A)["report_age_s"])
    balanced.balancer.on_pushed(A, {**fields, "time": "2"}, now_s=4.0)
    balanced.decide(4.0)
    assert "0.0" == balanced.why(A)["report_age_s"]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"down": "disk full"}, "down by its agent's word: disk full"),
        ({"state": "drain"}, "state drain by its agent's word"),
        ({"state": "maint"}, "state maint by its agent's word"),
        ({"percent": "0"}, "0 % by its agent's word"),
    ],
)
def test_an_agents_word_takes_a_destination_out_and_back(fields, reason):
    """As long as it stands there."""
    balanced = Balanced({A: 1, B: 1})
    balanced.balancer.on_pushed(A, fields, now_s=0.0)
    balanced.decide(0.0)
    assert ({A: 0.0, B: 100.0}, reason) == (shares(balanced), balanced.why(A)["reason"])
    balanced.balancer.on_pushed(A, {}, now_s=1.0)
    balanced.decide(1.0)
    assert {A: 50.0, B: 50.0} == shares(balanced)
    assert 2 == len(balanced.told("report"))


def test_an_agent_may_leave_a_part_of_the_declared_weight():
    """25 % of 1 beside 1 is a fifth."""
    balanced = Balanced({A: 1, B: 1})
    balanced.balancer.on_pushed(A, {"percent": "25%"}, now_s=0.0)
    balanced.decide(0.0)
    assert {A: 20.0, B: 80.0} == shares(balanced)
    assert ("25", True) == (balanced.why(A)["percent"], "its agent leaves 25 %" in balanced.why(A)["reason"])


def test_an_agent_in_maint_is_not_probed():
    """As by the operator's word."""
    balanced = Balanced({A: 1, B: 1})
    balanced.balancer.on_pushed(A, {"state": "maint"}, now_s=0.0)
    balanced.decide(0.0)
    assert (0.0, 1.0) == (balanced.probes[A].interval_s, balanced.probes[B].interval_s)


def test_no_report_brings_up_who_fails_the_pings():
    """Whatever an agent says of it."""
    balanced = Balanced({A: 1, B: 1})
    now_s = balanced.fall(A, now_s=0.0)
    balanced.balancer.on_pushed(A, {"state": "ready", "down": "0", "cpu_utilization": "0"}, now_s=now_s)
    balanced.decide(now_s + 1)
    assert ({A: 0.0, B: 100.0}, "down") == (shares(balanced), balanced.why(A)["health"])


def test_what_cannot_be_a_pushed_report_is_refused_and_the_last_word_stays():
    """A bad field, or a key that is no hash."""
    balanced = Balanced({A: 1, B: 1})
    for fields in ({"state": "drain"}, {"state": "gone"}, None):
        balanced.balancer.on_pushed(A, fields, now_s=0.0)
    balanced.decide(0.0)
    assert {A: 0.0, B: 100.0} == shares(balanced)
    assert "2" == balanced.why(A)["reports_refused"]
    assert 1 == len(balanced.told("report refused"))


def test_reports_of_a_destination_that_has_left_are_nothing():
    """The key may outlive it."""
    balanced = Balanced({A: 1, B: 1})
    balanced.declare({B: 1}, 1.0)
    balanced.balancer.on_pushed(A, {"state": "drain"}, now_s=1.0)
    assert {B: 100.0} == (balanced.decide(1.0), shares(balanced))[1]


# --- overload control ---


def loss(percent):
    """Return a throttle of so much loss."""
    return Throttle(percent, Algorithm.LOSS, None, 10**15)


def test_the_upstream_is_told_only_when_all_destinations_are_in_overload():
    """RFC 6357: the balancer is in overload when all its servers are; then by the mean of their shares."""
    balanced = Balanced({A: 1, B: 3})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(80), 1)
    assert 0 == balanced.decide(0.0).overload_percent
    balanced.throttled[ADDRESSES[B]] = Throttled(loss(40), 1)
    assert 50 == balanced.decide(0.1).overload_percent
    balanced.throttled[ADDRESSES[B]] = Throttled(None, 1)
    assert 0 == balanced.decide(0.2).overload_percent


def test_a_rate_counts_as_overload_while_it_keeps_anything_away():
    """By the part that was kept."""
    balanced = Balanced({A: 1})
    rate = Throttle(10, Algorithm.RATE, None, 10**15)
    balanced.throttled[ADDRESSES[A]] = Throttled(rate, 0)
    assert 0 == balanced.decide(0.0).overload_percent
    balanced.throttled[ADDRESSES[A]] = Throttled(rate, 20)
    assert 100 == balanced.decide(0.1).overload_percent
    assert "at most 10 requests per second" == balanced.why(A)["oc"]


def test_without_destinations_there_is_no_overload():
    """The answer is 503 for another reason."""
    assert 0 == Balanced({}).decide(0.0).overload_percent


def test_an_overload_is_told_when_it_begins_and_when_it_has_ended_for_good():
    """At the brink it comes and goes many times a minute."""
    balanced = Balanced({A: 1})
    for now_s in range(10):
        balanced.throttled[ADDRESSES[A]] = Throttled(loss(5) if now_s % 2 else None, now_s)
        balanced.decide(float(now_s))
    assert [(A, "asks by overload control for 5 % fewer requests")] == balanced.told("overload")
    assert "asks for 5 % fewer requests" in balanced.why(A)["reason"]
    balanced.throttled.clear()
    balanced.decide(18.0)
    assert [] == balanced.told("overload over")
    balanced.decide(20.0)
    assert 1 == len(balanced.told("overload over"))


@pytest.mark.parametrize(
    ("state", "disabled", "percent"), [(None, False, 0), ("drain", False, 80), ("maint", False, 80), (None, True, 80)]
)
def test_only_who_may_be_picked_can_take_what_the_others_do_not(state, disabled, percent):
    """A destination that is out keeps the upstream from nothing."""
    balanced = Balanced({A: 1, B: 1}, state={B: state} if state else {})
    balanced.balancer.on_disabled(B, disabled=disabled)
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(80), 1)
    assert percent == balanced.decide(1.0).overload_percent


def test_a_spare_that_is_not_full_keeps_the_upstream_from_being_told():
    """What the first tier sheds goes there."""
    balanced = Balanced({A: 1, B: 1}, priority={B: "5"})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(80), 1)
    assert 0 == balanced.decide(1.0).overload_percent
    balanced.throttled[ADDRESSES[B]] = Throttled(loss(40), 1)
    assert 60 == balanced.decide(2.0).overload_percent


def test_one_that_goes_down_leaves_the_rest_in_overload():
    """The upstream is told as soon as nobody else is left."""
    balanced = Balanced({A: 1, B: 1})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(30), 1)
    assert 0 == balanced.decide(0.0).overload_percent
    now_s = balanced.fall(B, now_s=0.0)
    assert 30 == balanced.decide(now_s).overload_percent


def test_an_overload_of_less_than_a_percent_is_told_as_one():
    """0 would mean that there is none."""
    balanced = Balanced({A: 1})
    balanced.answer(A, times=1000, now_s=1.0)
    balanced.throttled[ADDRESSES[A]] = Throttled(Throttle(500, Algorithm.RATE, None, 10**15), 1)
    assert 1 == balanced.decide(1.0).overload_percent


def test_an_overload_is_looked_for_by_the_address_of_a_destination():
    """Two URIs of one server are in overload together."""
    tcp = f"{A};transport=tcp"
    balanced = Balanced({A: 1, tcp: 1})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(20), 3)
    assert 20 == balanced.decide(1.0).overload_percent
    assert {A, tcp} == {uri for uri, _ in balanced.told("overload")}


def test_an_overload_that_is_over_says_how_much_was_kept_away():
    """Ten seconds after it was last in force, and once."""
    balanced = Balanced({A: 1})
    for now_s, seen in ((1.0, Throttled(loss(20), 5)), (2.0, Throttled(loss(30), 42))):
        balanced.throttled[ADDRESSES[A]] = seen
        balanced.decide(now_s)
    balanced.throttled[ADDRESSES[A]] = Throttled(None, 42)
    told = [now_s for now_s in (3.0, 11.999, 12.0, 13.0, 30.0) if balanced.decide(now_s).events]
    assert [12.0] == told
    assert [(A, "asks by overload control for 20 % fewer requests")] == balanced.told("overload")
    assert [(A, "42 requests have been kept from it since it joined")] == balanced.told("overload over")
    assert ("", "42") == (balanced.why(A)["oc"], balanced.why(A)["shed"])


@pytest.mark.parametrize("when_s", [0.1, 0.9])
def test_an_overload_is_in_the_operators_view_with_the_next_decision(when_s):
    """It does not wait for the period."""
    balanced = Balanced({A: 1})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(20), 0)
    balanced.decide(when_s)
    assert "20 % fewer requests" == balanced.why(A)["oc"]
    assert "asks for 20 % fewer requests" in balanced.why(A)["reason"]


def test_overload_control_moves_no_weight():
    """It keeps requests away by itself."""
    balanced = Balanced({A: 1, B: 1})
    balanced.throttled[ADDRESSES[A]] = Throttled(loss(80), 1)
    balanced.decide(1.0)
    assert {A: 1.0, B: 1.0} == balanced.weights()
