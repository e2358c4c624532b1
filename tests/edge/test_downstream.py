"""A downstream proxy's workers and its watching process; s1 and the like are RFC 7339's rules for servers."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.edge.downstream import Told
from steelyard.edge.downstream_node import DownstreamNode, build, target_utilization
from steelyard.edge.reporter import Reporter
from steelyard.edge.shared import Clients, Load

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message

CONFIG = Path(__file__).resolve().parents[2] / "examples" / "load-report.cfg"
QUERY = {"Endpoint-Load-Metrics-Request": "TEXT"}
CALLER = "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK-caller"
OFFER = ';oc;oc-algo="loss"'


@pytest.fixture
def server() -> FakeKamailio:
    """Return a downstream proxy."""
    server = FakeKamailio(CONFIG.read_text())
    server.script = build(server.ksr)
    server.script._scripted._clock_s = server.script._native._clock_s = lambda: 1000.0
    return server


def overloaded(server: FakeKamailio, percent: int) -> str:
    """Publish an overload; return what responses say of it."""
    load = Load(server.ksr)
    load.publish_overload(percent, Feedback(percent, 1000, (5, 1), Algorithm.LOSS))
    return load.overload()[1]


def report(server: FakeKamailio, at_s: float = 1000.0) -> None:
    """Publish a report."""
    Load(server.ksr).publish_report("TEXT cpu_utilization=0.5", at_s)


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (Message("OPTIONS", "sip:127.0.0.1", for_us=True, headers=QUERY), 200),
        (Message("INVITE", headers={**QUERY, "Max-Forwards": "0"}), 483),
    ],
)
def test_a_load_query_is_answered_with_the_report(server, message, status) -> None:
    """By OPTIONS to us, or by an INVITE that may go no further."""
    report(server)
    [answer] = server.receive(message)
    assert (status, ("Endpoint-Load-Metrics: TEXT cpu_utilization=0.5",)) == (answer.status, answer.headers)


def test_an_invite_that_may_go_no_further_needs_no_query_to_be_refused(server) -> None:
    """It is told no load."""
    report(server)
    [answer] = server.receive(Message("INVITE", headers={"Max-Forwards": " 0 "}))
    assert (483, ()) == (answer.status, answer.headers)


def test_a_report_whose_writer_has_stopped_is_not_passed_on(server) -> None:
    """Three seconds old, it is none."""
    report(server, at_s=996.0)
    [answer] = server.receive(Message("OPTIONS", "sip:127.0.0.1", for_us=True, headers=QUERY))
    assert (200, ()) == (answer.status, answer.headers)


def test_s11_the_load_is_told_to_whom_it_may_be_told(server) -> None:
    """Neither a report nor a value of oc goes to others."""
    report(server)
    overloaded(server, 0)
    server.shared_variables["steelyard_clients"] = "192.0.2.0/24, 2001:db8::/32"
    told = []
    for source in ("192.0.2.7", "198.51.100.7", "2001:db8::1"):
        message = Message(
            "OPTIONS", "sip:127.0.0.1", for_us=True, source=source, headers={**QUERY, "Via": CALLER + OFFER}
        )
        [answer] = server.receive(message)
        told.append((bool(answer.headers), "oc=0" in answer.via))
    assert [(True, True), (False, False), (True, True)] == told


def test_networks_that_cannot_be_read_tell_nobody_and_are_named() -> None:
    """A slip must not publish the load."""
    text, log = ["10.0.0.0/33"], []
    told = Told(lambda: text[0], log.append)
    assert [False, False] == [told.may_hear("10.0.0.1"), told.may_hear("10.0.0.1")]
    assert [True] == ["10.0.0.0/33" in line for line in log]
    text[0] = "any"
    assert told.may_hear("10.0.0.1")


def test_s1_the_answer_to_a_client_that_offers_says_how_much_to_shed(server) -> None:
    """And it is not refused for the overload: it sheds by itself."""
    said = overloaded(server, 99)
    answers = [
        server.receive(Message("OPTIONS", "sip:x", for_us=True, branch=f"b{n}", headers={"Via": CALLER + OFFER}))
        for n in range(20)
    ]
    assert [[(200, CALLER + said)]] * 20 == [[(a.status, a.via) for a in each] for each in answers]


def test_s9_who_does_not_offer_is_refused_as_often(server) -> None:
    """With 503 without Retry-After; what has priority is refused last, ACK and CANCEL never."""
    overloaded(server, 40)
    server.script._rng.seed(1)
    server.script._scripted._mix.ordinary_percent = 100.0
    statuses = [server.receive(Message("OPTIONS", "sip:x", for_us=True, branch=f"b{n}"))[0].status for n in range(1000)]
    refused = statuses.count(503)
    assert 400 == pytest.approx(refused, abs=47)  # three standard deviations
    assert refused == Load(server.ksr).refused()
    assert {200} == {
        server.receive(Message("OPTIONS", "urn:service:sos", for_us=True, branch=f"c{n}"))[0].status for n in range(50)
    }
    assert [] == server.receive(Message("ACK", to_tag="x"))


def test_s10_who_offered_and_does_not_shed_is_refused_like_a_stranger(server) -> None:
    """By the mark of the watching process."""
    overloaded(server, 99)
    server.script._scripted._mix.ordinary_percent = 100.0
    Clients(server.ksr).blame(["127.0.0.1"])
    statuses = [
        server.receive(Message("OPTIONS", "sip:x", for_us=True, branch=f"b{n}", headers={"Via": CALLER + OFFER}))
        for n in range(200)
    ]
    assert sum(each[0].status == 503 for each in statuses) > 150


def test_s1_a_reply_that_passes_through_carries_the_value_of_the_moment(server) -> None:
    """S4: and the request goes on without it, c12."""
    overloaded(server, 10)
    server.receive(Message("INVITE", "sip:bob@192.0.2.9", headers={"Via": CALLER + OFFER}))
    [call] = server.sent
    assert CALLER == call.headers["Via"]
    said = overloaded(server, 20)
    server.reply(call, 180, Via=["SIP/2.0/UDP 127.0.0.1;branch=z9hG4bK1", CALLER])
    assert CALLER + said == server.passed_on.headers["Via"][1]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (Message("OPTIONS", "sip:x", for_us=True), 200),
        (Message("MESSAGE", "sip:x", for_us=True), 404),
        (Message("BYE", to_tag="x"), 481),
        (Message("INVITE", max_forwards=0), 483),
        (Message("INVITE", sane=False), 400),
    ],
)
def test_a_plain_proxy_answers_what_goes_no_further(server, message, status) -> None:
    """By the rules of RFC 3261 section 16.3."""
    assert [status] == [answer.status for answer in server.receive(message)]


def test_a_plain_proxy_relays_the_rest(server) -> None:
    """Stays in the dialog, follows its route, passes CANCEL on."""
    server.receive(Message("INVITE", "sip:bob@192.0.2.9", branch="b1"))
    server.receive(Message("BYE", "sip:bob@192.0.2.9", to_tag="x", routed=True, branch="b2"))
    server.receive(Message("CANCEL", "sip:bob@192.0.2.9", branch="b1"))
    assert ["sip:bob@192.0.2.9"] * 2 == [sent.uri for sent in server.sent]
    assert ["sip:bob@192.0.2.9"] == server.cancels
    assert 1 == len(server.record_routed)


def test_a_native_configuration_goes_on_unless_all_is_done(server) -> None:
    """0 ends its route, 1 does not; what is announced goes with the request, for nobody would put it into replies."""
    said = overloaded(server, 0)
    node: DownstreamNode = server.script
    with server.at_hand(Message("INVITE", headers={"Via": CALLER + OFFER})):
        assert 1 == node.steelyard_answer(None)
        assert (CALLER + said, []) == (server.message.headers["Via"], server.lumps)
    with server.at_hand(Message("OPTIONS", "sip:x", for_us=True, headers=QUERY)):
        assert 0 == node.steelyard_answer(None, "argument")


def test_what_breaks_does_not_stop_a_native_configuration(server) -> None:
    """It is logged, and the request goes on."""
    server.script._native._load = None
    with server.at_hand(Message()):
        assert 1 == server.script.steelyard_answer(None)
    assert 1 == len(server.errors())


@pytest.mark.parametrize(("text", "expected"), [("90", 0.9), ("1", 0.01), ("", 0.95), ("0", 0.95), ("x", 0.95)])
def test_the_utilization_to_hold_is_a_percentage(text, expected) -> None:
    """What is none is the default."""
    assert expected == target_utilization(text)


# --- the watching process ---


class Watched:
    """A watching process over processes that a test makes up."""

    def __init__(self, server: FakeKamailio, proc) -> None:
        self.server = server
        self.proc = proc
        self.now_s = 1000.0
        self.counters = {"core.rcv_requests": 0, "tmx.inuse_transactions": 3, "tmx.5xx_transactions": 0}
        self.processes: list[dict[str, Any]] = []
        self.fails = ""
        server.ksr._modules["jsonrpcs"]._model.exec = self.answer
        (proc / "net").mkdir()
        (proc / "meminfo").write_text("MemTotal: 1000 kB\n")
        self.reporter = Reporter(
            server.ksr,
            Load(server.ksr),
            Clients(server.ksr),
            lambda: 0.95,
            lambda: self.now_s,
            lambda: self.now_s,
            self.sleep,
            random.Random(1).random,  # noqa: S311 - traffic
            proc=proc,
        )

    def worker(self, pid: int, place: str, desc: str = "udp receiver child=0 sock=127.0.0.1:5060") -> None:
        """Add a process, asleep at a place of the kernel."""
        folder = self.proc / str(pid)
        folder.mkdir(exist_ok=True)
        (folder / "wchan").write_text(place)
        (folder / "stat").write_text(f"{pid} (k) S" + " 0" * 40)
        (folder / "status").write_text("RssAnon: 100 kB\n")
        row = {"pid": pid, "desc": desc, "used": 25, "total_size": 100}
        self.processes = [*(p for p in self.processes if p["pid"] != pid), row]

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def answer(self, text: str) -> int:
        """Answer one of Kamailio's commands."""
        method = json.loads(text)["method"]
        results = {
            "pkg.stats": self.processes,
            "core.shmmem": {"used": 10, "total": 40},
            "stats.fetch": {name: str(int(value)) for name, value in self.counters.items()},
        }
        broken = {"error": {"message": "method not found"}} if method == self.fails else {"result": results[method]}
        self.server.rpc_body = json.dumps(broken)
        return 1

    def run(self, seconds: float, rps: float = 0.0) -> str:
        """Let it watch; return the report then."""
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            before_s = self.now_s
            self.reporter.tick()
            self.counters["core.rcv_requests"] += rps * (self.now_s - before_s) + 1  # the timer's own call
        return Load(self.server.ksr).report(self.now_s)


@pytest.fixture
def watched(server, tmp_path) -> Watched:
    """Return a watching process."""
    return Watched(server, tmp_path)


def fields(text: str) -> dict[str, float]:
    """Return a report's fields."""
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in text[5:].split(","))}


def test_a_worker_that_waits_is_idle_and_one_that_is_blocked_is_busy(watched) -> None:
    """Whatever CPU it uses."""
    watched.worker(1, "__skb_wait_for_more_packets")
    watched.worker(2, "poll_schedule_timeout")
    watched.worker(3, "do_epoll_wait", "tcp receiver (generic) child=0")
    watched.worker(4, "do_epoll_wait", "slow timer")
    seen = fields(watched.run(3, rps=50))
    assert (0.5, 0.333) == pytest.approx(
        (seen["application_utilization"], seen["named_metrics.workers_busy"]), abs=0.01
    )
    assert 50 == pytest.approx(seen["rps_fractional"], rel=0.05)
    assert (0.25, 0.25, 0.4, 3) == (
        seen["named_metrics.shm"],
        seen["named_metrics.pkg"],
        seen["mem_utilization"],
        seen["named_metrics.transactions"],
    )


def test_where_the_kernel_hides_all_nothing_is_reported(watched) -> None:
    """An idle proxy that looks full would be sent nothing; the log says what to do, once."""
    watched.worker(1, "0")
    assert "" == watched.run(3)
    assert 1 == len([line for line in watched.server.errors() if "hidden" in line])


def test_a_command_that_is_missing_is_named(watched) -> None:
    """A module may not be loaded."""
    watched.fails = "pkg.stats"
    watched.worker(1, "__skb_wait_for_more_packets")
    assert "" == watched.run(2)
    assert 1 == len([line for line in watched.server.errors() if "pkg.stats failed (method not found)" in line])


def test_a_worker_that_has_gone_is_looked_at_no_more(watched) -> None:
    """Nor is one that cannot be looked at at all."""
    watched.worker(1, "__skb_wait_for_more_packets")
    watched.processes.append({"pid": 9, "desc": "udp receiver child=1 sock=x", "used": 1, "total_size": 100})
    watched.run(2)
    assert [1] == list(watched.reporter._workers)
    assert 1 == len(watched.server.errors())


def test_workers_that_stay_full_are_an_overload(watched) -> None:
    """S5: announced with a validity and ever new numbers; S6: and its end."""
    load = Load(watched.server.ksr)
    watched.worker(1, "hrtimer_nanosleep")
    watched.run(5, rps=50)
    percent, said = load.overload()
    assert percent > 0
    assert "oc-validity=1000" in said
    watched.run(1)
    assert said != load.overload()[1]
    watched.worker(1, "__skb_wait_for_more_packets")
    watched.run(10)
    assert 0 == load.overload()[0]
    assert ';oc=0;oc-algo="loss";oc-validity=0' in load.overload()[1]


def test_s10_the_watching_process_names_who_does_not_shed(watched) -> None:
    """By the requests that its workers counted."""
    clients = Clients(watched.server.ksr)
    watched.worker(1, "__skb_wait_for_more_packets")

    def sent(each: int, times: int) -> bool:
        listens = True
        for _ in range(times):
            for _ in range(each):
                listens = clients.listens("192.0.2.7")
            watched.run(0.25)
        return listens

    sent(50, 12)
    watched.worker(1, "hrtimer_nanosleep")
    assert not sent(50, 60)
