"""When things break: each row of the README's table against the real parts."""

import shutil
import signal
import time

from lab.parts import HOME, answers_options, await_shares, effective, why
from lab.process import await_condition

POISSON = ("-set", "spread_ms", "500", "-l", "5000")


# --- Redis ---


def test_without_redis_the_last_good_list_on_disk_is_used(bench):
    """Redis away at start: calls go by the list that was last in force."""
    many = bench.many(2)
    node = bench.control(many.uris)
    await_condition((node.ctl.parent / "last_good.json").exists, "last good list")
    node.stop()
    bench.redis.stop()
    node = bench.control(start_redis=False)
    await_condition(lambda: "last good list" in node.log, "start from disk")
    report = bench.call("uac_call", calls=20)
    assert (0, 20) == (report.status, report.successful), report.log


def test_without_redis_and_without_a_list_callers_get_503_until_redis_is_back(bench):
    """Nothing to start from: 503 with the reason in the log; the list is taken as soon as Redis answers."""
    many = bench.many(1)
    node = bench.control(start_redis=False)
    await_condition(lambda: "store lost" in node.log, "loss told")
    report = bench.call("uac_expect", "-set", "status", "503", calls=5)
    assert (0, 5) == (report.status, report.successful), report.log
    assert "the list of destinations is empty" in node.log
    bench.redis.run()
    bench.client.hset("steelyard:{1}:weight", many.uris[0], "1")
    await_shares(bench.client, set(many.uris))
    assert 5 == bench.call("uac_call", calls=5).successful


def test_redis_killed_and_restarted_under_load_costs_no_call(bench):
    """Redis lost while running: no call fails or slows; the loss and the return are told once each."""
    many = bench.many(3)
    node = bench.control(many.uris)
    caller = bench.caller("uac_call", calls=1200, rate=150)
    await_condition(lambda: sum(many.counts().values()) > 100, "calls")
    bench.redis.kill()
    await_condition(lambda: "store lost" in node.log, "loss told")
    seen = sum(many.counts().values())
    await_condition(lambda: sum(many.counts().values()) > seen + 300, "calls go on", 10)
    bench.redis.run()
    await_condition(lambda: "store found" in bench.event_kinds(), "return told")
    report = caller.finish()
    assert (0, 1200) == (report.status, report.successful), report.log
    assert report.percentile(0.99) < 0.2
    assert (1, 1) == (bench.event_kinds().count("store lost"), bench.event_kinds().count("store found"))
    await_shares(bench.client, set(many.uris))


def test_a_frozen_redis_delays_no_call(bench):
    """Redis slow beyond its time limit is as good as away."""
    many = bench.many(2)
    node = bench.control(many.uris)
    bench.redis.signal(signal.SIGSTOP)
    report = bench.call("uac_call", calls=300, rate=150)
    assert "store lost" in node.log
    bench.redis.signal(signal.SIGCONT)
    assert (0, 300) == (report.status, report.successful), report.log
    assert report.percentile(0.99) < 0.2
    await_condition(lambda: "store found" in bench.event_kinds(), "return told")


def test_a_redis_that_comes_back_empty_does_not_empty_the_list(bench):
    """A Redis that lost its data is told of, and the last list stays in force."""
    many = bench.many(1)
    node = bench.control(many.uris)
    bench.redis.kill()
    await_condition(lambda: "store lost" in node.log, "loss told")
    shutil.rmtree(bench.folder / "redis" / "appendonlydir")
    bench.redis.run()
    await_condition(lambda: "store empty" in bench.event_kinds(), "emptiness told")
    assert 5 == bench.call("uac_call", calls=5).successful


# --- destinations ---


def _await_share(bench, uri: str, low: float, high: float, timeout_s: float) -> float:
    """Wait until a share is within bounds and return how long that took."""
    begun_s = time.monotonic()
    await_condition(lambda: low <= effective(bench.client).get(uri, -1) <= high, f"share of {low}..{high}", timeout_s)
    return time.monotonic() - begun_s


def test_a_silent_destination_leaves_the_pick_and_returns(bench):
    """SIGSTOP: no call fails, few wait, it is down after `fall` pings; SIGCONT: up again, slowly."""
    queues = bench.queues(40, 40, 40, 40)
    bench.control([q.uri for q in queues], settings={"slow_start_s": 4})
    silent = queues[0]
    caller = bench.caller("uac_poisson", *POISSON, calls=3000, rate=150)
    await_condition(lambda: silent.served() > 100, "calls there")
    silent.signal(signal.SIGSTOP)
    await_condition(lambda: "down" in bench.event_kinds(), "down", 8)
    assert 0 == effective(bench.client)[silent.uri]
    silent.signal(signal.SIGCONT)
    await_condition(lambda: "up" in bench.event_kinds(), "up", 10)
    _await_share(bench, silent.uri, 15, 35, 20)
    report = caller.finish()
    assert (0, 3000) == (report.status, report.successful), report.log
    delayed = sum(t > 0.5 for t in report.response_times_s)
    assert delayed < 60


def test_a_killed_destination_costs_no_call(bench):
    """A proxy that dies: calls sent to it are answered elsewhere."""
    queues = bench.queues(40, 40, 40, 40)
    bench.control([q.uri for q in queues])
    caller = bench.caller("uac_poisson", *POISSON, calls=1500, rate=150)
    await_condition(lambda: queues[0].served() > 50, "calls there")
    queues[0].kill()
    report = caller.finish()
    assert (0, 1500) == (report.status, report.successful), report.log
    assert "down" in bench.event_kinds()


def test_a_destination_that_refuses_at_once_attracts_nothing_and_heals(bench):
    """503 in a millisecond counts as load and as errors: the share falls; healed, it grows back."""
    queues = bench.queues(40, 40, 40, 40)
    bench.control([q.uri for q in queues])
    bad = queues[0]
    caller = bench.caller("uac_poisson", *POISSON, calls=6000, rate=150)
    await_condition(lambda: bad.served() > 100, "calls there")
    bad.answer_with(503)
    _await_share(bench, bad.uri, 0, 8, 6)
    bad.answer_with(200)
    _await_share(bench, bad.uri, 20, 30, 40)
    caller.signal(signal.SIGUSR1)  # SIPp: no new calls
    report = caller.finish()
    assert 0 == report.failed, report.log


def test_a_destination_five_times_slower_loses_its_share(bench):
    """A slow proxy gets what it can still serve."""
    queues = bench.queues(40, 40, 40, 40)
    bench.control([q.uri for q in queues])
    caller = bench.caller("uac_poisson", *POISSON, calls=4500, rate=150)
    await_condition(lambda: queues[0].served() > 100, "calls there")
    queues[0].slow_to(200)
    _await_share(bench, queues[0].uri, 0, 12, 25)
    caller.signal(signal.SIGUSR1)
    report = caller.finish()
    assert 0 == report.failed, report.log


def test_when_all_are_out_all_are_tried(bench):
    """Panic: everybody the operator allows is tried by declared weight; it is told, and it ends."""
    queues = bench.queues(10, 10)
    bench.control([q.uri for q in queues], settings={"no_response_s": 0.3, "fall": 2, "probe_timeout_s": 0.3})
    for queue in queues:
        queue.signal(signal.SIGSTOP)
    await_condition(lambda: "panic" in bench.event_kinds(), "panic", 10)
    assert {50.0} == set(effective(bench.client).values())
    report = bench.call("uac_expect", "-set", "status", "503", calls=3)
    assert (0, 3) == (report.status, report.successful), report.log
    for queue in queues:
        queue.signal(signal.SIGCONT)
    await_condition(lambda: "panic over" in bench.event_kinds(), "panic over", 15)
    report = bench.call("uac_call", calls=10, rate=50)
    assert (0, 10) == (report.status, report.successful), report.log


def test_proxies_that_answer_no_pings_but_calls_stay_in_use(bench):
    """A sign of life is any answer: real calls keep a destination up whose pings go unanswered."""
    mute, good = bench.proxy("uas_no_ping"), bench.many(1)
    bench.control([mute.uri, good.uris[0]])
    report = bench.call("uac_call", calls=400, rate=80)
    assert (0, 400) == (report.status, report.successful), report.log
    assert "up" == why(bench.client, mute.uri)["health"]


# --- the control node itself ---


def test_an_exception_is_answered_and_the_next_request_is_served(bench):
    """Python raises: logged once with the Call-ID, 500 for that request, service for the next, by the same worker."""
    many = bench.many(1)
    home = bench.folder / "home"
    shutil.copytree(HOME / "kemi", home / "kemi")
    (home / ".venv").symlink_to(HOME / ".venv")
    with (home / "kemi" / "control_node.py").open("a") as script:
        script.write(
            "\n\n_build = build\n\n\ndef build(ksr, home):\n"
            "    node = _build(ksr, home)\n    serve = node._router.on_new_call\n\n"
            "    def fragile():\n        if (ksr.pv.get('$rU'), ksr.pv.get('$rm')) == ('boom', 'INVITE'):\n"
            "            raise RuntimeError('boom')\n"
            "        serve()\n\n    node._router.on_new_call = fragile\n    return node\n"
        )
    node = bench.control(many.uris, workers=1, STEELYARD_HOME=str(home))
    for _ in range(3):
        report = bench.call("uac_expect", "-s", "boom", "-set", "status", "500", calls=1)
        assert (0, 1) == (report.status, report.successful), report.log
        assert 1 == bench.call("uac_call", calls=1).successful
    assert 3 == node.log.count("exception, Call-ID")
    assert "SystemError" not in node.log


def test_a_spoiled_snapshot_leaves_the_last_one_in_force(bench):
    """What the workers cannot read is named once and changes nothing."""
    many = bench.many(1)
    node = bench.control(many.uris, workers=1)
    assert 1 == bench.call("uac_call", calls=1).successful
    node.rpc("htable.sets", "board", "snapshot:text", "s:garbage")
    node.rpc("htable.seti", "board", "snapshot:version", "999999")
    report = bench.call("uac_call", calls=10)
    assert (0, 10) == (report.status, report.successful), report.log


def test_one_destination_is_used_and_none_is_said(bench):
    """A list of one is used; an emptied list gets 503 with the reason in the log."""
    many = bench.many(1)
    node = bench.control(many.uris)
    assert 5 == bench.call("uac_call", calls=5).successful
    bench.client.hdel("steelyard:{1}:weight", many.uris[0])
    await_condition(lambda: not effective(bench.client), "empty")
    report = bench.call("uac_expect", "-set", "status", "503", calls=3)
    assert (0, 3) == (report.status, report.successful), report.log
    assert "the list of destinations is empty" in node.log


def test_a_thousand_destinations_work(bench):
    """A thousand: all get their share, calls complete, a change is in force within half a second."""
    many = bench.many(1)
    uris = [many.uris[0].replace("sip:", f"sip:d{number}@") for number in range(1000)]
    bench.control(uris, settings={"probe_interval_s": 5})
    assert abs(sum(effective(bench.client).values()) - 100) < 0.01
    report = bench.call("uac_call", calls=300, rate=150)
    assert (0, 300) == (report.status, report.successful), report.log
    bench.client.hset("steelyard:{1}:weight", uris[0], "0")
    await_condition(lambda: effective(bench.client)[uris[0]] == 0, "change", 0.5)


def test_the_in_flight_counts_return_to_zero(bench):
    """After calls of every outcome nothing is left in flight."""
    silent, many = bench.proxy("uas_silent"), bench.many(2)
    node = bench.control([silent.uri, *many.uris], settings={"no_response_s": 0.3})
    report = bench.call("uac_call", calls=2000, rate=300)
    assert (0, 2000) == (report.status, report.successful), report.log
    await_condition(lambda: all(count == "0" for count in node.table("in_flight").values()), "nothing in flight", 15)
    assert answers_options(node.port)
