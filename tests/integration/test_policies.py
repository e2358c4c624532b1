"""Who gets a call: exact shares, tiers, thresholds, ramps and panic on real proxies."""

from lab.parts import await_shares, effective, why
from lab.process import await_condition


def _percent(counts: dict[str, int]) -> list[float]:
    total = sum(counts.values())
    return [100 * count / total for count in counts.values()]


def test_weighted_shares_are_exact(bench):
    """Weights 1, 2 and 5: 1,000 calls land within 1 point of 12.5, 25 and 62.5 %."""
    many = bench.many(3)
    bench.control(dict(zip(many.uris, (1, 2, 5), strict=True)), settings={"policy": "weighted"})
    assert 1000 == bench.call("uac_call", calls=1000, rate=400).successful
    for wanted, got in zip((12.5, 25.0, 62.5), _percent(many.counts()), strict=True):
        assert abs(wanted - got) <= 1


def test_a_hundred_and_one_equal_destinations_get_equal_shares(bench):
    """101 equal destinations, 1,000 calls: none is off by more than 1 point."""
    many = bench.many(101)
    bench.control(many.uris, settings={"policy": "weighted"})
    assert 1000 == bench.call("uac_call", calls=1000, rate=400).successful
    for got in _percent(many.counts()):
        assert abs(100 / 101 - got) <= 1


def test_round_robin_ignores_weights(bench):
    """Policy round-robin gives everybody the same."""
    many = bench.many(2)
    bench.control({many.uris[0]: 1, many.uris[1]: 9}, settings={"policy": "round-robin"})
    bench.call("uac_call", calls=200, rate=200)
    for got in _percent(many.counts()):
        assert abs(50 - got) <= 2


def test_below_the_threshold_calls_go_round_robin_by_declared_weight(bench):
    """threshold_cps: the declared weights decide below it, what was learned above it."""
    many = bench.many(2)
    bench.control({many.uris[0]: 1, many.uris[1]: 3}, settings={"threshold_cps": 1000})
    bench.call("uac_call", calls=200, rate=100)
    for wanted, got in zip((25, 75), _percent(many.counts()), strict=True):
        assert abs(wanted - got) <= 2
    assert "threshold" in why(bench.client, many.uris[0])["reason"]


def test_a_higher_priority_waits_until_all_of_the_lower_are_out(bench):
    """Tiers: the second is used only when the first is out."""
    many = bench.many(2)
    first, second = many.uris
    bench.control([first])
    bench.client.hset("steelyard:{1}:priority", second, "1")
    bench.client.hset("steelyard:{1}:weight", second, "5")
    await_condition(lambda: second in effective(bench.client), "second listed")
    bench.call("uac_call", calls=20)
    assert {first: 20, second: 0} == many.counts()
    bench.client.hset("steelyard:{1}:state", first, "drain")
    await_shares(bench.client, {second})
    bench.call("uac_call", calls=20)
    assert {first: 20, second: 20} == many.counts()


def test_a_newcomer_starts_slowly(bench):
    """Slow start: a destination that joins begins at a tenth of its weight."""
    many = bench.many(2)
    first, second = many.uris
    bench.control([first], settings={"slow_start_s": 30})
    bench.client.hset("steelyard:{1}:weight", second, "1")
    await_shares(bench.client, {first, second})
    assert effective(bench.client)[second] < 20
    assert "slow start" in why(bench.client, second)["reason"]


def test_destinations_at_the_start_do_not_ramp(bench):
    """Slow start is for those who join or return, not for a control node that starts."""
    many = bench.many(2)
    bench.control(many.uris, settings={"slow_start_s": 30})
    assert {50.0} == set(effective(bench.client).values())


def test_a_slower_destination_gets_fewer_calls(bench):
    """adaptive: the share follows the response time of real calls."""
    many = bench.many(1)
    slow = bench.proxy("uas_slow", "-d", "200")
    bench.control([many.uris[0], slow.uri])
    caller = bench.caller("uac_call", calls=1000, rate=100)
    await_condition(lambda: effective(bench.client)[slow.uri] < 20, "share of the slow one", 12)
    report = caller.finish()
    assert (0, 1000) == (report.status, report.successful), report.log


def test_pings_alone_weigh_destinations_that_get_no_calls(bench):
    """Without calls, a slow answer to pings lowers the share."""
    many = bench.many(1)
    slow = bench.proxy("uas_slow", "-d", "100")
    bench.control([many.uris[0], slow.uri])
    await_condition(lambda: effective(bench.client)[slow.uri] < 20, "share of the slow one", 12)
    assert "pings" in why(bench.client, slow.uri)["reason"]
