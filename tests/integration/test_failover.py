"""Another destination for a request that one could not take, by RFC 3261 16.7 and RFC 3263 4.3."""

from lab.parts import why
from lab.process import await_condition, free_port


def _pair(bench, scenario: str, *options: str, **settings: object):
    """Start a proxy that misbehaves beside many that answer; return both."""
    bad, good = bench.proxy(scenario, *options), bench.many(1)
    bench.control([bad.uri, good.uris[0]], settings={"policy": "weighted", **settings})
    return bad, good


def test_a_503_moves_the_request_on(bench):
    """503 without Retry-After: this request goes elsewhere, and no caller hears of it."""
    _, good = _pair(bench, "uas_503")
    report = bench.call("uac_call", calls=100)
    assert (0, 100) == (report.status, report.successful), report.log
    assert {good.uris[0]: 100} == good.counts()


def test_a_retry_after_keeps_a_destination_out(bench):
    """503 with Retry-After: no other request goes there for that time."""
    bad, _ = _pair(bench, "uas_503_retry_after", "-set", "retry_after", "30")
    report = bench.call("uac_call", calls=50)
    assert (0, 50) == (report.status, report.successful), report.log
    await_condition(lambda: "Retry-After" in why(bench.client, bad.uri)["reason"], "excluded")
    assert 1 == bench.event_kinds().count("retry-after")


def test_silence_moves_the_request_on_after_the_operators_time(bench):
    """No reply of any kind within no_response_s: the request goes elsewhere."""
    _, good = _pair(bench, "uas_silent", no_response_s=0.4, probe_method="none")
    report = bench.call("uac_call", calls=20, rate=20)
    assert (0, 20) == (report.status, report.successful), report.log
    assert {good.uris[0]: 20} == good.counts()
    assert 0.4 <= report.percentile(0.99) < 1.5


def test_a_refused_connection_moves_the_request_on_at_once(bench):
    """A transport error costs no waiting."""
    good = bench.many(1)
    dead = f"sip:127.0.0.1:{free_port()};transport=tcp"
    bench.control([dead, good.uris[0]], settings={"policy": "weighted", "probe_method": "none"}, tcp=True)
    report = bench.call("uac_call", calls=50)
    assert (0, 50) == (report.status, report.successful), report.log
    assert report.percentile(1.0) < 1


def test_an_answered_caller_is_never_rerouted(bench):
    """After a 100 the call waits for its proxy, and ends with the caller's CANCEL."""
    bad = bench.proxy("uas_trying_silent")
    good = bench.many(1)
    bench.control([bad.uri], settings={"no_response_s": 0.3})
    bench.client.hset("steelyard:{1}:priority", good.uris[0], "1")
    bench.client.hset("steelyard:{1}:weight", good.uris[0], "1")
    report = bench.call("uac_cancel", "-d", "1500", calls=5)
    assert (0, 5) == (report.status, report.successful), report.log
    assert {good.uris[0]: 0} == good.counts()


def test_a_busy_callee_is_the_answer(bench):
    """486 goes to the caller; it is no failure of the proxy."""
    busy, good = _pair(bench, "uas_busy")
    report = bench.call("uac_expect", "-set", "status", "486", calls=1)
    assert 1 == report.successful + good.counts()[good.uris[0]]
    assert "0.000" == why(bench.client, busy.uri)["error_rate"]


def test_a_500_is_not_rerouted(bench):
    """RFC 3263 section 4.3 reroutes 503, not other failures."""
    proxy = bench.proxy("uas_500")
    good = bench.many(1)
    bench.control([proxy.uri])
    bench.client.hset("steelyard:{1}:priority", good.uris[0], "1")
    bench.client.hset("steelyard:{1}:weight", good.uris[0], "1")
    report = bench.call("uac_expect", "-set", "status", "500", calls=10)
    assert (0, 10) == (report.status, report.successful), report.log


def test_a_caller_that_nobody_can_serve_gets_one_honest_answer(bench):
    """All tried, all 503: the caller gets 503, once, from us."""
    many = bench.many(2)
    many.answer_with(503)
    bench.control(many.uris)
    report = bench.call("uac_expect", "-set", "status", "503", calls=20)
    assert (0, 20) == (report.status, report.successful), report.log
    assert {20} == set(many.counts().values())  # each was tried once for each call


def test_attempts_are_limited(bench):
    """max_attempts ends the search although others are left: 503 becomes 500, for others might still serve."""
    many = bench.many(5)
    many.answer_with(503)
    bench.control(many.uris, settings={"max_attempts": 2})
    report = bench.call("uac_expect", "-set", "status", "500", calls=20)
    assert (0, 20) == (report.status, report.successful), report.log
    assert 40 == sum(many.counts().values())


def test_a_cancelled_call_stays_cancelled(bench):
    """A caller that gives up on a silent proxy is not called back by another one."""
    silent = bench.proxy("uas_silent")
    good = bench.many(1)
    bench.control([silent.uri], settings={"no_response_s": 2, "probe_method": "none"})
    bench.client.hset("steelyard:{1}:priority", good.uris[0], "1")
    bench.client.hset("steelyard:{1}:weight", good.uris[0], "1")
    caller = bench.caller("uac_cancel", "-d", "300", calls=5)
    caller.finish()
    assert {good.uris[0]: 0} == good.counts()
