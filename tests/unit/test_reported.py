"""What load reports say of a capacity, and for how long."""

import math

import pytest
from steelyard.core.load_report import LoadReport
from steelyard.core.reported import BLACKOUT_S, FRESH_S, OFF_S, Reported


def report(utilization, rps, eps=0.0):
    """Return a load report."""
    return LoadReport({"cpu_utilization": utilization}, rps, eps)


def after(seconds, *, utilization=0.5, rps=50.0, eps=0.0, interval_s=1.0):
    """Return what is known after a report every second for so long; the last one is at `seconds`."""
    reported = Reported()
    for now_s in range(int(seconds) + 1):
        reported.on_report(report(utilization, rps, eps), "sip", interval_s=interval_s, now_s=float(now_s))
    return reported


def test_capacity_is_rate_over_utilization():
    """40 a second at half load make 80."""
    assert 80 == pytest.approx(after(20, rps=40.0).capacity())


def test_failed_requests_count_as_load():
    """A58: utilization plus errors over requests."""
    assert 50 / (0.5 + 0.1) == pytest.approx(after(20, eps=5.0).capacity())


def test_utilization_has_a_floor():
    """A proxy that says it is idle has no boundless capacity."""
    assert 50 / 0.05 == pytest.approx(after(20, utilization=0.0).capacity())


def test_few_requests_are_pooled_until_they_make_a_sample():
    """At two a second it takes five reports to rest on ten."""
    assert after(3, rps=2.0, utilization=0.1).capacity() is None
    assert 20 == pytest.approx(after(5, rps=2.0, utilization=0.1).capacity())


def test_a_pool_that_stays_too_small_is_given_up():
    """What was a minute ago is of another load."""
    assert after(300, rps=0.1).capacity() is None


@pytest.mark.parametrize(("idle_s", "capacity"), [(55, 10 / (6 * 0.5 + 55 * 0.1)), (56, None)])
def test_a_pool_is_kept_for_a_minute(idle_s, capacity):
    """Two requests in five seconds, none for a while, then eight: ten over their load, or the first two are gone."""
    reported = Reported()
    loads = [(0.5, 0.4)] * 5 + [(0.1, 0.0)] * idle_s + [(0.5, 8.0)]
    for now_s, (utilization, rps) in enumerate(loads):
        reported.on_report(report(utilization, rps), "sip", interval_s=1.0, now_s=float(now_s))
    assert capacity == (reported.capacity() and pytest.approx(reported.capacity()))


def test_failures_without_requests_are_no_load():
    """There is nothing to hold them against; idle seconds are pooled as what they are."""
    reported = Reported()
    reported.on_report(report(0.0, 0.0, 9.0), "sip", interval_s=1.0, now_s=0.0)
    reported.on_report(report(0.5, 50.0), "sip", interval_s=1.0, now_s=1.0)
    assert 25.0 / 0.25 == pytest.approx(reported.capacity())


def test_without_requests_there_is_no_capacity():
    """Nothing can be told of an idle proxy."""
    assert after(30, rps=0.0).capacity() is None


def test_a_report_without_rate_or_utilization_is_shown_and_not_weighed():
    """It may still carry an agent's word."""
    reported = Reported()
    reported.on_report(LoadReport({"cpu_utilization": 0.5}), "sip", interval_s=1.0, now_s=0.0)
    reported.on_report(LoadReport({}, 50.0), "sip", interval_s=1.0, now_s=1.0)
    assert reported.capacity() is None
    assert 50.0 == reported.last.rps


def test_a_new_capacity_is_taken_on_in_five_seconds():
    """In log space: after one time constant the rest is 1/e of the way."""
    reported = after(20)
    for second in range(1, 6):
        reported.on_report(report(0.5, 100.0), "sip", interval_s=1.0, now_s=20.0 + second)
    assert 100 * 2 ** (1 - math.exp(-1)) == pytest.approx(reported.capacity(), rel=1e-6)


def test_a_newcomers_reports_do_not_count_for_ten_seconds():
    """They are of a cold proxy."""
    assert 0.0 == after(BLACKOUT_S - 1).trust(BLACKOUT_S - 0.001)
    assert 1.0 == after(BLACKOUT_S).trust(BLACKOUT_S)


@pytest.mark.parametrize(
    ("age_s", "trust"), [(0, 1.0), (6, 1.0), (16, math.exp(-1)), (26, math.exp(-2)), (59.9, math.exp(-5.39)), (60, 0)]
)
def test_stale_reports_fade(age_s, trust):
    """In full for six seconds, then by 1/e every ten, and not at all after a minute."""
    assert trust == pytest.approx(after(30).trust(30.0 + age_s))


def test_what_was_learned_beside_the_reports_fades_over_minutes():
    """How long a request is held does not change when a reporter stops."""
    assert (0.0, 1.0) == (Reported().linger(5.0), after(30).linger(36.0))
    assert math.exp(-1) == pytest.approx(after(30).linger(636.0))


def test_after_a_minute_without_reports_the_blackout_begins_anew():
    """Nobody knows what happened meanwhile."""
    reported = after(30)
    reported.on_report(report(0.5, 50.0), "sip", interval_s=1.0, now_s=30.0 + OFF_S)
    assert 0.0 == reported.trust(30.0 + OFF_S)


def test_reports_that_are_asked_for_seldom_are_fresh_for_longer():
    """Until three are overdue."""
    reported = Reported()
    for now_s in (0.0, 30.0, 60.0):
        reported.on_report(report(0.5, 50.0), "sip", interval_s=30.0, now_s=now_s)
    assert 1.0 == reported.trust(60.0 + 90.0)
    assert 1.0 > reported.trust(60.0 + 91.0)


def test_a_restart_forgets_what_was_reported_before():
    """It is another life."""
    reported = after(30)
    reported.on_restart(now_s=31.0)
    assert reported.capacity() is None
    assert 0.0 == reported.trust(31.0)


def test_without_a_report_nothing_is_known():
    """No age, no trust, no doubt."""
    reported = Reported()
    assert (None, 0.0, "") == (reported.age_s(5.0), reported.trust(5.0), reported.doubt(5.0))


def test_doubts_are_said_in_words():
    """Too new, too few requests, too old, or none at all."""
    assert "its load reports count once they have come for 10 s" == after(3).doubt(3.0)
    assert "its load reports tell too few requests to judge by" == after(3, rps=1.0).doubt(3.0)
    assert f"its last load report is {FRESH_S + 1:.0f} s old" == after(30).doubt(30 + FRESH_S + 1)
    assert "" == after(30).doubt(30.0)
