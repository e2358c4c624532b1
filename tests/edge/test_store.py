"""Redis as the control process uses it, with a real server on a socket of its own."""

import contextlib
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis
from steelyard.core.declared import HASHES
from steelyard.edge.store import MAX_EVENTS_KEPT, RETRY_AFTER_S, WHY_PER_WRITE, Store, StoreUnavailable

from lab.parts import REDIS_SERVER, RedisServer

URI = "sip:127.0.0.1:5001"

pytestmark = pytest.mark.skipif(
    shutil.which(REDIS_SERVER) is None, reason="redis-server not installed: run `make packages`"
)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@pytest.fixture(scope="module")
def shared_redis(tmp_path_factory) -> Iterator[RedisServer]:
    """Run one Redis for the tests that leave it running."""
    with RedisServer(tmp_path_factory.mktemp("redis")).run() as server:
        yield server


@pytest.fixture
def client(shared_redis) -> redis.Redis:
    """Return the operator's redis-cli, on an empty Redis."""
    client = shared_redis.client()
    client.flushall()
    return client


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis that the test may stop, freeze or kill."""
    with RedisServer(tmp_path).run() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    """Return the store's clock."""
    return Clock()


@pytest.fixture
def store(shared_redis, client, clock) -> Store:
    """Return the store of set 1."""
    assert client.ping()
    return Store(shared_redis.url, "1", clock)


def answers(path: Path) -> bool:
    """Say whether a Redis that asks for a password answers."""
    try:
        return bool(redis.Redis(unix_socket_path=str(path), password="right").ping())  # noqa: S106 - of this test alone
    except redis.RedisError:
        return False


def events(client: redis.Redis) -> list[dict[str, str]]:
    """Return the stream of set 1."""
    return [fields for _, fields in client.xrange("steelyard:{1}:events")]


# --- the list ---


def test_an_empty_redis_has_five_empty_hashes(store) -> None:
    """Nothing declared is no error."""
    assert {name: {} for name in HASHES} == store.read_list()


def test_what_the_operator_writes_is_read(store, client) -> None:
    """Every hash comes back as text, at the next reading."""
    for name in HASHES:
        client.hset(f"steelyard:{{1}}:{name}", mapping={URI: f"value of {name}"})
    assert {name: {URI: f"value of {name}"} for name in HASHES} == store.read_list()
    client.hdel("steelyard:{1}:weight", URI)
    assert {} == store.read_list()["weight"]


def test_sets_do_not_mix(shared_redis, client, clock) -> None:
    """The number of the set is part of every key."""
    client.hset("steelyard:{1}:weight", URI, "1")
    assert {} == Store(shared_redis.url, "2", clock).read_list()["weight"]


def test_a_key_of_another_type_is_none(store, client) -> None:
    """It does not keep the other hashes from being read."""
    client.set("steelyard:{1}:state", "drain")
    client.hset("steelyard:{1}:weight", URI, "1")
    read = store.read_list()
    assert read["state"] is None
    assert {URI: "1"} == read["weight"]


def test_bytes_that_are_no_text_are_read_as_such(store, client) -> None:
    """They become a value that is refused later, by name, and not an error here."""
    client.hset("steelyard:{1}:weight", URI, b"\xff\xfe")
    assert {URI: "\ufffd\ufffd"} == store.read_list()["weight"]


def test_pushed_reports_are_read_by_their_destinations(store, client) -> None:
    """Empty where there is none, None where the key is no hash; sets do not mix."""
    client.hset(f"steelyard:{{1}}:report:{URI}", mapping={"cpu_utilization": "0.5", "state": "drain"})
    client.set("steelyard:{1}:report:sip:text", "text")
    client.hset("steelyard:{2}:report:sip:elsewhere", "percent", "5")
    expected = {
        "sip:text": None,
        "sip:elsewhere": {},
        URI: {"cpu_utilization": "0.5", "state": "drain"},
    }
    assert expected == store.read_reports(["sip:text", "sip:elsewhere", URI])
    assert {} == store.read_reports([])


def test_pushed_reports_of_a_redis_that_is_away_cannot_be_read(own_redis, clock) -> None:
    """It is said like everything that cannot be, and the next reading waits."""
    store = Store(own_redis.url, "1", clock)
    assert {URI: {}} == store.read_reports([URI])
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        store.read_reports([URI])
    with pytest.raises(StoreUnavailable, match="a moment ago"):
        store.read_reports([URI])


def test_a_list_of_a_thousand_is_read_whole(store, client) -> None:
    """No field is lost."""
    weights = {f"sip:proxy-{number}.example.com": "1" for number in range(1000)}
    client.hset("steelyard:{1}:weight", mapping=weights)
    assert weights == store.read_list()["weight"]


# --- shares and reasons ---


def test_shares_are_replaced_whole(store, client) -> None:
    """A destination that left has no share left over."""
    store.write_shares({"sip:a": 75.0, "sip:b": 25.0})
    store.write_shares({"sip:b": 99.5, "sip:c": 0.5})
    assert {"sip:b": 99.5, "sip:c": 0.5} == dict(client.zrange("steelyard:{1}:effective", 0, -1, withscores=True))


def test_no_shares_leave_no_key(store, client) -> None:
    """An empty list has no shares."""
    store.write_shares({"sip:a": 100.0})
    store.write_shares({})
    assert not client.exists("steelyard:{1}:effective")


def test_shares_replace_a_key_of_another_type(store, client) -> None:
    """Whatever stood there, the key is the control node's own."""
    client.set("steelyard:{1}:effective", "x")
    store.write_shares({"sip:a": 100.0})
    assert 100.0 == client.zscore("steelyard:{1}:effective", "sip:a")


def test_reasons_are_written_for_each_destination(store, client) -> None:
    """One hash a destination; a newer row replaces one that was not written yet."""
    store.queue_why({"sip:a": {"reason": "old", "declared": "1"}})
    store.queue_why({"sip:a": {"reason": "new", "declared": "1"}, "sip:b": {"reason": "b"}})
    store.write_why()
    assert {"reason": "new", "declared": "1"} == client.hgetall("steelyard:{1}:why:sip:a")
    assert {"reason": "b"} == client.hgetall("steelyard:{1}:why:sip:b")


def test_many_reasons_are_spread_over_several_ticks(store, client) -> None:
    """One call writes a limited number; none is lost."""
    count = 2 * WHY_PER_WRITE + 1
    store.queue_why({f"sip:{number}": {"reason": "x"} for number in range(count)})
    written = []
    for _ in range(3):
        store.write_why()
        written.append(len(client.keys("steelyard:{1}:why:*")))
    assert [WHY_PER_WRITE, 2 * WHY_PER_WRITE, count] == written


def test_reasons_of_who_left_are_deleted(store, client) -> None:
    """What was written goes, what was queued is not written."""
    store.queue_why({"sip:a": {"reason": "x"}, "sip:b": {"reason": "x"}})
    store.write_why()
    store.queue_why({"sip:a": {"reason": "late"}})
    store.queue_forget_why(["sip:a"])
    store.write_why()
    assert ["steelyard:{1}:why:sip:b"] == client.keys("steelyard:{1}:why:*")


def test_nothing_to_forget_asks_nothing(clock, tmp_path) -> None:
    """Without destinations that left, Redis is not needed."""
    store = Store(f"unix://{tmp_path}/none", "1", clock)
    store.queue_forget_why([])
    store.write_why()


# --- events ---


def test_events_are_appended_in_order(store, client) -> None:
    """Each one once."""
    store.queue_event({"kind": "up", "destination": "sip:a", "reason": "r"})
    store.queue_event({"kind": "down", "destination": "sip:b", "reason": "é"})
    store.write_events()
    store.write_events()
    expected = [
        {"kind": "up", "destination": "sip:a", "reason": "r"},
        {"kind": "down", "destination": "sip:b", "reason": "é"},
    ]
    assert expected == events(client)


def test_events_are_kept_while_redis_is_away(own_redis, clock) -> None:
    """They reach the stream, in order, once it is back."""
    store = Store(own_redis.url, "1", clock)
    own_redis.stop()
    for number in range(3):
        store.queue_event({"kind": str(number)})
        with pytest.raises(StoreUnavailable):
            store.write_events()
        clock.now_s += RETRY_AFTER_S
    own_redis.run()
    store.write_events()
    assert ["0", "1", "2"] == [event["kind"] for event in events(own_redis.client())]


def test_the_oldest_events_go_first_when_redis_stays_away(store, client) -> None:
    """What is kept is limited, and the last words are the ones worth keeping."""
    for number in range(MAX_EVENTS_KEPT + 5):
        store.queue_event({"kind": str(number)})
    store.write_events()
    kinds = [event["kind"] for event in events(client)]
    assert ["5", str(MAX_EVENTS_KEPT + 4)] == [kinds[0], kinds[-1]]
    assert MAX_EVENTS_KEPT == len(kinds)


@pytest.mark.parametrize("refuse", ["of another type", "out of memory"])
def test_events_that_redis_refuses_are_kept(own_redis, clock, refuse) -> None:
    """An event counts as written when Redis has taken it."""
    client = own_redis.client()
    if refuse == "of another type":
        client.set("steelyard:{1}:events", "x")
    else:
        client.config_set("maxmemory", "1")
    store = Store(own_redis.url, "1", clock)
    store.queue_event({"kind": "down"})
    with contextlib.suppress(StoreUnavailable):
        store.write_events()
    client.config_set("maxmemory", "0")
    client.delete("steelyard:{1}:events")
    clock.now_s += RETRY_AFTER_S
    store.write_events()
    assert [{"kind": "down"}] == events(client)


# --- a Redis that cannot be used ---


def test_a_missing_redis_is_named_with_what_to_look_at(clock, tmp_path) -> None:
    """The message leads to the variable."""
    with pytest.raises(StoreUnavailable, match="STEELYARD_REDIS_URL"):
        Store(f"unix://{tmp_path}/none", "1", clock).read_list()


def test_a_redis_that_failed_is_left_alone_for_a_moment(own_redis, clock) -> None:
    """Until then every call fails at once, even when Redis is back."""
    store = Store(own_redis.url, "1", clock)
    own_redis.stop()
    with pytest.raises(StoreUnavailable):
        store.read_list()
    own_redis.run()
    clock.now_s += RETRY_AFTER_S - 0.01
    store.queue_event({"kind": "x"})
    for call in (store.read_list, store.write_events, partial(store.write_shares, {"sip:a": 1.0})):
        with pytest.raises(StoreUnavailable, match="a moment ago"):
            call()
    clock.now_s += 0.01
    assert {} == store.read_list()["weight"]


@pytest.mark.parametrize("userinfo", ["", ":wrong-word@", "nobody:wrong-word@"])
def test_a_wrong_password_is_said_without_showing_it(tmp_path, clock, userinfo) -> None:
    """The message names the variable that the password belongs into."""
    with RedisServer(tmp_path, "--requirepass", "right") as server:
        server.start(partial(answers, server.socket_path))
        with pytest.raises(StoreUnavailable, match=r"password.*STEELYARD_REDIS_URL") as caught:
            Store(f"unix://{userinfo}{server.socket_path}", "1", clock).read_list()
        assert "wrong-word" not in str(caught.value)
        assert {} == Store(f"unix://:right@{server.socket_path}", "1", clock).read_list()["weight"]


@pytest.mark.parametrize("connected", [True, False])
def test_a_frozen_redis_costs_a_tick_and_not_the_control_process(own_redis, clock, connected) -> None:
    """The first call gives up within half a second, those after it at once; then all is well again."""
    store = Store(own_redis.url, "1", clock)
    if connected:
        store.read_list()
    own_redis.signal(signal.SIGSTOP)
    try:
        durations_s = []
        for _ in range(3):
            began_s = time.monotonic()
            with pytest.raises(StoreUnavailable):
                store.read_list()
            durations_s.append(time.monotonic() - began_s)
    finally:
        own_redis.signal(signal.SIGCONT)
    assert durations_s[0] < 0.5
    assert max(durations_s[1:]) < 0.05
    clock.now_s += RETRY_AFTER_S
    assert {} == store.read_list()["weight"]


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(own_redis, clock) -> None:
    """A frozen Redis answers when it wakes: the connection those answers arrive on is gone."""
    store = Store(own_redis.url, "1", clock)
    own_redis.client().hset("steelyard:{1}:weight", URI, "1")
    store.read_list()
    own_redis.signal(signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            store.write_shares({"sip:a": 100.0})
    finally:
        own_redis.signal(signal.SIGCONT)
    clock.now_s += RETRY_AFTER_S
    assert {URI: "1"} == store.read_list()["weight"]


def test_a_redis_that_takes_no_writes_is_said_with_its_own_words(own_redis, clock) -> None:
    """A full one says OOM, and the operator reads it."""
    own_redis.client().config_set("maxmemory", "1")
    with pytest.raises(StoreUnavailable, match=r"OOM|memory"):
        Store(own_redis.url, "1", clock).write_shares({"sip:a": 100.0})


def test_reasons_that_redis_refuses_are_kept(store, client) -> None:
    """Neither a row nor a deletion counts as done before Redis has taken it."""
    store.queue_why({"sip:gone": {"reason": "x"}})
    store.write_why()
    store.queue_forget_why(["sip:gone"])
    store.queue_why({"sip:a": {"reason": "x"}})
    client.set("steelyard:{1}:why:sip:a", "of another type")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        store.write_why()
    client.delete("steelyard:{1}:why:sip:a")
    store.write_why()
    assert ["steelyard:{1}:why:sip:a"] == client.keys("steelyard:{1}:why:*")


def test_a_destination_that_comes_back_keeps_its_reasons(store, client) -> None:
    """Queued after it left, they are not deleted with the old ones."""
    store.queue_forget_why(["sip:a"])
    store.queue_why({"sip:a": {"reason": "new"}})
    store.write_why()
    assert {"reason": "new"} == client.hgetall("steelyard:{1}:why:sip:a")


def test_connections_are_counted(own_redis, clock) -> None:
    """One for as long as Redis stays; another one when it has been away, even if no call noticed."""
    store = Store(own_redis.url, "1", clock)
    assert 0 == store.connects
    store.read_list()
    store.read_list()
    assert 1 == store.connects
    own_redis.kill()
    own_redis.run()
    with contextlib.suppress(StoreUnavailable):
        store.read_list()
    clock.now_s += RETRY_AFTER_S
    store.read_list()
    assert 2 == store.connects


def test_a_full_redis_can_be_read(own_redis, clock) -> None:
    """The operator's word counts most when something is wrong."""
    client = own_redis.client()
    client.hset("steelyard:{1}:weight", URI, "1")
    client.config_set("maxmemory", "1")
    assert {URI: "1"} == Store(own_redis.url, "1", clock).read_list()["weight"]


def test_a_redis_that_takes_no_writes_is_read_as_before(own_redis, clock) -> None:
    """A replica answers: it is neither left alone for a moment nor connected to anew."""
    store = Store(own_redis.url, "1", clock)
    own_redis.client().replicaof("127.0.0.1", 1)
    store.read_list()
    with pytest.raises(StoreUnavailable, match="read only"):
        store.write_shares({"sip:a": 100.0})
    assert {} == store.read_list()["weight"]
    assert 1 == store.connects


def test_nothing_is_opened_before_the_first_call(own_redis, clock) -> None:
    """A connection made before the fork would be shared by all processes."""
    before = len(own_redis.client().client_list())
    Store(own_redis.url, "1", clock)
    assert before == len(own_redis.client().client_list())
