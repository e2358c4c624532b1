"""The watching process: what it makes of real processes and of Kamailio's counters; s5 and the like are RFC 7339's."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from steelyard.core.load_report import parse_header
from steelyard.edge.reporter import CONTROL_PERIOD_S, COUNTERS, LEAST_UTILIZATION, MESSAGE_BYTES, Reporter
from steelyard.edge.shared import Clients, Load

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.test_downstream import CONFIG, Watched, fields

IDLE = "__skb_wait_for_more_packets"
BUSY = "hrtimer_nanosleep"
SOCKET = "127.0.0.1:5060"

# As SIP workers, with a UDP socket of their own each.
WAITS = "s.recvfrom(65535)"
SLEEPS = "time.sleep(60)"
BURNS = "exec('while True: pass')"


@pytest.fixture
def server() -> FakeKamailio:
    """Return a downstream proxy."""
    return FakeKamailio(CONFIG.read_text())


@pytest.fixture
def watched(server, tmp_path) -> Watched:
    """Return a watching process over processes that a test makes up."""
    return Watched(server, tmp_path)


@pytest.fixture
def run() -> Iterator[Callable[[str], tuple[int, str]]]:
    """Run programs that end with the test; each says its process and its UDP socket once it is there."""
    started = []

    def start(does: str) -> tuple[int, str]:
        program = (
            "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); "
            f"print(s.getsockname()[1], flush=True); {does}"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.pid, f"127.0.0.1:{process.stdout.readline().strip()}"

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


class Live(Watched):
    """A watching process over real processes."""

    def __init__(self, server: FakeKamailio, folder: Path) -> None:
        """Watch /proc by the real clock."""
        super().__init__(server, folder)
        random_ = random.Random(1).random  # noqa: S311 - traffic
        self.reporter = Reporter(
            *(server.ksr, Load(server.ksr), Clients(server.ksr), lambda: 0.95),
            *(time.monotonic, time.time, time.sleep, random_),
        )

    def add(self, pid: int, socket: str, group: int) -> None:
        """Call a process a SIP worker of a socket."""
        desc = f"udp receiver child={group} sock={socket}"
        self.processes.append({"pid": pid, "desc": desc, "used": 1, "total_size": 4})

    def report(self) -> dict[str, float]:
        """Watch until there is a report."""
        for _ in range(8):
            self.reporter.tick()
            text = Load(self.server.ksr).report(time.monotonic())
            if text:
                return fields(text)
        raise AssertionError(f"no report: {self.server.errors()}")


def next_report(watched: Watched) -> dict[str, float]:
    """Watch until there is another report than the last one."""
    before = watched.server.ksr.htable.sht_get("load", "report")
    for _ in range(20):
        text = watched.run(CONTROL_PERIOD_S)
        if watched.server.ksr.htable.sht_get("load", "report") != before:
            return fields(text)
    raise AssertionError("no report")


# --- real processes ---


@pytest.fixture
def live(server, tmp_path) -> Live:
    """Return a watching process over real processes."""
    return Live(server, tmp_path)


@pytest.mark.parametrize(
    ("does", "busy", "least_cpu"), [([WAITS], 0, 0), ([SLEEPS], 1, 0), ([BURNS], 1, 0.05), ([WAITS, SLEEPS], 0.5, 0)]
)
def test_a_process_is_busy_unless_it_waits_for_a_message(live, run, does, busy, least_cpu) -> None:
    """One that waits for anything else serves nobody, though it burns no CPU."""
    shared = run(does[0])
    live.add(*shared, 0)
    for number, other in enumerate(does[1:], 1):
        live.add(run(other)[0], shared[1], number)
    seen = live.report()
    assert busy == pytest.approx(seen["application_utilization"], abs=0.05)
    assert busy == pytest.approx(seen["named_metrics.workers_busy"], abs=0.05)
    assert seen["cpu_utilization"] >= least_cpu
    assert 0 < seen["mem_utilization"] < 1


def test_the_socket_whose_workers_are_busiest_counts(live, run) -> None:
    """Workers of one socket cannot help those of another; the mean is told beside it."""
    for number, does in enumerate((WAITS, WAITS, SLEEPS)):
        live.add(*run(does), number)
    seen = live.report()
    assert (1, 1 / 3) == pytest.approx((seen["application_utilization"], seen["named_metrics.workers_busy"]), abs=0.05)


def test_a_process_that_ends_is_looked_at_no_more(live, run) -> None:
    """The others go on being watched."""
    first = run(WAITS)
    live.add(*first, 0)
    live.add(run(SLEEPS)[0], first[1], 1)
    live.reporter.tick()
    live.reporter.tick()
    os.kill(first[0], signal.SIGKILL)
    os.waitpid(first[0], 0)
    live.processes.pop(0)
    live.report()
    live.reporter.tick()
    assert 1 == len(live.reporter._workers)
    assert [] == live.server.errors()


# --- the report ---


def test_a_report_can_be_read_by_who_asked(watched) -> None:
    """What is written here is what the control node reads."""
    watched.worker(1, IDLE)
    report = parse_header(watched.run(3, rps=7))
    assert 7 == pytest.approx(report.rps, rel=0.1)
    assert {"cpu_utilization", "application_utilization"} <= report.utilizations.keys()
    assert {"named_metrics.transactions"} == report.counts.keys()


def test_there_is_no_report_before_a_whole_window(watched) -> None:
    """The first look only begins one; then there is a new one about every second."""
    watched.worker(1, IDLE)
    assert "" == watched.run(CONTROL_PERIOD_S)
    stamps = set()
    for _ in range(40):
        watched.run(CONTROL_PERIOD_S)
        stamps.add(watched.server.ksr.htable.sht_get("load", "report"))
    assert 9 <= len(stamps - {0}) <= 12


def test_the_timers_own_calls_are_no_requests(watched) -> None:
    """Kamailio counts them as such."""
    watched.worker(1, IDLE)
    assert 0 == pytest.approx(fields(watched.run(5))["rps_fractional"], abs=0.01)


def test_what_was_refused_for_overload_is_neither_work_nor_failure(watched) -> None:
    """Else whoever sheds would look like who fails."""
    watched.worker(1, IDLE)
    next_report(watched)
    for _ in range(20):
        Load(watched.server.ksr).count_refused()
    watched.counters |= {"sl.5xx_replies": 25, "core.rcv_requests": watched.counters["core.rcv_requests"] + 25}
    seen = next_report(watched)
    assert (5, 5) == pytest.approx((seen["eps"], seen["rps_fractional"]), rel=0.2)


@pytest.mark.parametrize("counter", ["sl.500_replies", "sl.5xx_replies", "tmx.5xx_transactions"])
def test_failures_are_counted_wherever_they_are_answered(watched, counter) -> None:
    """With state, without, and by a script that broke."""
    assert counter in [name.replace(":", ".") for name in COUNTERS]
    watched.worker(1, IDLE)
    next_report(watched)
    watched.counters[counter] = 30
    assert 30 == pytest.approx(next_report(watched)["eps"], rel=0.2)
    assert 0 == next_report(watched)["eps"]


def test_the_fullest_private_memory_counts(watched) -> None:
    """One process without memory fails its requests, however much the others have."""
    watched.worker(1, IDLE)
    watched.processes.append({"pid": 2, "desc": "timer", "used": 90, "total_size": 100})
    assert 0.9 == fields(watched.run(3))["named_metrics.pkg"]


@pytest.mark.parametrize("method", ["pkg.stats", "core.shmmem", "stats.fetch"])
def test_a_command_that_fails_for_a_while_is_told_once_and_the_report_comes_back(watched, method) -> None:
    """A report that says half of it would be worse than none."""
    watched.worker(1, IDLE)
    watched.run(3)
    watched.fails = method
    assert "" == watched.run(6)
    assert 1 == len([line for line in watched.server.errors() if method in line])
    watched.fails = ""
    assert watched.run(3)


def test_what_waits_in_a_socket_while_workers_are_busy_is_seen(watched) -> None:
    """At the capacity that the last report told: four thousand requests wait for 40 s where 100 a second are served."""
    watched.worker(1, BUSY)
    (watched.proc / "net" / "udp").write_text(f"sl local\n0: 0100007F:13C4 0:0 07 0:{4000 * MESSAGE_BYTES:08X} 0 0\n")
    watched.run(5, rps=100)
    assert 40 == pytest.approx(watched.reporter._wait_s(), rel=0.1)


def test_the_fullest_socket_counts(watched) -> None:
    """Whoever waits there waits longest."""
    watched.worker(1, BUSY)
    watched.worker(2, BUSY, "udp receiver child=0 sock=127.0.0.1:5061")
    rows = f"0: 0100007F:13C4 0:0 07 0:{10 * MESSAGE_BYTES:08X}\n1: 0100007F:13C5 0:0 07 0:{1000 * MESSAGE_BYTES:08X}\n"
    (watched.proc / "net" / "udp").write_text(f"sl local\n{rows}")
    watched.run(5, rps=100)
    assert 10 == pytest.approx(watched.reporter._wait_s(), rel=0.1)


def test_no_capacity_is_told_of_an_idle_proxy(watched) -> None:
    """Below a fifth too little is seen to tell it by, and the queue cannot be translated into time."""
    assert LEAST_UTILIZATION > 0
    watched.worker(1, IDLE)
    watched.run(5, rps=100)
    assert watched.reporter._wait_s() is None


# --- overload control ---


def test_s5_the_utilization_to_hold_can_be_changed_while_it_runs(watched) -> None:
    """Half of the workers busy is no overload, unless that is more than is wanted."""
    watched.worker(1, IDLE)
    watched.worker(2, BUSY)
    watched.run(10, rps=50)
    assert 0 == Load(watched.server.ksr).overload()[0]
    watched.reporter._target_utilization = lambda: 0.3
    watched.run(10, rps=50)
    assert Load(watched.server.ksr).overload()[0] > 0


def test_s4_the_number_rises_with_every_announcement(watched) -> None:
    """At least twice within the validity, so that no client lets it expire."""
    watched.worker(1, BUSY)
    numbers = []
    for _ in range(60):
        watched.run(CONTROL_PERIOD_S, rps=50)
        found = re.search(r"oc-seq=(\d+)\.(\d+)", Load(watched.server.ksr).overload()[1])
        numbers += [(int(found[1]), int(found[2]))] if found else []
    assert sorted(numbers) == numbers
    assert len(set(numbers[20:])) >= 15


def test_s10_who_sheds_is_not_blamed(watched) -> None:
    """Nor is who came with the overload."""
    clients = Clients(watched.server.ksr)
    watched.worker(1, IDLE)

    def sent(times: int, **each: int) -> list[bool]:
        listens = dict.fromkeys(each, True)
        for _ in range(times):
            for source, count in each.items():
                for _ in range(count):
                    listens[source] = clients.listens(source)
            watched.run(CONTROL_PERIOD_S)
        return [listens[source] for source in each]

    assert [True, True] == sent(12, sheds=50, stays=50)
    watched.worker(1, BUSY)
    assert [True, False, True] == sent(60, sheds=5, stays=50, new=50)


def test_who_was_blamed_is_forgiven_when_the_watching_process_stops(watched) -> None:
    """The mark goes by itself."""
    clients = Clients(watched.server.ksr)
    clients.blame(["192.0.2.7"])
    assert not clients.listens("192.0.2.7")
    watched.server.now_s += 4
    assert clients.listens("192.0.2.7")
