"""The list in Redis: every command takes effect at once, every bad value is refused by name, dispatcher shows it."""

import time

from lab.parts import await_shares, effective, why
from lab.process import await_condition

WEIGHT = "steelyard:{1}:weight"
IN_FORCE_S = 0.5


def _await_within(condition, what: str, timeout_s: float = IN_FORCE_S) -> None:
    await_condition(condition, what, timeout_s)


def test_a_weight_of_0_under_load_stops_new_calls_within_half_a_second(bench):
    """HSET weight 0: the last new call comes within 500 ms of the command, and no call is lost."""
    many = bench.many(3)
    bench.control(many.uris)
    caller = bench.caller("uac_call", calls=600, rate=200)
    await_condition(lambda: min(many.counts().values()) > 20, "calls everywhere")
    commanded_s = time.time()
    bench.client.hset(WEIGHT, many.uris[0], "0")
    report = caller.finish()
    assert (0, 600) == (report.status, report.successful), report.log
    assert many.last_s(many.uris[0]) - commanded_s < IN_FORCE_S
    assert many.last_s(many.uris[1]) - commanded_s > IN_FORCE_S


def test_a_drained_destination_keeps_its_calls_and_gets_no_new_ones(bench):
    """State drain: calls in progress, re-INVITE included, end normally; new ones go elsewhere."""
    old, new = bench.proxy("uas_answer"), bench.many(1)
    bench.control([old.uri])
    caller = bench.caller("uac_hold", "-d", "1500", calls=20, rate=100)
    await_condition(lambda: why(bench.client, old.uri).get("response_time_ms"), "calls there")
    bench.client.hset(WEIGHT, new.uris[0], "1")
    bench.client.hset("steelyard:{1}:state", old.uri, "drain")
    _await_within(lambda: effective(bench.client).get(old.uri) == 0, "drained")
    assert 10 == bench.call("uac_call", calls=10).successful
    assert {new.uris[0]: 10} == new.counts()
    report = caller.finish()
    assert (0, 20) == (report.status, report.successful), report.log


def test_destinations_join_and_leave_within_half_a_second(bench):
    """HSET weight adds a destination, HDEL removes it, together with its reasons."""
    many = bench.many(2)
    first, second = many.uris
    bench.control([first])
    bench.client.hset(WEIGHT, second, "2")
    await_shares(bench.client, {first, second}, IN_FORCE_S)
    bench.client.hdel(WEIGHT, first)
    await_shares(bench.client, {second}, IN_FORCE_S)
    _await_within(lambda: not bench.client.exists(f"steelyard:{{1}}:why:{first}"), "reasons gone", 2)
    assert {"joined", "left"} <= set(bench.event_kinds())


def test_bad_values_are_refused_by_name_and_the_last_good_one_stays(bench):
    """A refused value is named in an event and in the log; nothing changes."""
    many = bench.many(2)
    first, second = many.uris
    node = bench.control({first: 3, second: 1}, settings={"policy": "weighted"})
    refused = {
        ("weight", first, "abc"),
        ("weight", "no uri", "1"),
        ("state", first, "asleep"),
        ("mode", first, "manuel"),
        ("priority", first, "-1"),
        ("settings", "policy", "best"),
        ("settings", "colour", "red"),
    }
    for key, field, value in refused:
        bench.client.hset(f"steelyard:{{1}}:{key}", field, value)
    await_condition(lambda: bench.event_kinds().count("rejected") == len(refused), "refusals")
    reasons = [event["reason"] for event in bench.events() if event["kind"] == "rejected"]
    for key, field, value in refused:
        named = f"steelyard:{{1}}:{key} {field} '{value}' refused"
        assert any(reason.startswith(named) for reason in reasons), named
        assert named in node.log
    assert {first: 75.0, second: 25.0} == effective(bench.client)


def test_a_key_of_another_type_is_refused_and_the_list_stays(bench):
    """SET instead of HSET spoils the key, not the routing."""
    many = bench.many(1)
    bench.control(many.uris)
    bench.client.set(WEIGHT, "3")
    await_condition(lambda: "rejected" in bench.event_kinds(), "refusal")
    assert 5 == bench.call("uac_call", calls=5).successful


def test_shares_and_reasons_are_published(bench):
    """`effective` sums to 100 and `why` holds every factor behind each share."""
    many = bench.many(3)
    bench.control(dict(zip(many.uris, (1, 2, 5), strict=True)))
    bench.call("uac_call", calls=50)
    assert abs(sum(effective(bench.client).values()) - 100) < 0.01
    row = why(bench.client, many.uris[0])
    wanted = {"declared", "response_time_ms", "in_flight", "error_rate", "capacity", "errors", "slow_start", "state"}
    assert wanted | {"reason", "updated_at", "mode", "priority", "health", "ping_ms", "effective"} <= set(row)


def test_a_manual_weight_is_used_as_it_is(bench):
    """Mode manual: feedback is shown and not applied."""
    many = bench.many(1)
    slow = bench.proxy("uas_slow", "-d", "100")
    bench.control({many.uris[0]: 1, slow.uri: 1})
    bench.client.hset("steelyard:{1}:mode", mapping={many.uris[0]: "manual", slow.uri: "manual"})
    _await_within(lambda: why(bench.client, slow.uri).get("mode") == "manual", "manual", 2)
    assert 100 == bench.call("uac_call", calls=100, rate=50).successful
    assert 46 <= many.counts()[many.uris[0]] <= 54  # within one turn for each of four workers
    assert {many.uris[0]: 50.0, slow.uri: 50.0} == effective(bench.client)
    assert float(why(bench.client, slow.uri)["response_time_ms"]) > 90


def test_dispatcher_shows_the_list_and_its_disabled_destinations_are_honoured(bench):
    """Dispatcher.list has the same destinations; set_state d takes one out, across our own reloads."""
    many = bench.many(3)
    first, second, third = many.uris
    node = bench.control([first, second])
    await_condition(lambda: all(uri in node.rpc("dispatcher.list") for uri in (first, second)), "mirrored")
    node.rpc("dispatcher.set_state", "dx", "1", first)
    await_condition(lambda: effective(bench.client).get(first) == 0, "disabled", 2)
    bench.client.hset(WEIGHT, third, "1")
    await_condition(lambda: third in node.rpc("dispatcher.list"), "third mirrored")
    assert effective(bench.client)[first] == 0
    assert "disabled" in why(bench.client, first)["reason"]
    node.rpc("dispatcher.set_state", "ap", "1", first)
    await_condition(lambda: effective(bench.client)[first] > 0, "enabled", 2)


def test_a_destination_in_maint_is_not_pinged(bench):
    """State maint takes the destination out and stops its pings."""
    many = bench.many(2)
    first, second = many.uris
    node = bench.control([first, second])
    bench.client.hset("steelyard:{1}:state", first, "maint")
    await_condition(lambda: "DX" in node.rpc("dispatcher.list"), "maint mirrored", 5)
    assert {first: 0.0, second: 100.0} == effective(bench.client)


def test_pings_are_timed_in_microseconds_and_spread_over_the_second(bench):
    """Each destination has its own response time, and no two pings leave together."""
    many = bench.many(4)
    bench.control(many.uris)
    await_condition(lambda: all(why(bench.client, uri).get("ping_ms") for uri in many.uris), "pings", 5)
    for uri in many.uris:
        assert 0 < float(why(bench.client, uri)["ping_ms"]) < 100
