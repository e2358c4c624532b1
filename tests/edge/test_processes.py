"""What the kernel shows of processes."""

import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest
from steelyard.edge.processes import NOT_SHOWN, Worker, cpu_s, machine_kb, memory_kb, waiting_bytes

from lab.process import await_condition

UDP = (
    "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('127.0.0.1', 0)); "
    "print(s.getsockname()[1], flush=True); s.recv(9)"
)
EPOLL = "import select; print(flush=True); select.epoll().poll()"
SLEEP = "import time; print(flush=True); time.sleep(60)"
SPIN = "print(flush=True)\nwhile True: pass"


@pytest.fixture
def run() -> Iterator:
    """Run Python programs, which end with the test."""
    started = []

    def start(program: str) -> tuple[int, str]:
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.pid, process.stdout.readline().strip()

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("group", "program"), [("udp 127.0.0.1:5060", UDP), ("tcp any", EPOLL)])
def test_a_worker_that_waits_for_a_message_is_idle(run, group, program) -> None:
    """Each kind in its own place of the kernel."""
    worker = Worker(run(program)[0], group)
    await_condition(lambda: worker.is_idle_at(worker.place()), "idle", 5)
    worker.close()


@pytest.mark.parametrize(
    ("group", "program"), [("udp x", SLEEP), ("udp x", EPOLL), ("udp x", SPIN), ("tcp x", SLEEP), ("tcp x", UDP)]
)
def test_a_worker_that_waits_for_anything_else_is_busy(run, group, program) -> None:
    """For a database, say; and one that runs is busy too."""
    pid, _ = run(program)
    worker = Worker(pid, group)
    running = Worker(pid, group)
    asleep = program is not SPIN
    await_condition(lambda: (running.place() != NOT_SHOWN) is asleep, "at its place", 5)
    assert not any(worker.is_idle_at(worker.place()) for _ in range(200))


def test_cpu_time_is_that_of_the_process(run) -> None:
    """And none for one that has gone."""
    pid, _ = run(SPIN)
    await_condition(lambda: cpu_s(pid) > 0.1, "CPU time", 5)
    assert 0.0 == cpu_s(2**22 + 1)


def test_a_name_with_spaces_and_brackets_hides_no_field(tmp_path) -> None:
    """proc(5): it stands in brackets and may hold anything."""
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_text("7 (a) b (c) S 1 1 1 0 -1 4194304 9 0 0 0 250 150 0 0 20 0 1 0 5 0 0")
    assert 4.0 == pytest.approx(cpu_s(7, tmp_path) * 100 / (4.0 * 100) * 4.0)
    (tmp_path / "7" / "stat").write_text("nothing of the kind")
    assert 0.0 == cpu_s(7, tmp_path)


def test_shared_memory_is_counted_once(tmp_path) -> None:
    """All of Kamailio's processes have the same."""
    for pid, alone in ((1, 100), (2, 50)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "status").write_text(
            f"Name:\tk\nRssAnon:\t {alone} kB\nRssShmem:\t 400 kB\nThreads: 1\n"
        )
    assert 550 == memory_kb([1, 2, 3], tmp_path)
    assert 1 == machine_kb(tmp_path)
    assert machine_kb() > 100_000


def test_what_waits_in_a_socket_is_seen() -> None:
    """The kernel's own count of the memory it takes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{own.getsockname()[1]}"
        assert 0 == waiting_bytes(address)
        own.sendto(b"x" * 900, own.getsockname())
        assert 900 <= waiting_bytes(address) <= 9000


def test_what_waits_in_an_ipv6_socket_is_seen() -> None:
    """Named in brackets, as Kamailio does."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as own:
        own.bind(("::1", 0))
        own.sendto(b"x" * 900, own.getsockname()[:2])
        assert 900 <= waiting_bytes(f"[::1]:{own.getsockname()[1]}") <= 9000


@pytest.mark.parametrize("address", ["127.0.0.1:1", "any", "", "nonsense:5060", "127.0.0.1:x"])
def test_nothing_waits_in_a_socket_that_is_not_there(address) -> None:
    """Or whose name cannot be read."""
    assert 0 == waiting_bytes(address)
