"""The control process: facts and the operator's list in; snapshots, shares, events and dispatcher's list out."""

import shutil
import time
from pathlib import Path

import pytest
from steelyard.core.balancer import Probe
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.core.settings import ProbeMethod
from steelyard.core.snapshot import Snapshot, decode
from steelyard.edge import probing
from steelyard.edge.control import LEAST_PER_READ, READ_INTERVAL_S, READS_PER_ROUND, Control
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.last_good import FILE_NAME, LastGood
from steelyard.edge.mirror import MIN_RELOAD_INTERVAL_S, Mirror
from steelyard.edge.shared import life_s
from steelyard.edge.store import Store, StoreUnavailable

from lab.parts import REDIS_SERVER, RedisServer
from tests.edge.rig import Rig, uri

TICK_S = 0.1


class FakeStore:
    """A Redis that a test writes to, and takes away."""

    def __init__(self) -> None:
        self.lists: dict[str, dict[str, str] | None] = {
            name: {} for name in ("weight", "state", "mode", "priority", "settings")
        }
        self.pushed: dict[str, dict[str, str] | None] = {}
        self.away = ""  # why it cannot be used
        self.read_only = ""  # why it takes no writes
        self.no_events = ""  # why it takes no events
        self.readings = 0
        self.asked_for: list[list[str]] = []  # whose pushed reports, reading by reading
        self.shares: dict[str, float] = {}
        self.why: dict[str, dict[str, str]] = {}
        self.events: list[dict[str, str]] = []
        self._connects = 1
        self._queued: list[dict[str, str]] = []
        self._left: list[str] = []

    @property
    def connects(self) -> int:
        """How often a connection was made."""
        return self._connects

    def key(self, name: str) -> str:
        """Return a key's name."""
        return f"steelyard:{{1}}:{name}"

    def read_list(self) -> dict[str, dict[str, str] | None]:
        """Return the operator's hashes."""
        self._use()
        self.readings += 1
        return {name: None if fields is None else dict(fields) for name, fields in self.lists.items()}

    def read_reports(self, uris: list[str]) -> dict[str, dict[str, str] | None]:
        """Return the pushed reports."""
        self._use()
        self.asked_for.append(list(uris))
        return {each: self.pushed.get(each, {}) for each in uris}

    def write_shares(self, shares: dict[str, float]) -> None:
        """Take the shares."""
        self._use(self.read_only)
        self.shares = dict(shares)

    def queue_why(self, rows: dict[str, dict[str, str]]) -> None:
        """Take the reasons."""
        self.why.update(rows)

    def write_why(self) -> None:
        """Drop the reasons of who left; queue_why has taken the others."""
        self._use(self.read_only)
        for each in self._left:
            self.why.pop(each, None)
        self._left = []

    def queue_forget_why(self, uris: list[str]) -> None:
        """Keep who left."""
        self._left += uris

    def queue_event(self, event: dict[str, str]) -> None:
        """Keep an event."""
        self._queued.append(event)

    def write_events(self) -> None:
        """Take the kept events."""
        self._use(self.read_only or self.no_events)
        self.events += self._queued
        self._queued = []

    def _use(self, reason: str = "") -> None:
        if self.away or reason:
            raise StoreUnavailable(self.away or reason)


class Process:
    """The control process on a fake server, and what the workers and the operator see of it."""

    def __init__(self, rig: Rig, run_dir: Path, store: FakeStore | Store) -> None:
        """Start it."""
        self.rig = rig
        self.server = rig.server
        self.store = store
        ksr = rig.server.ksr

        def clock_s() -> float:
            return rig.now_us / 1e6

        self.control = Control(
            Kamailio(ksr),
            rig.snapshots,
            rig.probes,
            rig.in_flight,
            rig.throttles,
            rig.offers,
            rig.load,
            rig.facts,
            store,
            Mirror(ksr, run_dir, "1", clock_s),
            LastGood(run_dir),
            rig.clock_us,
        )

    def tick(self, seconds: float = TICK_S) -> Snapshot:
        """Let time pass in ticks, and return what workers see then."""
        for _ in range(round(seconds / TICK_S)):
            self.control.tick()
            self.rig.pass_time(TICK_S)
        return self.snapshot()

    def snapshot(self) -> Snapshot:
        """Return what workers see."""
        text = self.rig.snapshots.text()
        return decode(text) if text else Snapshot()

    def uris(self) -> set[str]:
        """Return who may be picked."""
        return {entry.uri for entry in self.snapshot().entries}

    def key(self, number: int) -> str:
        """Return the key of a destination in the snapshot."""
        [key] = [entry.key for entry in self.snapshot().entries if entry.uri == uri(number)]
        return key

    def told(self, kind: str) -> list[dict[str, str]]:
        """Return the events of one kind that reached the store."""
        return [event for event in self.store.events if event["kind"] == kind]

    def warnings(self) -> list[str]:
        """Return what was logged as a warning or an error."""
        return [text for level, text in self.server.log if level in ("warn", "err")]


@pytest.fixture
def store() -> FakeStore:
    """Return a Redis with two destinations on the list."""
    store = FakeStore()
    store.lists["weight"] = {uri(1): "1", uri(2): "3"}
    return store


@pytest.fixture
def process(rig, tmp_path, store) -> Process:
    """Return a control process that has not ticked yet."""
    return Process(rig, tmp_path, store)


def test_the_fake_store_has_what_the_store_has() -> None:
    """A method that only one of them knows would make these tests lie."""
    methods = {name for name in vars(Store) if not name.startswith("_")}
    assert methods == {name for name in vars(FakeStore) if not name.startswith("_")}


# --- the list ---


def test_the_first_tick_publishes_the_list(process) -> None:
    """Workers can serve a tenth of a second after the start."""
    snapshot = process.tick()
    assert {uri(1): 1.0, uri(2): 3.0} == {entry.uri: entry.weight for entry in snapshot.entries}
    assert snapshot.version > 0


def test_a_change_is_in_force_within_three_tenths_of_a_second(process, store) -> None:
    """HSET adds a destination, HDEL removes one."""
    process.tick(1)
    store.lists["weight"] = {uri(2): "3", uri(3): "1"}
    process.tick(READ_INTERVAL_S + TICK_S)
    assert {uri(2), uri(3)} == process.uris()


def test_redis_is_read_a_few_times_a_second(process, store) -> None:
    """Not at every tick."""
    process.tick(6)
    assert 15 <= store.readings <= 6 / READ_INTERVAL_S + 1


def test_a_list_that_stays_is_published_once(process) -> None:
    """Workers parse a snapshot when its version changes: nothing changes for nothing."""
    version = process.tick(1).version
    assert version == process.tick(5).version


def test_a_destination_keeps_its_key_and_no_other_gets_it(process, store) -> None:
    """Shared counters are named by it."""
    process.tick()
    first = process.key(1)
    store.lists["weight"] = {uri(2): "1"}
    process.tick(1)
    store.lists["weight"] = {uri(1): "1", uri(2): "1"}
    process.tick(1)
    assert first != process.key(1)


def test_drain_and_maint_take_no_new_calls(process, store) -> None:
    """Maint is not probed either."""
    store.lists["state"] = {uri(1): "drain", uri(2): "maint"}
    store.lists["weight"][uri(3)] = "1"
    process.tick(1)
    assert {uri(3)} == process.uris()
    assert {uri(1): "AX", uri(2): "DX", uri(3): "AX"} == process.server.dispatcher.flags


def test_an_emptied_list_is_an_empty_list(process, store) -> None:
    """Whoever takes the last destination off is obeyed, and callers are told why."""
    process.tick()
    store.lists["weight"] = {}
    snapshot = process.tick(1)
    assert () == tuple(snapshot.entries)
    assert "empty" in snapshot.reason


# --- refused values ---


def test_a_refused_value_is_named_once(process, store) -> None:
    """Key, field, value and what was expected; the last good value stays in force."""
    process.tick()
    store.lists["weight"][uri(1)] = "abc"
    process.tick(3)
    [event] = process.told("rejected")
    assert uri(1) == event["destination"]
    for part in ("steelyard:{1}:weight", uri(1), "'abc'", "expected a number"):
        assert part in event["reason"]
    assert {uri(1), uri(2)} == process.uris()
    assert [event["reason"] in text for _, text in process.server.log].count(True) == 1


def test_a_refused_value_is_not_named_again_with_every_other_change(process, store) -> None:
    """The list is read anew, and what is wrong with it is known."""
    process.tick()
    store.lists["weight"][uri(1)] = "abc"
    process.tick(1)
    store.lists["weight"][uri(3)] = "1"
    process.tick(1)
    assert 1 == len(process.told("rejected"))


def test_a_value_that_is_refused_again_after_it_was_mended_is_named_again(process, store) -> None:
    """Once each time."""
    process.tick()
    for text in ("abc", "1", "abc"):
        store.lists["weight"][uri(1)] = text
        process.tick(1)
    assert 2 == len(process.told("rejected"))


def test_a_hash_of_another_type_is_refused_and_the_last_one_stays(process, store) -> None:
    """SET in place of HSET on the list itself loses no call."""
    process.tick()
    store.lists["weight"] = None
    process.tick(1)
    [event] = process.told("rejected")
    assert "expected a hash" in event["reason"]
    assert {uri(1), uri(2)} == process.uris()


def test_a_long_refused_value_is_cut(process, store) -> None:
    """An event is a line for a person to read."""
    store.lists["settings"] = {"policy": "x" * 5000}
    process.tick(1)
    [event] = process.told("rejected")
    assert len(event["reason"]) < 400
    assert "" == event["destination"]


def test_one_bad_field_does_not_keep_the_others_out(process, store) -> None:
    """The rest of the list is in force."""
    store.lists["weight"] |= {"no uri": "1", uri(3): "1"}
    process.tick(1)
    assert {uri(1), uri(2), uri(3)} == process.uris()


# --- a store that is lost, found, empty ---


def test_a_lost_store_changes_nothing_for_calls(process, store) -> None:
    """It is said once, with the reason; the last list stays in force, and what is measured goes on to count."""
    process.tick()
    store.away = "Connection refused"
    version = process.tick(3).version
    store.away = ""
    process.tick(1)
    [event] = process.told("store lost")
    assert "Connection refused" in event["reason"]
    assert 1 == len(process.told("store found"))
    assert version == process.snapshot().version
    assert {uri(1), uri(2)} == process.uris()


def test_a_store_lost_between_reading_and_writing_is_lost_too(process, store) -> None:
    """The time of the loss does not matter."""
    process.tick()
    process.rig.pass_time(2)
    reading = store.read_list

    def read_and_go() -> dict:
        found = reading()
        store.away = "gone"
        return found

    store.read_list = read_and_go
    process.tick()
    store.read_list = reading
    store.away = ""
    process.tick(1)
    assert [1, 1] == [len(process.told("store lost")), len(process.told("store found"))]


def test_a_change_made_while_the_store_was_lost_is_found_with_it(process, store) -> None:
    """The list in Redis is the operator's word."""
    process.tick()
    store.away = "gone"
    process.tick(1)
    store.lists["weight"] = {uri(3): "1"}
    store.away = ""
    process.tick(1)
    assert {uri(3)} == process.uris()


def test_a_store_that_comes_back_empty_does_not_end_all_calls(process, store) -> None:
    """A Redis that lost its data has no say: the last list stays until a new one is written."""
    process.tick()
    store.away = "gone"
    process.tick(1)
    store.lists = {name: {} for name in store.lists}
    store.away = ""
    process.tick(2)
    assert {uri(1), uri(2)} == process.uris()
    assert 1 == len(process.told("store empty"))
    store.lists["weight"] = {uri(3): "1"}
    process.tick(1)
    assert {uri(3)} == process.uris()


def test_a_setting_written_to_a_store_that_came_back_empty_does_not_end_all_calls(process, store) -> None:
    """Whoever puts the lost data back may begin with any key."""
    process.tick()
    store.away = "gone"
    process.tick(1)
    store.lists = {name: {} for name in store.lists}
    store.away = ""
    process.tick(1)
    store.lists["settings"] = {"fall": "4"}
    process.tick(1)
    assert {uri(1), uri(2)} == process.uris()


def test_a_store_that_takes_no_writes_is_said_once(process, store) -> None:
    """A full Redis, or a replica, is read; that it takes no writes is not news every second."""
    process.tick()
    store.read_only = "OOM command not allowed when used memory > 'maxmemory'"
    process.tick(10)
    store.read_only = ""
    process.tick(2)
    assert [1, 1] == [len(process.told("store lost")), len(process.told("store found"))]


def test_a_store_that_takes_no_events_is_said_once(process, store) -> None:
    """A stream whose key holds something else is mended by the operator, who needs one line to see it."""
    process.tick()
    store.no_events = "WRONGTYPE Operation against a key holding the wrong kind of value"
    process.tick(10)
    assert 1 == len([text for _, text in process.server.log if "WRONGTYPE" in text])
    store.no_events = ""
    process.tick(2)
    assert 1 == len(process.told("store found"))


@pytest.mark.skipif(shutil.which(REDIS_SERVER) is None, reason="redis-server not installed: run `make packages`")
def test_a_redis_that_restarts_empty_between_two_readings_does_not_end_all_calls(rig, tmp_path) -> None:
    """A restart that is faster than the next reading is a restart all the same."""
    with RedisServer(tmp_path / "redis").run() as redis:
        process = Process(rig, tmp_path, Store(redis.url, "1", lambda: rig.now_us / 1e6))
        redis.client().hset("steelyard:{1}:weight", uri(1), "1")
        process.tick(1)
        assert {uri(1)} == process.uris()
        redis.kill()
        shutil.rmtree(tmp_path / "redis")
        redis.run()
        process.tick(2)
        assert {uri(1)} == process.uris()


def test_a_start_without_store_takes_the_list_from_disk(rig, tmp_path, store) -> None:
    """What was last in force is in force again, settings included, and it is said."""
    store.lists["settings"] = {"max_attempts": "5"}
    Process(rig, tmp_path, store).tick()
    store.away = "Connection refused"
    restarted = Process(rig, tmp_path, store)
    restarted.rig.pass_time(60)
    snapshot = restarted.tick(1)
    assert {uri(1), uri(2)} == restarted.uris()
    assert 5 == snapshot.max_attempts
    store.away = ""
    store.lists["weight"] = {uri(3): "1"}
    restarted.tick(1)
    assert 1 == len(restarted.told("last good list"))
    assert {uri(3)} == restarted.uris()


def test_a_first_reading_that_breaks_us_is_made_again(process, store) -> None:
    """Until there is a list nothing is published, and nothing else is done."""
    reading = store.read_list

    def broken() -> dict:
        raise RuntimeError("unforeseen")

    store.read_list = broken
    with pytest.raises(RuntimeError):
        process.control.tick()
    store.read_list = reading
    process.control.tick()
    assert 0 == process.rig.snapshots.version()
    process.rig.pass_time(READ_INTERVAL_S)
    process.control.tick()
    assert {uri(1), uri(2)} == process.uris()


def test_a_start_with_nothing_says_why_there_is_nothing(process, store) -> None:
    """Callers get 503 with a reason until Redis is back with a list."""
    store.away = "Connection refused"
    snapshot = process.tick(1)
    assert () == tuple(snapshot.entries)
    assert snapshot.version > 0
    assert snapshot.reason
    store.away = ""
    process.tick(1)
    assert {uri(1), uri(2)} == process.uris()


def test_a_damaged_file_does_not_keep_the_node_from_starting(process, store, tmp_path) -> None:
    """It is named, once, and the list is taken from Redis as soon as that is there."""
    (tmp_path / FILE_NAME).write_text("{")
    store.away = "Connection refused"
    process.tick(1)
    [error] = process.server.errors()
    assert FILE_NAME in error
    process.server.log.clear()
    store.away = ""
    process.tick(1)
    assert {uri(1), uri(2)} == process.uris()


def test_an_empty_list_is_not_the_last_good_one(process, store, tmp_path) -> None:
    """The file keeps the last list that could serve a call."""
    process.tick()
    store.lists["weight"] = {}
    process.tick(1)
    assert {uri(1): "1", uri(2): "3"} == LastGood(tmp_path).load()["weight"]


def test_a_disk_that_refuses_is_logged_and_calls_go_on(rig, tmp_path, store) -> None:
    """The list on disk is a help, not a condition."""
    (tmp_path / FILE_NAME).with_suffix(".part").mkdir()
    process = Process(rig, tmp_path, store)
    process.tick(1)
    [error] = process.server.errors()
    assert "could not be written" in error
    process.server.log.clear()
    assert {uri(1), uri(2)} == process.uris()


def test_a_disk_that_refuses_dispatchers_list_does_not_silence_the_node(process, store, tmp_path) -> None:
    """Shares and events still reach Redis, and dispatcher catches up as soon as the disk lets it."""
    (tmp_path / "dispatcher.part").mkdir()
    process.tick(1)
    assert {uri(1), uri(2)} == store.shares.keys()
    [error] = process.server.errors()
    assert "dispatcher" in error
    process.server.log.clear()
    (tmp_path / "dispatcher.part").rmdir()
    process.tick(MIN_RELOAD_INTERVAL_S + TICK_S)
    assert {uri(1), uri(2)} == process.server.dispatcher.flags.keys()


def test_a_disk_that_refuses_dispatchers_list_is_said_once(process, tmp_path) -> None:
    """A full disk is not news every other second; when it is full again it is."""
    told = []
    for number in range(2):
        process.store.lists["weight"][uri(3 + number)] = "1"
        (tmp_path / "dispatcher.part").mkdir()
        process.tick(3 * MIN_RELOAD_INTERVAL_S)
        told.append(len(process.server.errors()))
        process.server.log.clear()
        (tmp_path / "dispatcher.part").rmdir()
        process.tick(MIN_RELOAD_INTERVAL_S + TICK_S)
    assert [1, 1] == told


# --- facts ---


def test_answers_make_the_shares(process) -> None:
    """Of two destinations alike, the one whose calls fail gets less."""
    process.store.lists["weight"] = {uri(1): "1", uri(2): "1"}
    process.tick()
    keys = process.key(1), process.key(2)
    for _ in range(60):
        process.rig.facts.put("answer", keys[0], 20_000, 1, 200, "-")
        process.rig.facts.put("answer", keys[1], 20_000, 1, 500, "-")
        process.tick()
    assert process.store.shares[uri(1)] > 2 * process.store.shares[uri(2)]
    assert 100 == pytest.approx(sum(process.store.shares.values()))


@pytest.mark.parametrize(("set_by_s", "expected_ms"), [(0, 20), (-3600, 20), (3600, 20)])
def test_a_reply_that_the_server_timed_counts_by_our_own_clock(process, monkeypatch, set_by_s, expected_ms) -> None:
    """Its time is Unix time, which may be set: what it is ahead of ours is measured anew each time."""
    process.tick()
    unix_s = time.time
    monkeypatch.setattr(time, "time", lambda: unix_s() + set_by_s)
    key = process.key(1)
    for _ in range(60):
        sent_us = process.rig.now_us - 20_000
        process.rig.facts.put("reply", f"{time.time():.6f}", 200, key, f"{key}:1", uri(1), 2.0, sent_us, 1)
        process.tick()
    assert expected_ms == pytest.approx(float(process.store.why[uri(1)]["response_time_ms"]), abs=5)


@pytest.mark.parametrize(("set_by_s", "expected_ms"), [(60, 0), (-60, 20)])
def test_a_reply_comes_after_its_request_and_before_it_is_heard_of(process, set_by_s, expected_ms) -> None:
    """Also when Unix time is set while it is on its way to us."""
    process.tick()
    key = process.key(1)
    for _ in range(60):
        unix_s, sent_us = time.time() - set_by_s, process.rig.now_us - 20_000
        process.rig.facts.put("reply", f"{unix_s:.6f}", 200, key, f"{key}:1", uri(1), 2.0, sent_us, 1)
        process.tick()
    assert expected_ms == float(process.store.why[uri(1)]["response_time_ms"])


@pytest.mark.parametrize("kind", ["silence", "final"])
def test_silences_and_late_failures_count_as_failures(process, kind) -> None:
    """They cost a share as a 500 does."""
    process.store.lists["weight"] = {uri(1): "1", uri(2): "1"}
    process.tick()
    keys = process.key(1), process.key(2)
    for _ in range(60):
        process.rig.facts.put("answer", keys[0], 20_000, 1, 200, "-")
        process.rig.facts.put(*("silence", keys[1]) if kind == "silence" else ("final", keys[1], 500, "-"))
        process.tick()
    assert process.store.shares[uri(1)] > 2 * process.store.shares[uri(2)]


@pytest.mark.parametrize("kind", ["answer", "final"])
def test_a_retry_after_keeps_a_destination_out_for_its_time(process, kind) -> None:
    """And is told with its seconds."""
    process.tick()
    key = process.key(1)
    process.rig.facts.put(*("answer", key, 900, 1) if kind == "answer" else ("final", key), 503, "5(maintenance)")
    process.tick()
    assert {uri(2)} == process.uris()
    process.tick(1)
    [event] = process.told("retry-after")
    assert uri(1) == event["destination"]
    assert "5 s" in event["reason"]
    process.tick(4.5)
    assert {uri(1), uri(2)} == process.uris()


def test_pings_without_answer_take_a_destination_down_and_answers_bring_it_back(process) -> None:
    """`fall` of them in a row, then `rise`; dispatcher shows it, and so do events."""
    process.store.lists["settings"] = {"fall": "2", "rise": "2", "probe_timeout_s": "0.5"}
    process.tick()
    for number in range(2):
        process.rig.facts.put("ping", f"lost-{number}", uri(1), process.rig.now_us)
        process.tick(1)
    assert {uri(2)} == process.uris()
    assert "IP" == process.server.dispatcher.flags[uri(1)]
    for number in range(2):
        process.rig.facts.put("ping", f"good-{number}", uri(1), process.rig.now_us)
        process.rig.facts.put("pong", f"good-{number}", 200, process.rig.now_us + 3000, "127.0.0.1", "-")
        process.tick(1)
    assert {uri(1), uri(2)} == process.uris()
    assert "AP" == process.server.dispatcher.flags[uri(1)]
    assert [[uri(1)], [uri(1)]] == [[e["destination"] for e in process.told(kind)] for kind in ("down", "up")]


def test_a_100_that_hides_the_queue_is_pointed_out(process) -> None:
    """`why` names the setting that looks wrong."""
    process.tick()
    key = process.key(1)
    for _ in range(30):
        process.rig.facts.put("answer", key, 300, 1, 100, "-")
        process.rig.facts.put("beyond", key, 300, 900_000)
        process.tick()
    assert "beyond-100" in process.store.why[uri(1)]["reason"]


def test_a_fact_that_is_not_understood_is_logged_and_left(process) -> None:
    """The ones after it are taken."""
    process.tick()
    process.rig.facts.put("riddle", "x")
    process.rig.facts.put("answer", process.key(1), 900, 1, 503, "60")
    process.tick()
    assert any("riddle" in text for text in process.warnings())
    assert {uri(2)} == process.uris()


def test_facts_of_a_destination_that_left_are_harmless(process) -> None:
    """They arrive a moment later, as they must."""
    process.tick()
    key = process.key(1)
    process.store.lists["weight"] = {uri(2): "1"}
    process.tick(1)
    for fact in (("answer", key, 9, 1, 503, "9"), ("final", key, 503, "9"), ("silence", key), ("beyond", key, 1, 2)):
        process.rig.facts.put(*fact)
    process.rig.facts.put("pong", "nobody", 200, 5, "127.0.0.1", "-")
    process.tick(1)
    assert {uri(2)} == process.uris()
    assert [] == process.warnings()


# --- in-flight counts ---


def test_lost_places_are_freed(process) -> None:
    """Every second the control process looks for places that outlived their time."""
    process.tick()
    key = process.key(1)
    process.rig.in_flight.enter(key, process.rig.now_us)
    process.tick(life_s(2.0) + 8)
    assert 0 == process.rig.in_flight.count(key)


def test_places_of_a_destination_that_left_are_freed_too(process) -> None:
    """Its counters go when its last place is free."""
    process.tick()
    key = process.key(1)
    process.rig.in_flight.enter(key, process.rig.now_us)
    process.store.lists["weight"] = {uri(2): "1"}
    process.tick(1)
    assert 1 == process.rig.in_flight.count(key)
    process.tick(life_s(2.0) + 8)
    assert 0 == process.rig.in_flight.count(key)
    assert key not in process.server.tables["in_flight"].cells


def test_a_destination_that_left_leaves_no_cell_behind(process) -> None:
    """A list that changes for months does not fill the table."""
    process.tick()
    key = process.key(1)
    process.rig.in_flight.enter(key, process.rig.now_us)
    process.rig.in_flight.leave(key, process.rig.now_us, process.rig.now_us, 2.0)
    process.store.lists["weight"] = {uri(2): "1"}
    process.tick(life_s(2.0) + 10)
    assert [] == [cell for cell in process.server.tables["in_flight"].cells if cell.startswith(key)]


def test_a_late_failure_at_a_destination_that_left_leaves_no_cell_behind(process) -> None:
    """A call that rang for long fails after its destination was forgotten; nobody sweeps for it any more."""
    process.store.lists["weight"] = {uri(1): "1"}
    process.tick()
    key = process.key(1)
    sent = process.rig.send()
    process.rig.server.reply(sent, 180)
    process.store.lists["weight"] = {uri(2): "1"}
    process.tick(life_s(2.0) + 10)
    process.rig.server.reply(sent, 500)
    process.tick(life_s(2.0) + 10)
    assert [] == [cell for cell in process.server.tables["in_flight"].cells if cell.startswith(key)]


# --- probes, dispatcher ---


def test_probes_are_published_for_the_pinger(process) -> None:
    """Interval and timeout of every destination, its own settings over the set's."""
    process.store.lists["settings"] = {"probe_timeout_s": "0.5", f"probe_interval_s@{uri(2)}": "7"}
    process.tick()
    assert {uri(1): Probe(1.0, 0.5), uri(2): Probe(7.0, 0.5)} == probing.decode(process.rig.probes.text())
    version = process.rig.probes.version()
    process.tick(3)
    assert version == process.rig.probes.version()
    process.store.lists["settings"] = {}
    process.tick(1)
    assert version < process.rig.probes.version()
    assert Probe(1.0, 1.0) == probing.decode(process.rig.probes.text())[uri(2)]


def test_how_many_are_to_be_asked_by_invite_is_published_beside(process) -> None:
    """Where it is none kamailio.cfg leaves the prober alone."""

    def invites() -> int:
        return process.server.ksr.htable.sht_get("board", "probes:invites")

    process.tick()
    assert 0 == invites()
    process.store.lists["settings"] = {f"probe_method@{uri(1)}": "invite"}
    process.tick(1)
    assert 1 == invites()


def test_a_destination_disabled_in_dispatcher_takes_no_calls(process) -> None:
    """`dispatcher.set_state d` is honoured, told, and survives the reloads that list changes bring."""
    process.tick(MIN_RELOAD_INTERVAL_S + 1)
    process.server.dispatcher.call("dispatcher.set_state", ["d", 1, uri(1)])
    process.tick(1)
    assert {uri(2)} == process.uris()
    assert [uri(1)] == [event["destination"] for event in process.told("disabled")]
    process.store.lists["weight"][uri(3)] = "1"
    process.tick(MIN_RELOAD_INTERVAL_S + 1)
    assert "DX" == process.server.dispatcher.flags[uri(1)]
    process.server.dispatcher.call("dispatcher.set_state", ["ap", 1, uri(1)])
    process.tick(1)
    assert {uri(1), uri(2), uri(3)} == process.uris()


def test_a_destination_that_leaves_maintenance_takes_calls_again(process) -> None:
    """However soon after it was put there."""
    process.tick(MIN_RELOAD_INTERVAL_S + 1)
    process.store.lists["state"] = {uri(1): "maint"}
    process.tick(0.8)
    process.store.lists["state"] = {}
    process.tick(5)
    assert [] == process.told("disabled")
    assert {uri(1), uri(2)} == process.uris()


@pytest.mark.parametrize("method", list(ProbeMethod))
def test_probes_carry_what_the_operator_switched(process, store, method) -> None:
    """Method, load query and offer of overload control, by destination."""
    store.lists["settings"] = {
        f"probe_method@{uri(1)}": method,
        f"load_reports@{uri(1)}": "off",
        f"overload_control@{uri(1)}": "off",
    }
    process.tick()
    published = probing.decode(process.rig.probes.text())
    interval_s = 0 if method is ProbeMethod.NONE else 1.0
    assert Probe(interval_s, 1.0, method, asks_load=False, overload_control=False) == published[uri(1)]
    assert Probe(1.0, 1.0) == published[uri(2)]
    assert {uri(1): False, uri(2): True} == {e.uri: e.overload_control for e in process.snapshot().entries}


# --- load reports ---


def answer_pings(process: Process, seconds: float, **reports: str) -> None:
    """Answer a ping of each destination every second with a report, u1's or u2's."""
    for number in range(round(seconds)):
        for name, report in reports.items():
            destination = uri(int(name[1:]))
            call_id = f"ping-{name}-{number}-{process.rig.now_us}"
            process.rig.facts.put("ping", call_id, destination, process.rig.now_us)
            process.rig.facts.put("pong", call_id, 200, process.rig.now_us + 1000, "127.0.0.1", report)
        process.tick(1)


def test_a_report_in_a_pong_reaches_the_operator_and_the_weights(process, store) -> None:
    """Quoted as the worker filed it; who could take four times as many requests gets the larger share."""
    store.lists["weight"] = {uri(1): "1", uri(2): "1"}
    process.tick()
    full = "TEXT%20application_utilization=0.8,rps_fractional=100,eps=0"
    idle = "TEXT%20application_utilization=0.2,rps_fractional=100,eps=0"
    answer_pings(process, 40, u1=full, u2=idle)
    row = store.why[uri(1)]
    assert ("100", "sip") == (row["reported_rps"], row["report_source"])
    assert store.shares[uri(2)] > 2 * store.shares[uri(1)]
    assert [] == process.warnings()


def test_a_pong_without_report_is_one_all_the_same(process) -> None:
    """Its dash is no report, and nothing is refused for it."""
    process.tick()
    answer_pings(process, 3, u1="-")
    assert [] == process.told("report refused")


@pytest.mark.parametrize("report", ["TEXT%20cpu_utilization=much", "JSON%20{}", "TEXT%20eps=1,eps=2", "%00%ff"])
def test_a_report_that_cannot_be_used_is_told_once(process, report) -> None:
    """And counted; the pong counts as one."""
    process.tick()
    answer_pings(process, 5, u1=report)
    assert [uri(1)] == [event["destination"] for event in process.told("report refused")]
    assert "5" == process.store.why[uri(1)]["reports_refused"]
    assert process.uris() == {uri(1), uri(2)}


def test_a_report_of_another_source_is_refused(process) -> None:
    """It was not asked."""
    process.tick()
    process.rig.facts.put("ping", "p", uri(1), process.rig.now_us)
    process.rig.facts.put("pong", "p", 200, process.rig.now_us, "192.0.2.66", "TEXT%20cpu_utilization=0")
    process.tick(1)
    [event] = process.told("report refused")
    assert "192.0.2.66" in event["reason"]


def test_reports_in_what_passes_through_are_told_by_their_source(process) -> None:
    """Once, however many; an hour later again."""
    process.tick()
    for _ in range(50):
        process.rig.facts.put("stray", "192.0.2.66")
    process.rig.facts.put("stray", "192.0.2.67")
    process.tick()
    assert [True, True] == [
        source in event["reason"]
        for source, event in zip(("192.0.2.66", "192.0.2.67"), process.told("report refused"), strict=True)
    ]


# --- pushed reports ---


def test_pushed_reports_are_read_once_a_second(process, store) -> None:
    """All of them at once while they are few."""
    process.tick(5)
    assert 5 == len(store.asked_for)
    assert [{uri(1), uri(2)}] * 5 == [set(uris) for uris in store.asked_for]


def test_many_pushed_reports_are_read_in_parts(process, store) -> None:
    """Each about once a second, no more of them in a tick than in a fifth of it."""
    count = 2 * READS_PER_ROUND * LEAST_PER_READ
    store.lists["weight"] = {f"sip:10.0.{n // 250}.{n % 250}": "1" for n in range(count)}
    process.tick(2)
    assert {count // READS_PER_ROUND} == {len(uris) for uris in store.asked_for}
    assert 2 * READS_PER_ROUND == len(store.asked_for)
    assert store.lists["weight"].keys() == {each for uris in store.asked_for[:READS_PER_ROUND] for each in uris}


def test_an_agents_word_is_in_force_within_a_second_or_two(process, store) -> None:
    """As long as it stands there; it is told."""
    process.tick(1)
    store.pushed[uri(1)] = {"down": "disk full"}
    process.tick(1.2)
    assert {uri(2)} == process.uris()
    assert "disk full" in process.told("report")[0]["reason"]
    store.pushed[uri(1)] = {"state": "drain"}
    process.tick(1.2)
    assert {uri(2)} == process.uris()
    del store.pushed[uri(1)]
    process.tick(1.2)
    assert {uri(1), uri(2)} == process.uris()


@pytest.mark.parametrize("pushed", [None, {"percent": "many"}])
def test_a_pushed_report_that_cannot_be_used_is_told_once(process, store, pushed) -> None:
    """Calls go on."""
    store.pushed[uri(1)] = pushed
    process.tick(5)
    assert [uri(1)] == [event["destination"] for event in process.told("report refused")]
    assert {uri(1), uri(2)} == process.uris()


def test_a_store_lost_amid_pushed_reports_is_told_once_and_read_on_later(process, store) -> None:
    """By whoever reads the list."""
    process.tick(1)
    store.away = "gone"
    process.tick(3)
    assert 1 == len([text for level, text in process.server.log if level == "notice" and "store lost" in text])
    store.away, store.pushed[uri(1)] = "", {"state": "drain"}
    process.tick(2)
    assert {uri(2)} == process.uris()


# --- overload control ---


def ask(process: Process, number: int, oc: int, validity_ms: int = 60_000) -> None:
    """Let a destination ask for less."""
    feedback = Feedback(oc, validity_ms, None, Algorithm.LOSS)
    process.rig.throttles.take(f"127.0.0.1:500{number}", feedback, process.rig.now_us)


def test_an_overload_is_told_when_it_begins_and_when_it_is_over(process) -> None:
    """Its share stays what it was: how much goes there is for the workers to see to."""
    process.tick(1)
    before = dict(process.store.shares)
    ask(process, 1, 30, validity_ms=2500)
    process.tick(1.2)
    assert [uri(1)] == [event["destination"] for event in process.told("overload")]
    assert "30 %" in process.store.why[uri(1)]["oc"]
    assert before == pytest.approx(process.store.shares, abs=1)
    process.tick(20)
    assert [uri(1)] == [event["destination"] for event in process.told("overload over")]


def test_s1_before_any_overload_upstream_is_told_that_there_is_none(process) -> None:
    """A tenth of a second after the start."""
    process.tick()
    percent, text = process.rig.load.overload()
    assert (0, True) == (percent, text.startswith(';oc=0;oc-algo="loss";oc-validity=0;oc-seq='))


def test_s5_upstream_is_asked_for_less_when_all_destinations_ask(process) -> None:
    """By the weights, and only then: RFC 6357 section 6."""
    process.tick()
    ask(process, 1, 40)
    process.tick()
    assert 0 == process.rig.load.overload()[0]
    ask(process, 2, 80)
    process.tick()
    percent, text = process.rig.load.overload()
    assert 70 == percent
    assert text.startswith(';oc=70;oc-algo="loss";oc-validity=1000;oc-seq=')


def test_s6_the_end_of_an_overload_is_said_with_a_new_number(process) -> None:
    """And a validity of nothing."""
    process.tick()
    ask(process, 1, 40, validity_ms=500)
    ask(process, 2, 40, validity_ms=500)
    process.tick()
    during = process.rig.load.overload()[1]
    process.tick(1)
    after = process.rig.load.overload()[1]
    assert ';oc=0;oc-algo="loss";oc-validity=0' in after
    assert during.partition("oc-seq=")[2] < after.partition("oc-seq=")[2]


def test_what_a_destination_asked_is_forgotten_with_it(process, store) -> None:
    """Unless another one on the list has the same address."""
    twin = f"{uri(2)};transport=tcp"
    store.lists["weight"][twin] = "1"
    process.tick(1)
    ask(process, 1, 40)
    ask(process, 2, 40)
    store.lists["weight"] = {twin: "1"}
    process.tick(1)
    in_force = [process.rig.throttles.in_force(f"127.0.0.1:500{n}", process.rig.now_us) for n in (1, 2)]
    assert [True, False] == [throttle is None for throttle in in_force]


def test_overload_control_that_cannot_be_understood_is_told_once(process) -> None:
    """With the address and what was wrong, unquoted."""
    process.tick()
    for _ in range(3):
        process.rig.facts.put("feedback", "127.0.0.1:5001", "oc%3D%27x%27%3A%20no%20number")
    process.tick()
    [event] = process.told("feedback refused")
    assert "127.0.0.1:5001: oc='x': no number" in event["reason"]


# --- what the operator sees ---


def test_shares_sum_to_a_hundred_and_reasons_come_with_them(process) -> None:
    """`effective` and `why` are there a second after the start, for every destination."""
    process.tick(1)
    assert {uri(1): 25.0, uri(2): 75.0} == pytest.approx(process.store.shares)
    for number, declared in ((1, "1"), (2, "3")):
        row = process.store.why[uri(number)]
        assert declared == row["declared"]
        assert row["reason"]
        assert row["updated_at"].endswith("Z")


def test_in_flight_counts_are_shown(process) -> None:
    """`why` has the count over all workers."""
    process.tick()
    process.rig.in_flight.enter(process.key(1), process.rig.now_us)
    process.tick(1.1)
    assert "1" == process.store.why[uri(1)]["in_flight"]


def test_who_left_has_no_share_and_no_reason(process) -> None:
    """Nothing of it stays for an operator to wonder at."""
    process.tick(1)
    process.store.lists["weight"] = {uri(2): "1"}
    process.tick(2)
    assert {uri(2)} == process.store.shares.keys()
    assert {uri(2)} == process.store.why.keys()


def test_who_left_while_redis_failed_has_no_reason_either(process, store) -> None:
    """The reasons of a destination that left are deleted as soon as Redis lets us."""
    process.tick(1)
    store.lists["weight"] = {uri(2): "1"}
    store.read_only = "gone for a moment"
    process.tick(1)
    store.read_only = ""
    process.tick(2)
    assert {uri(2)} == store.why.keys()


def test_every_event_is_logged_as_well(process) -> None:
    """An operator without Redis reads the same words in the log."""
    process.tick(1)
    logged = [text for level, text in process.server.log if level == "notice"]
    for event in process.store.events:
        assert any(event["reason"] in text and event["kind"] in text for text in logged)
    assert {"joined"} <= {event["kind"] for event in process.store.events}
