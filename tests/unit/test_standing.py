"""The operator's view of one destination."""

from dataclasses import replace

import pytest
from steelyard.core.destination import Destination, Mode, State
from steelyard.core.feedback import Algorithm
from steelyard.core.load_report import LoadReport
from steelyard.core.observed import ALONE_S, Observed
from steelyard.core.outcome import Outcome
from steelyard.core.settings import Policy
from steelyard.core.standing import Situation, stand
from steelyard.core.throttle import Throttle
from steelyard.core.weight import Factors

URI = "sip:192.0.2.1:5060"
USUAL = Situation(panic=False, above_threshold=True, policy=Policy.ADAPTIVE, tier=0)
PANIC = Situation(panic=True, above_threshold=True, policy=Policy.ADAPTIVE, tier=0)


def observed(*, calls=5, failures=0):
    """Return a destination that answered so many calls in 0.1 s each, then refused some."""
    new = Observed("d1")
    for _ in range(calls):
        new.on_answer(0.1, 1, 200, now_s=0.0)
    for _ in range(failures):
        new.on_outcome(Outcome.FAILURE, now_s=0.0)
    return new


def down():
    """Return a destination whose last three pings were lost."""
    new = observed()
    for _ in range(3):
        new.health.on_silence(fall=3)
    return new


def disabled():
    """Return a destination that was switched off in dispatcher."""
    new = observed()
    new.disabled = True
    return new


def left_alone():
    """Return a destination that asked for rest until second 12."""
    new = observed()
    new.retry_after_until_s = 12.0
    return new


def hiding():
    """Return a destination whose 100 Trying come at once and whose 200 do not."""
    new = observed()
    for _ in range(5):
        new.trying_time.add(0.001, now_s=0.0)
        new.beyond_time.add(1.0, now_s=0.0)
    return new


def advised(*, percent=100.0, state=State.READY, down="", seen=None):
    """Return a destination of which its agent says this."""
    new = seen or observed()
    new.agent = LoadReport(percent=percent, state=state, down=down)
    return new


def throttled(oc=20, algorithm=Algorithm.LOSS, shed=0):
    """Return a destination that asks for so much by overload control."""
    new = observed()
    new.on_throttled(Throttle(oc, algorithm, None, 10**15), shed, now_s=0.0)
    return new


def reporting(*, seconds=10, rps=50.0, utilizations=None, calls=5):
    """Return a destination whose reports came once a second up to second 0."""
    new = observed(calls=calls)
    report = LoadReport(utilizations or {"cpu_utilization": 0.5}, rps)
    for number in range(-seconds, 1):
        new.on_report(report, "sip", interval_s=1.0, now_s=float(number))
    return new


def row(destination=None, seen=None, factors=None, situation=USUAL, **numbers):
    """Return the fields of one destination."""
    return stand(
        destination or Destination(URI),
        seen or observed(),
        factors or Factors(1.0),
        situation,
        **{"share_percent": 25.0, "in_flight": 0, "now_s": 0.0, **numbers},
    ).fields


def test_a_row_names_its_destination_and_its_share():
    """The share travels as a number beside its text."""
    standing = stand(Destination(URI), observed(), Factors(1.0), USUAL, share_percent=12.344, in_flight=0, now_s=0.0)
    assert (URI, 12.344) == (standing.uri, standing.share_percent)
    assert "12.34" == standing.fields["effective"]


def test_only_the_calls_that_failed_are_said_to_have():
    """A second without a good answer counts as one more towards the weight, and is none that an operator can find."""
    seen = observed(failures=2)
    assert "its last 2 calls failed" in row(seen=seen, factors=Factors(1.0, errors=0.25), now_s=ALONE_S)["reason"]


def test_a_row_shows_every_factor_behind_the_share():
    """The operator can multiply it out."""
    seen = observed(calls=5, failures=2)
    seen.ping_time.add(0.0123456, now_s=0.0)
    seen.base_s, seen.capacity = 0.08, 1.5
    factors = Factors(2.5, capacity=1.2345, errors=0.5, slow_start=0.75)
    fields = row(Destination(URI, 2.5), seen, factors, replace(USUAL, unit_cps=40.0), in_flight=7)
    del fields["reason"]
    assert {
        "effective": "25.00",
        "declared": "2.5",
        "percent": "100",
        "capacity": "1.234",
        "errors": "0.500",
        "slow_start": "0.750",
        "response_time_ms": "100.000",
        "base_ms": "80.000",
        "bend": "4.8",
        "ping_ms": "12.346",
        "in_flight": "7",
        "utilization": "",
        "most_constrained": "",
        "reported_rps": "",
        "reported_capacity": "",
        "report_source": "",
        "report_age_s": "",
        "report_trust": "0.00",
        "reports_refused": "0",
        "oc": "",
        "shed": "0",
        "error_rate": "0.167",
        "health": "up",
        "state": "ready",
        "mode": "auto",
        "priority": "0",
    } == fields


def test_a_time_that_is_not_known_is_left_empty():
    """No ping answered, too few calls: no number is better than a made up one."""
    fields = row(seen=observed(calls=4))
    assert ("", "") == (fields["response_time_ms"], fields["ping_ms"])


def test_every_value_is_text():
    """It goes into a hash as it is."""
    assert all(isinstance(value, str) for value in row().values())


@pytest.mark.parametrize(
    ("destination", "seen", "reason"),
    [
        (Destination(URI, 0.0, State.DRAIN), None, "declared weight 0"),
        (Destination(URI, 1.0, State.DRAIN), disabled(), "state drain"),
        (Destination(URI, 1.0, State.MAINT), down(), "state maint"),
        (Destination(URI), disabled(), "disabled with dispatcher.set_state"),
        (Destination(URI, priority=1), down(), "down: 3 pings in a row unanswered"),
        (Destination(URI), left_alone(), "asked by Retry-After to be left alone for 7 s"),
    ],
)
def test_who_is_out_is_told_why(destination, seen, reason):
    """What the operator said comes before what was observed."""
    assert reason == row(destination, seen, share_percent=0.0, now_s=5.0)["reason"]


def test_health_is_shown():
    """Up or down, beside the reason."""
    assert "down" == row(seen=down())["health"]


def test_who_waits_for_a_lower_number_is_told_so():
    """Only one priority is in use at a time."""
    assert "priority 1: waits until all of lower numbers are out" == row(Destination(URI, priority=1))["reason"]


@pytest.mark.parametrize(
    ("destination", "situation", "reason"),
    [
        (
            Destination(URI, mode=Mode.MANUAL),
            Situation(False, False, Policy.WEIGHTED, 0),
            "manual: the declared weight as it is",
        ),
        (
            Destination(URI),
            Situation(False, False, Policy.WEIGHTED, 0),
            "below threshold_cps: round robin by declared weight",
        ),
        (Destination(URI), Situation(False, True, Policy.WEIGHTED, 0), "policy weighted"),
        (Destination(URI), Situation(False, True, Policy.ROUND_ROBIN, 0), "policy round-robin"),
        (Destination(URI), USUAL, "as declared"),
    ],
)
def test_who_is_in_is_told_by_which_rule(destination, situation, reason):
    """Mode comes before threshold, and threshold before policy."""
    assert reason == row(destination, situation=situation)["reason"]


@pytest.mark.parametrize(
    ("destination", "seen", "reason"),
    [
        (Destination(URI), None, "panic: tried by declared weight"),
        (
            Destination(URI),
            down(),
            "panic: tried by declared weight although down: 3 pings in a row unanswered",
        ),
        (Destination(URI, state=State.DRAIN), None, "state drain"),
        (Destination(URI), disabled(), "disabled with dispatcher.set_state"),
    ],
)
def test_in_panic_everybody_the_operator_allows_is_tried(destination, seen, reason):
    """What the operator forbids stays out."""
    assert reason == row(destination, seen, situation=PANIC)["reason"]


def test_in_panic_higher_numbers_still_wait():
    """Panic does not mix priorities."""
    assert "waits" in row(Destination(URI, priority=1), situation=PANIC, share_percent=0.0)["reason"]


@pytest.mark.parametrize(
    ("seen", "factors", "part"),
    [
        (observed(), Factors(1.0, slow_start=0.35), "slow start at 35%"),
        (observed(calls=5, failures=3), Factors(1.0, errors=0.5), "its last 3 calls failed"),
        (observed(calls=11, failures=2), Factors(1.0, errors=0.89), "11% of its calls fail"),
        (observed(calls=4), Factors(1.0, capacity=2.0), "few calls: judged by pings or by the set's average"),
        (observed(), Factors(1.0, capacity=1.11), "clears 1.1 x the median's calls"),
        (observed(), Factors(1.0, capacity=0.89), "clears only 0.9 x the median's calls"),
        (hiding(), Factors(1.0), "100 Trying comes long before anything else: consider first_reply beyond-100"),
    ],
)
def test_what_was_learned_is_said_in_words(seen, factors, part):
    """One thing learned is the whole reason."""
    assert part == row(seen=seen, factors=factors)["reason"]


@pytest.mark.parametrize("factors", [Factors(1.0, capacity=1.1), Factors(1.0, capacity=0.9), Factors(1.0, errors=0.9)])
def test_small_differences_are_not_worth_a_word(factors):
    """Within a tenth it is as declared."""
    assert "as declared" == row(factors=factors)["reason"]


def test_several_things_learned_are_all_said():
    """In the order of their weight."""
    seen = observed(calls=5, failures=3)
    assert (
        "slow start at 50%; its last 3 calls failed; clears 2.0 x the median's calls"
        == (row(seen=seen, factors=Factors(1.0, 2.0, 0.5, 0.5))["reason"])
    )


# --- reports, an agent's word, overload control ---


def test_a_row_shows_what_was_reported():
    """The most constrained utilization, the rate, what they make of it, whence, how old and how far they count."""
    seen = reporting(utilizations={"cpu_utilization": 0.25, "named_metrics.shm": 0.5}, rps=41.5)
    seen.reported.refused = 3
    fields = row(seen=seen, now_s=16.0)
    assert {
        "utilization": "0.500",
        "most_constrained": "named_metrics.shm",
        "reported_rps": "41.5",
        "reported_capacity": "83.0",
        "report_source": "sip",
        "report_age_s": "16.0",
        "report_trust": "0.37",
        "reports_refused": "3",
    } == {name: fields[name] for name in fields if "report" in name or name in ("utilization", "most_constrained")}


def test_what_a_report_does_not_say_is_left_empty():
    """It may have been an agent's word alone."""
    seen = observed()
    seen.on_report(LoadReport(percent=50.0), "pushed", interval_s=2.0, now_s=0.0)
    fields = row(seen=seen)
    assert ("", "", "", "") == tuple(
        fields[name] for name in ("utilization", "most_constrained", "reported_rps", "reported_capacity")
    )
    assert ("pushed", "0.0", "0.00") == (fields["report_source"], fields["report_age_s"], fields["report_trust"])


@pytest.mark.parametrize(
    ("seen", "oc", "shed"),
    [
        (observed(), "", "0"),
        (throttled(20, shed=7), "20 % fewer requests", "7"),
        (throttled(15, Algorithm.RATE), "at most 15 requests per second", "0"),
        (throttled(0, Algorithm.RATE, shed=9), "at most 0 requests per second", "9"),
    ],
)
def test_a_row_shows_the_overload_control_in_force(seen, oc, shed):
    """What is asked, in words, and how many requests were kept from it."""
    fields = row(seen=seen)
    assert (oc, shed) == (fields["oc"], fields["shed"])


def test_a_row_shows_the_percentage_that_its_agent_leaves():
    """As the agent says it."""
    assert "12.5" == row(seen=advised(percent=12.5))["percent"]


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (advised(down="disk full"), "down by its agent's word: disk full"),
        (advised(down="disk full", state=State.DRAIN, percent=0.0), "down by its agent's word: disk full"),
        (advised(state=State.DRAIN), "state drain by its agent's word"),
        (advised(state=State.MAINT, percent=50.0), "state maint by its agent's word"),
        (advised(percent=0.0), "0 % by its agent's word"),
        (advised(state=State.DRAIN, seen=left_alone()), "state drain by its agent's word"),
        (advised(state=State.DRAIN, seen=down()), "down: 3 pings in a row unanswered"),
        (advised(state=State.DRAIN, seen=disabled()), "disabled with dispatcher.set_state"),
    ],
)
def test_who_is_out_by_its_agents_word_is_told_so(seen, reason):
    """After the operator's word and the pings, before Retry-After."""
    assert reason == row(seen=seen, share_percent=0.0)["reason"]


def test_in_panic_an_agents_word_is_named_and_overruled():
    """Nobody else is left."""
    assert (
        "panic: tried by declared weight although state drain by its agent's word"
        == (row(seen=advised(state=State.DRAIN), situation=PANIC)["reason"])
    )


@pytest.mark.parametrize(
    ("seen", "factors", "part"),
    [
        (throttled(20), Factors(1.0), "asks for 20 % fewer requests"),
        (throttled(15, Algorithm.RATE), Factors(1.0), "asks for at most 15 requests per second"),
        (advised(percent=25.0), Factors(1.0, percent=0.25), "its agent leaves 25 % of its weight"),
        (reporting(), Factors(1.0), "as declared"),
        (reporting(), Factors(1.0, capacity=1.11), "reports 1.1 x the median's capacity"),
        (reporting(), Factors(1.0, capacity=0.89), "reports only 0.9 x the median's capacity"),
        (reporting(calls=0), Factors(1.0, capacity=2.0), "reports 2.0 x the median's capacity"),
        (reporting(seconds=9), Factors(1.0), "its load reports count once they have come for 10 s"),
        (reporting(rps=0.0), Factors(1.0), "its load reports tell too few requests to judge by"),
    ],
)
def test_what_was_told_is_said_in_words(seen, factors, part):
    """One thing told is the whole reason."""
    assert part == row(seen=seen, factors=factors)["reason"]


@pytest.mark.parametrize(
    ("now_s", "reason"),
    [
        (6.0, "reports 2.0 x the median's capacity"),
        (6.1, "its last load report is 6 s old; reports 2.0 x the median's capacity"),
        (12.9, "its last load report is 13 s old; reports 2.0 x the median's capacity"),
        (13.0, "its last load report is 13 s old; few calls: judged by pings or by the set's average"),
        (99.0, "its last load report is 99 s old; few calls: judged by pings or by the set's average"),
    ],
)
def test_stale_reports_are_named_until_answers_judge_again(now_s, reason):
    """Where they count by half there is the turn: e^(-0.7), seven seconds after they were fresh."""
    assert reason == row(seen=reporting(calls=0), factors=Factors(1.0, 2.0), now_s=now_s)["reason"]


def test_reports_in_their_blackout_do_not_judge():
    """What calls say does."""
    assert (
        "its load reports count once they have come for 10 s; clears 2.0 x the median's calls"
        == (row(seen=reporting(seconds=5), factors=Factors(1.0, 2.0))["reason"])
    )


def test_all_that_was_told_and_learned_is_said():
    """In the order of its weight."""
    seen = advised(percent=50.0, seen=throttled(20))
    for _ in range(3):
        seen.on_outcome(Outcome.FAILURE, now_s=0.0)
    assert (
        "slow start at 50%; asks for 20 % fewer requests; its last 3 calls failed; "
        "its agent leaves 50 % of its weight; clears 2.0 x the median's calls"
    ) == row(seen=seen, factors=Factors(1.0, 2.0, 0.5, 0.5, 0.5))["reason"]
