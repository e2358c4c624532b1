"""One child process: started in a folder, waited for by a condition, ended by its pid."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

STOP_TIMEOUT_S = 10.0


class NotReady(RuntimeError):
    """A program did not become ready in time; the message ends with the tail of what it printed."""


def free_port() -> int:
    """Return a port that neither UDP nor TCP uses on loopback at this moment."""
    for _ in range(100):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            udp.bind(("127.0.0.1", 0))
            port: int = udp.getsockname()[1]
            with contextlib.suppress(OSError):
                tcp.bind(("127.0.0.1", port))
                return port
    raise NotReady("no free port on loopback")


def free_ports(count: int) -> list[int]:
    """Return neighbouring ports that no UDP program uses on loopback at this moment."""
    for _ in range(100):
        first = free_port()
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            for port in range(first, first + count):
                probe = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                probe.bind(("127.0.0.1", port))
            return list(range(first, first + count))
    raise NotReady(f"no {count} neighbouring free ports on loopback")


def await_condition(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """
    Poll until `condition` holds.

    Raises:
        NotReady: it did not within `timeout_s` seconds.
    """
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise NotReady(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.02)


class Process:
    """A program in the foreground of its own process group, its output in a file."""

    def __init__(self, name: str, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        """Prepare; nothing runs before start()."""
        self.name = name
        self.log_path = folder / f"{name}.log"
        self._argv = list(argv)
        self._folder = folder
        self._env = {**os.environ, **(env or {})}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id. Precondition: started."""
        if self._popen is None:
            raise NotReady(f"{self.name} was not started")
        return self._popen.pid

    @property
    def log(self) -> str:
        """What the program has printed so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def start(self, is_ready: Callable[[], bool] | None = None, timeout_s: float = 15.0) -> Self:
        """
        Run the program and wait until it is ready.

        Raises:
            NotReady: it ended at once or did not become ready in time.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603 - our own programs
                self._argv,
                cwd=self._folder,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if is_ready is not None:
            try:
                await_condition(lambda: not self.is_running() or is_ready(), f"{self.name} ready", timeout_s)
            except NotReady as error:
                self.stop()
                raise NotReady(f"{error}\n{self.log[-2000:]}") from None
            if not self.is_running():
                raise NotReady(f"{self.name} ended with status {self.wait()}\n{self.log[-2000:]}")
        return self

    def is_running(self) -> bool:
        """Say whether the program is still there."""
        return self._popen is not None and self._popen.poll() is None

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the program's end and return its exit status."""
        if self._popen is None:
            raise NotReady(f"{self.name} was not started")
        return self._popen.wait(timeout_s)

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        if self.is_running():
            os.killpg(self.pid, number)

    def stop(self) -> None:
        """End the program, by force when it does not end itself."""
        if self._popen is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)
            os.killpg(self.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # what is left of the group
        self._popen.wait()

    def kill(self) -> None:
        """End the program as a crash would."""
        self.signal(signal.SIGKILL)
        if self._popen is not None:
            self._popen.wait()

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far by all processes of the group."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def memory_kb(self) -> dict[int, int]:
        """Return the anonymous resident memory of each process of the group, in kB by pid."""
        found = {}
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith("RssAnon:"):
                        found[pid] = int(line.split()[1])
        return found

    def pids(self) -> list[int]:
        """Return the pids of the process group."""
        pids = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, IndexError):
                    if int(_stat(int(entry.name))[2]) == self.pid:
                        pids.append(int(entry.name))
        return pids

    def __enter__(self) -> Self:
        """Return the process, started or not."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the program."""
        self.stop()


def _stat(pid: int) -> list[str]:
    """Return /proc/<pid>/stat from its third field on: state, parent, group ..."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        fields = _stat(pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0
