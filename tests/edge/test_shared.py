"""What processes share: texts with versions, in-flight counts that heal, facts in order, notes that expire."""

import json
import random
from pathlib import Path

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.edge import shared
from steelyard.edge.shared import Board, Clients, Dialogs, Facts, InFlight, Load, Throttles

from tests.edge.fake_kamailio import FakeKamailio

SECOND = 1_000_000


@pytest.fixture
def in_flight(server) -> InFlight:
    """Return the counts of one process."""
    return InFlight(server.ksr)


def sweep_until(in_flight: InFlight, start_s: int, end_s: int, no_response_s: float) -> int:
    """Sweep once a second, as the control process does; return how many places were freed."""
    return sum(in_flight.sweep("d1", second * SECOND, no_response_s) for second in range(start_s, end_s + 1))


# --- Board ---


def test_a_board_is_empty_before_the_first_text(server) -> None:
    """Version 0 and an empty text mean that nothing was published."""
    board = Board(server.ksr, "snapshot")
    assert 0 == board.version()
    assert "" == board.text()


def test_a_text_published_by_one_process_is_read_by_another(server) -> None:
    """Version and text arrive together."""
    Board(server.ksr, "snapshot").publish(3, "[1]")
    reader = Board(server.ksr, "snapshot")
    assert (3, "[1]") == (reader.version(), reader.text())


def test_boards_of_different_names_do_not_mix(server) -> None:
    """Each name has a text and a version of its own."""
    Board(server.ksr, "snapshot").publish(3, "[1]")
    Board(server.ksr, "probes").publish(7, "[2]")
    assert (3, "[1]") == (Board(server.ksr, "snapshot").version(), Board(server.ksr, "snapshot").text())


def test_a_thousand_destinations_fit_one_text(server) -> None:
    """A long text comes back whole."""
    text = json.dumps([f"sip:proxy-{number}.example.com:5060" for number in range(1000)])
    Board(server.ksr, "snapshot").publish(1, text)
    assert text == Board(server.ksr, "snapshot").text()


# --- InFlight ---


def test_places_are_counted_over_all_processes(server, in_flight) -> None:
    """A place taken by one worker is seen by the others."""
    assert ("d1:10", 1) == in_flight.enter("d1", 10 * SECOND)
    assert ("d1:10", 2) == InFlight(server.ksr).enter("d1", 10 * SECOND)
    assert 2 == in_flight.count("d1")
    assert 0 == in_flight.count("d2")


def test_a_place_is_given_back_once(in_flight) -> None:
    """Entering and leaving end at zero."""
    in_flight.enter("d1", 10 * SECOND)
    in_flight.leave("d1", 10 * SECOND, 11 * SECOND, 2.0)
    assert 0 == in_flight.count("d1")


def test_a_lost_reply_is_forgotten_within_seconds(in_flight) -> None:
    """A place that nobody gives back is freed as soon as no answer can come any more."""
    in_flight.enter("d1", 10 * SECOND)
    life_s = shared.life_s(2.0)
    assert 0 == sweep_until(in_flight, 10, 10 + life_s + 1, 2.0)
    assert 1 == in_flight.count("d1")
    assert 1 == in_flight.sweep("d1", (10 + life_s + 2) * SECOND, 2.0)
    assert 0 == in_flight.count("d1")


def test_a_place_lives_longer_where_answers_are_awaited_longer(in_flight) -> None:
    """The sweep follows no_response_s."""
    in_flight.enter("d1", 10 * SECOND)
    assert 0 == sweep_until(in_flight, 10, 10 + shared.life_s(30) + 1, 30)
    assert 1 == sweep_until(in_flight, 10 + shared.life_s(30) + 2, 10 + shared.life_s(30) + 3, 30)


@pytest.mark.parametrize("late_s", [0, 1, 2, 3, 20])
def test_a_reply_that_comes_after_the_sweep_takes_nothing_off(in_flight, late_s) -> None:
    """A place is never given back twice, whenever its reply arrives."""
    in_flight.enter("d1", 10 * SECOND)
    in_flight.enter("d1", 30 * SECOND)
    now_s = 10 + shared.life_s(2.0) + late_s
    sweep_until(in_flight, 10, now_s, 2.0)
    in_flight.leave("d1", 10 * SECOND, now_s * SECOND, 2.0)
    sweep_until(in_flight, now_s, 31, 2.0)
    assert 1 == in_flight.count("d1")


def test_counts_heal_whatever_is_lost(in_flight) -> None:
    """After random traffic, half of whose replies never come, the count is zero once their time is over."""
    rng = random.Random(3)  # noqa: S311 - traffic
    for second in range(100, 200):
        for _ in range(rng.randrange(20)):
            in_flight.enter("d1", second * SECOND)
            if rng.random() < 0.5:
                in_flight.leave("d1", second * SECOND, (second + 1) * SECOND, 2.0)
        in_flight.sweep("d1", second * SECOND, 2.0)
    sweep_until(in_flight, 200, 210, 2.0)
    assert 0 == in_flight.count("d1")
    in_flight.enter("d1", 211 * SECOND)
    assert 1 == in_flight.count("d1")


def test_a_stalled_control_process_catches_up(in_flight) -> None:
    """Places lost during half a minute without a sweep are freed by the next one."""
    in_flight.sweep("d1", 10 * SECOND, 2.0)
    for second in range(10, 40):
        in_flight.enter("d1", second * SECOND)
    in_flight.sweep("d1", 50 * SECOND, 2.0)
    assert 0 == in_flight.count("d1")


def test_a_long_stalled_control_process_catches_up(in_flight) -> None:
    """No lost reply is counted for ever, however long no sweep was made."""
    in_flight.sweep("d1", 10 * SECOND, 2.0)
    in_flight.enter("d1", 11 * SECOND)
    sweep_until(in_flight, 100, 110, 2.0)
    assert 0 == in_flight.count("d1")


def test_waiting_shorter_for_answers_does_not_spoil_the_count(in_flight) -> None:
    """An operator who lowers no_response_s while requests are out leaves the count right."""
    in_flight.sweep("d1", 9 * SECOND, 30)
    in_flight.enter("d1", 10 * SECOND)
    sweep_until(in_flight, 10, 20, 30)
    sweep_until(in_flight, 21, 22, 2.0)  # the setting is changed: freed
    in_flight.leave("d1", 10 * SECOND, 23 * SECOND, 30)  # the attempt remembers what it was sent with
    in_flight.enter("d1", 23 * SECOND)
    assert 1 == in_flight.count("d1")


@pytest.mark.parametrize("error", ["inc", "dec"])
def test_a_total_that_is_wrong_for_whatever_reason_is_set_right(server, in_flight, error) -> None:
    """A worker that dies between its two counts leaves them at odds: two sweeps later they agree, and stay so."""
    in_flight.enter("d1", 10 * SECOND)
    in_flight.enter("d1", 10 * SECOND)
    getattr(server.ksr.htable, f"sht_{error}")(shared.IN_FLIGHT, "d1")
    counts = []
    for second in range(10, 14):
        in_flight.sweep("d1", second * SECOND, 2.0)
        counts.append(in_flight.count("d1"))
    assert [2, 2, 2] == counts[1:]


def test_counts_that_are_at_odds_for_a_moment_are_left_alone(server, in_flight) -> None:
    """A worker between its two counts is no error."""
    in_flight.sweep("d1", 10 * SECOND, 2.0)
    server.ksr.htable.sht_inc(shared.IN_FLIGHT, "d1:11")
    in_flight.sweep("d1", 11 * SECOND, 2.0)
    server.ksr.htable.sht_inc(shared.IN_FLIGHT, "d1")
    in_flight.sweep("d1", 12 * SECOND, 2.0)
    assert 1 == in_flight.count("d1")


def test_a_reply_after_the_sweep_leaves_no_cell(server, in_flight) -> None:
    """What no sweep visits again must not be there."""
    in_flight.sweep("d1", 9 * SECOND, 30)
    in_flight.enter("d1", 10 * SECOND)
    sweep_until(in_flight, 10, 22, 2.0)
    in_flight.leave("d1", 10 * SECOND, 23 * SECOND, 30)
    assert "d1:10" not in server.tables["in_flight"].cells


@pytest.mark.parametrize("lost", [-3, -1, 1, 4])
def test_a_total_that_drifted_is_set_right_by_the_second_sweep_that_finds_it(server, in_flight, lost) -> None:
    """A worker that died between its two counts leaves the total off by the same number for good."""
    in_flight.enter("d1", 20 * SECOND)
    for _ in range(abs(lost)):
        (server.ksr.htable.sht_inc if lost > 0 else server.ksr.htable.sht_dec)(shared.IN_FLIGHT, "d1")
    in_flight.sweep("d1", 21 * SECOND, 2.0)
    assert max(1 + lost, 0) == in_flight.count("d1")
    in_flight.sweep("d1", 22 * SECOND, 2.0)
    assert 1 == in_flight.count("d1")


def test_a_total_that_is_off_by_another_number_each_time_is_left_alone(server, in_flight) -> None:
    """A sweep that looks between a worker's two counts sees a difference that is none."""
    for second in (20, 21, 22, 23):
        server.ksr.htable.sht_inc(shared.IN_FLIGHT, "d1")
        in_flight.sweep("d1", second * SECOND, 2.0)
    assert 4 == in_flight.count("d1")


def test_a_sweep_that_is_far_behind_takes_a_minute_at_a_time(in_flight) -> None:
    """What it has not come to yet still counts, and is no drift."""
    in_flight.sweep("d1", 10 * SECOND, 2.0)
    in_flight.enter("d1", 11 * SECOND)
    in_flight.enter("d1", 100 * SECOND)
    left = []
    for second in (200, 201, 202):
        in_flight.sweep("d1", second * SECOND, 2.0)
        left.append(in_flight.count("d1"))
    assert [1, 0, 0] == left


def test_a_count_below_zero_reads_as_zero(in_flight) -> None:
    """A pick never sees a negative load."""
    in_flight.leave("d1", 10 * SECOND, 10 * SECOND, 2.0)
    assert 0 == in_flight.count("d1")


def test_a_forgotten_destination_starts_at_zero(in_flight) -> None:
    """Forgetting drops the total."""
    in_flight.enter("d1", 10 * SECOND)
    in_flight.forget("d1")
    assert 0 == in_flight.count("d1")


def test_the_table_does_not_grow_with_time(server, in_flight) -> None:
    """A destination holds a handful of cells, however long it is served."""
    for second in range(10, 300):
        in_flight.enter("d1", second * SECOND)
        in_flight.leave("d1", second * SECOND, second * SECOND, 2.0)
        in_flight.sweep("d1", second * SECOND, 2.0)
    assert len(server.tables["in_flight"].cells) <= shared.life_s(2.0) + 4


# --- Facts ---


def test_facts_arrive_in_the_order_they_were_filed(server) -> None:
    """Kind and fields come back as text, oldest first, and only once."""
    Facts(server.ksr).put("answer", "d1", 1500, 2, 200, "-")
    Facts(server.ksr).put("silence", "d2")
    facts = Facts(server.ksr)
    assert [("answer", ["d1", "1500", "2", "200", "-"]), ("silence", ["d2"])] == list(facts.drain())
    assert [] == list(facts.drain())


def test_one_tick_takes_no_more_facts_than_it_can_bear(server, monkeypatch) -> None:
    """What is over the limit stays queued for the next tick."""
    monkeypatch.setattr(shared, "MAX_FACTS_PER_TICK", 2)
    facts = Facts(server.ksr)
    for number in range(3):
        facts.put("silence", f"d{number}")
    assert ["d0", "d1"] == [fields[0] for _, fields in facts.drain()]
    assert ["d2"] == [fields[0] for _, fields in facts.drain()]


# --- Dialogs ---


def test_a_call_is_found_again(server) -> None:
    """A note names the destination of its Call-ID and of no other."""
    Dialogs(server.ksr).note("call-1", "sip:127.0.0.1:5001")
    assert "sip:127.0.0.1:5001" == Dialogs(server.ksr).find("call-1")
    assert Dialogs(server.ksr).find("call-2") is None


@pytest.mark.parametrize(("keep", "life_s"), [(False, shared.ANSWER_TO_ACK_S), (True, shared.DIALOG_S)])
def test_a_note_lives_as_long_as_it_is_needed(server, keep, life_s) -> None:
    """A note is brief, or lasts as long as a call without Route may, and no longer."""
    dialogs = Dialogs(server.ksr)
    dialogs.note("call-1", "sip:127.0.0.1:5001", keep=keep)
    server.now_s += life_s
    assert dialogs.find("call-1") is not None
    server.now_s += 2
    assert dialogs.find("call-1") is None


def test_a_kept_note_becomes_brief_when_the_call_ends(server) -> None:
    """The last word on a call decides how long it is remembered."""
    dialogs = Dialogs(server.ksr)
    dialogs.note("call-1", "sip:127.0.0.1:5001", keep=True)
    dialogs.note("call-1", "sip:127.0.0.1:5001")
    server.now_s += shared.ANSWER_TO_ACK_S + 2
    assert dialogs.find("call-1") is None


def test_a_note_that_names_a_longer_destination_expires_too(server) -> None:
    """A Call-ID used again for another destination leaves nothing behind."""
    dialogs = Dialogs(server.ksr)
    dialogs.note("call-1", "sip:127.0.0.1:5001")
    dialogs.note("call-1", "sip:proxy.example.com:5001")
    server.now_s += shared.DIALOG_S + 60
    assert dialogs.find("call-1") is None


def test_the_names_of_tables_and_queues_are_those_of_the_configuration(server) -> None:
    """A table that kamailio.cfg does not make would count nothing, without a word."""
    names = {shared.BOARD, shared.IN_FLIGHT, shared.DIALOGS, shared.LOAD, shared.OVERLOAD, shared.OFFERS}
    assert names == server.tables.keys()
    assert {shared.FACTS} <= server.queues.keys()
    assert 0 == server.tables[shared.IN_FLIGHT].initval
    assert server.tables[shared.DIALOGS].autoexpire_s >= shared.DIALOG_S


# --- Load ---


def test_a_report_lives_for_some_seconds(server) -> None:
    """One whose writer has stopped is not passed on."""
    load = Load(server.ksr)
    assert "" == load.report(1000.0)
    load.publish_report("TEXT eps=1", 1000.0)
    assert "TEXT eps=1" == Load(server.ksr).report(1000.0 + shared.REPORT_LIFE_S)
    assert "" == load.report(1000.6 + shared.REPORT_LIFE_S)


def test_an_overload_is_said_to_all_workers(server) -> None:
    """As a percentage and as responses say it; before the first there is none."""
    assert (0, "") == Load(server.ksr).overload()
    Load(server.ksr).publish_overload(20, Feedback(20, 1000, (17, 2), Algorithm.LOSS))
    assert (20, ';oc=20;oc-algo="loss";oc-validity=1000;oc-seq=17.00002') == Load(server.ksr).overload()


def test_refusals_of_all_workers_are_counted(server) -> None:
    """From 0."""
    assert 0 == Load(server.ksr).refused()
    for _ in range(3):
        Load(server.ksr).count_refused()
    assert 3 == Load(server.ksr).refused()


# --- Clients ---


@pytest.fixture
def downstream() -> FakeKamailio:
    """Return a downstream proxy's server, which has the table of clients."""
    return FakeKamailio((Path(__file__).resolve().parents[2] / "examples" / "load-report.cfg").read_text())


def test_requests_are_counted_by_client(downstream) -> None:
    """Over all workers; a mark is no client."""
    for source, count in (("192.0.2.7", 3), ("2001:db8::1", 1)):
        assert [True] * count == [Clients(downstream.ksr).listens(source) for _ in range(count)]
    Clients(downstream.ksr).blame(["192.0.2.7"])
    assert {"192.0.2.7": 3, "2001:db8::1": 1} == Clients(downstream.ksr).counts()
    assert [] == downstream.htable.held()


def test_a_client_that_is_blamed_does_not_listen(downstream) -> None:
    """For two seconds, unless it is blamed again; others do."""
    clients = Clients(downstream.ksr)
    clients.blame(["192.0.2.7"])
    assert (False, True) == (clients.listens("192.0.2.7"), clients.listens("192.0.2.8"))
    downstream.now_s += 1
    clients.blame(["192.0.2.7"])
    downstream.now_s += shared.BLAME_S
    assert not clients.listens("192.0.2.7")
    downstream.now_s += 1
    assert clients.listens("192.0.2.7")


def test_too_many_clients_are_forgotten(downstream, monkeypatch) -> None:
    """Whoever sends from ever new addresses must not fill the memory."""
    monkeypatch.setattr(shared, "MAX_CLIENTS", 3)
    clients = Clients(downstream.ksr)
    for number in range(4):
        clients.listens(f"192.0.2.{number}")
    assert {} == clients.counts()
    assert {} == downstream.tables["clients"].cells
    clients.listens("192.0.2.9")
    assert {"192.0.2.9": 1} == clients.counts()


# --- Throttles ---

HOST = "127.0.0.1:5001"


def loss(oc: int, seq: tuple[int, int] | None = None, validity_ms: int = 1000) -> Feedback:
    """Return feedback."""
    return Feedback(oc, validity_ms, seq, Algorithm.LOSS)


def test_nothing_is_in_force_before_the_first_feedback(server) -> None:
    """For no server."""
    throttles = Throttles(server.ksr)
    assert throttles.in_force(HOST, 0) is None
    assert (False, False, 0) == (throttles.is_resting(HOST, 0), throttles.is_any_resting(0), throttles.shed(HOST))


def test_feedback_is_in_force_in_all_workers_for_its_time(server) -> None:
    """For its server alone."""
    Throttles(server.ksr).take(HOST, loss(20), SECOND)
    throttles = Throttles(server.ksr)
    assert 20 == throttles.in_force(HOST, 2 * SECOND - 1).oc
    assert throttles.in_force(HOST, 2 * SECOND) is None
    assert throttles.in_force("127.0.0.1:5002", SECOND) is None


def test_feedback_that_is_no_news_writes_nothing(server) -> None:
    """A thousand responses of the same number cost a thousand readings."""
    throttles = Throttles(server.ksr)
    throttles.take(HOST, loss(20, (5, 1)), SECOND)
    before = dict(server.tables["overload"].cells)
    throttles.take(HOST, loss(20, (5, 1)), SECOND + 500_000)
    assert before == server.tables["overload"].cells


def test_a_server_rests_from_its_last_word_on(server) -> None:
    """A worker that cannot tell whose, only that there was one, asks for any."""
    throttles = Throttles(server.ksr)
    throttles.take(HOST, loss(20, validity_ms=100), 10 * SECOND)
    last_us = (10 + shared.REST_S) * SECOND + SECOND - 1
    assert (True, True) == (throttles.is_resting(HOST, last_us), throttles.is_any_resting(last_us))
    assert not throttles.is_resting("127.0.0.1:5002", last_us)
    assert (False, False) == (throttles.is_resting(HOST, last_us + 1), throttles.is_any_resting(last_us + 1))


def test_what_was_said_once_for_long_is_kept_up(server) -> None:
    """Twenty seconds of validity and no further word: not at rest before they are over, and five more."""
    throttles = Throttles(server.ksr)
    throttles.take(HOST, loss(20, validity_ms=20_000), 10 * SECOND)
    for now_s in range(11, 36):
        throttles.calm([HOST, "127.0.0.1:5002"], now_s * SECOND)
        resting = throttles.is_resting(HOST, now_s * SECOND), throttles.is_any_resting(now_s * SECOND)
        assert (now_s <= 29 + shared.REST_S, now_s <= 29 + shared.REST_S) == resting
        assert not throttles.is_resting("127.0.0.1:5002", now_s * SECOND)


def test_requests_kept_from_a_server_are_counted_over_all_workers(server) -> None:
    """From 0."""
    for _ in range(3):
        Throttles(server.ksr).count_shed(HOST)
    assert (3, 0) == (Throttles(server.ksr).shed(HOST), Throttles(server.ksr).shed("127.0.0.1:5002"))


def test_a_bucket_is_shared_by_all_workers(server) -> None:
    """RFC 7415: one machine is one client."""
    feedback = Feedback(10, 60_000, None, Algorithm.RATE)
    Throttles(server.ksr).take(HOST, feedback, SECOND)
    throttle = Throttles(server.ksr).in_force(HOST, SECOND)
    passed = [Throttles(server.ksr).admits(HOST, throttle, SECOND, 0.0, priority=False) for _ in range(20)]
    assert [True] * 5 + [False] * 15 == passed
    assert Throttles(server.ksr).admits(HOST, throttle, SECOND + 100_000, 0.0, priority=False)


def test_a_server_that_is_forgotten_leaves_no_cell(server) -> None:
    """But for the note that somebody was in overload, which is nobody's."""
    throttles = Throttles(server.ksr)
    throttles.take(HOST, Feedback(10, 60_000, None, Algorithm.RATE), SECOND)
    throttles.admits(HOST, throttles.in_force(HOST, SECOND), SECOND, 0.0, priority=False)
    throttles.count_shed(HOST)
    throttles.forget(HOST)
    assert {"last"} == server.tables["overload"].cells.keys()


@pytest.mark.parametrize(
    ("cell", "use"),
    [
        (HOST, lambda throttles, _: throttles.take(HOST, loss(20), SECOND)),
        (f"{HOST} bucket", lambda throttles, known: throttles.admits(HOST, known, SECOND, 0.0, priority=False)),
    ],
)
def test_a_damaged_cell_keeps_no_lock(server, cell, use) -> None:
    """Other workers would wait for it for ever."""
    throttles = Throttles(server.ksr)
    throttles.take(HOST, Feedback(10, 60_000, None, Algorithm.RATE), SECOND)
    known = throttles.in_force(HOST, SECOND)
    server.ksr.htable.sht_sets("overload", cell, "damaged")
    with pytest.raises(ValueError, match="damaged"):
        use(throttles, known)
    assert [] == server.htable.held()
