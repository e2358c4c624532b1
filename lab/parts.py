"""The programs of a set-up: Redis, control nodes, queues, SIPp on either side."""

import csv
import os
import re
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import redis

from .figures import percentile
from .process import Process, await_condition, free_port, free_ports

HOME = Path(__file__).resolve().parent.parent
SCENARIOS = HOME / "sipp-scenarios"

KAMAILIO = os.environ.get("KAMAILIO", "kamailio")
SIPP = os.environ.get("SIPP", "sipp")
REDIS_SERVER = os.environ.get("REDIS_SERVER", "redis-server")


class RedisServer(Process):
    """A private Redis on a unix socket, with its data kept in its folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        """Prepare; `options` are added to its command line."""
        self.socket_path = folder / "redis.sock"
        argv = [REDIS_SERVER, "--port", "0", "--unixsocket", str(self.socket_path), "--dir", str(folder)]
        super().__init__("redis", [*argv, "--save", "", "--appendonly", "yes", *options], folder)

    @property
    def url(self) -> str:
        """Its address as STEELYARD_REDIS_URL takes it."""
        return f"unix://{self.socket_path}"

    def client(self) -> Any:  # noqa: ANN401 - redis-py's answers are loosely typed
        """Return a connection that decodes text."""
        return redis.Redis(unix_socket_path=str(self.socket_path), decode_responses=True)

    def is_ready(self) -> bool:
        """Say whether it answers."""
        try:
            return bool(self.client().ping())
        except redis.RedisError:
            return False

    def run(self) -> Self:
        """Start and wait until it answers."""
        return self.start(self.is_ready)


def answers_options(port: int) -> bool:
    """Say whether something on this UDP port answers an OPTIONS request."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(0.2)
        own = probe.getsockname()[1]
        request = (
            f"OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{own};branch=z9hG4bK{own}\r\n"
            f"From: <sip:lab@localhost>;tag=1\r\nTo: <sip:127.0.0.1:{port}>\r\nCall-ID: ready-{own}\r\n"
            "CSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            probe.sendto(request.encode(), ("127.0.0.1", port))
            return probe.recv(4096).startswith(b"SIP/2.0")
        except OSError:
            return False


class Kamailio(Process):
    """A Kamailio of any configuration, with its control socket."""

    def __init__(  # noqa: PLR0913 - what a Kamailio is told
        self, name: str, config: Path, folder: Path, port: int, env: Mapping[str, str], ctl: Path
    ) -> None:
        """Prepare."""
        self.port = port
        self.ctl = ctl
        super().__init__(name, [KAMAILIO, "-f", str(config), "-DD", "-E", "-m", "512"], folder, env)

    def run(self) -> Self:
        """Start and wait until it answers."""
        return self.start(lambda: answers_options(self.port))

    def rpc(self, *command: str) -> str:
        """Run one kamcmd command and return what it printed."""
        done = subprocess.run(  # noqa: S603 - our own program
            ["kamcmd", "-s", f"unix:{self.ctl}", *command],  # noqa: S607
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
        return done.stdout + done.stderr

    def table(self, name: str) -> dict[str, str]:
        """Return one of its htables."""
        return dict(re.findall(r"name: (\S+)\s+value: (\S+)", self.rpc("htable.dump", name)))

    @property
    def uri(self) -> str:
        """Its address as a destination."""
        return f"sip:127.0.0.1:{self.port}"


class ControlNode(Kamailio):
    """The product itself."""

    def __init__(
        self, folder: Path, redis_url: str, *, port: int = 0, workers: int = 4, tcp: bool = False, **env: str
    ) -> None:
        """Prepare; further keywords are environment variables."""
        port = port or free_port()
        listen = f"udp:127.0.0.1:{port}" + (f" tcp:127.0.0.1:{port}" if tcp else "")
        variables = {
            "STEELYARD_HOME": str(HOME),
            "STEELYARD_LISTEN": listen,
            "STEELYARD_REDIS_URL": redis_url,
            "STEELYARD_RUN_DIR": str(folder),
            "STEELYARD_WORKERS": str(workers),
            **env,
        }
        super().__init__("control", HOME / "kamailio.cfg", folder, port, variables, folder / "kamailio.ctl")


class Phone(Kamailio):
    """The other end of every call that a queue answers."""

    def __init__(self, folder: Path) -> None:
        """Prepare."""
        port = free_port()
        ctl = folder / "phone.ctl"
        env = {"PHONE_LISTEN": f"udp:127.0.0.1:{port}", "PHONE_CTL": f"unix:{ctl}"}
        super().__init__("phone", HOME / "lab" / "phone.cfg", folder, port, env, ctl)


class Queue(Kamailio):
    """A downstream proxy that is a real queue: so many workers, exponential service times of a given mean."""

    def __init__(  # noqa: PLR0913
        self,
        folder: Path,
        phone: Phone,
        *,
        workers: int,
        service_ms: float,
        port: int = 0,
        reports: bool = False,
        constant: bool = False,
    ) -> None:
        """
        Prepare; `phone` is where its calls go.

        With `reports` it tells its load and asks for less in overload, with `constant` each call takes as long.
        """
        self.workers = workers
        self.service_ms = service_ms
        port = port or free_port()
        name = f"queue{port}"
        variables = {
            "QUEUE_LISTEN": f"udp:127.0.0.1:{port}",
            "QUEUE_WORKERS": str(workers),
            "QUEUE_SERVICE_US": str(round(service_ms * 1000)),
            "QUEUE_SCRIPT": str(HOME / "lab" / "queue_proxy.py"),
            "QUEUE_PHONE": phone.uri,
            "QUEUE_CTL": f"unix:{folder}/{name}.ctl",
            **({"QUEUE_REPORTS": "1"} if reports else {}),
            **({"QUEUE_CONSTANT": "1"} if constant else {}),
        }
        super().__init__(name, HOME / "lab" / "queue.cfg", folder, port, variables, folder / f"{name}.ctl")

    @property
    def capacity_cps(self) -> float:
        """Calls per second it can serve."""
        return self.workers * 1000 / self.service_ms

    def served(self) -> int:
        """Return how many calls have reached a worker."""
        return int(self.table("count").get("calls", "0"))

    def slow_to(self, service_ms: float) -> None:
        """Change the mean service time from now on."""
        self.rpc("pv.shvSet", "service_us", "int", str(round(service_ms * 1000)))

    def answer_with(self, status: int) -> None:
        """Answer INVITEs with this status, at once unless it is 200."""
        self.rpc("pv.shvSet", "status", "int", str(status))


class Many(Kamailio):
    """Many downstream proxies in one program: each answers at once and counts its INVITEs."""

    def __init__(self, folder: Path, count: int) -> None:
        """Prepare `count` proxies on neighbouring ports."""
        self.ports = free_ports(count)
        name = f"many{self.ports[0]}"
        ctl = folder / f"{name}.ctl"
        listen = " ".join(f"udp:127.0.0.1:{port}" for port in self.ports)
        env = {"MANY_LISTEN": listen, "MANY_CTL": f"unix:{ctl}"}
        super().__init__(name, HOME / "lab" / "many.cfg", folder, self.ports[0], env, ctl)

    @property
    def uris(self) -> list[str]:
        """Their addresses as destinations."""
        return [f"sip:127.0.0.1:{port}" for port in self.ports]

    def counts(self) -> dict[str, int]:
        """Return how many INVITEs each has had, by URI."""
        seen = self.table("count")
        return {f"sip:127.0.0.1:{port}": int(seen.get(str(port), "0")) for port in self.ports}

    def last_s(self, uri: str) -> float:
        """Return when the last INVITE came to a proxy, in Unix seconds; 0 when none came."""
        return float(self.table("last").get(uri.rpartition(":")[2], "0"))

    def answer_with(self, status: int) -> None:
        """Answer INVITEs with this status from now on."""
        self.rpc("pv.shvSet", "status", "int", str(status))


class SippProxy(Process):
    """SIPp as a downstream proxy."""

    def __init__(self, scenario: str, folder: Path, *options: str, port: int = 0) -> None:
        """Prepare a `uas_` scenario of sipp-scenarios, or a built-in one by its name with a leading '-'."""
        self.port = port or free_port()
        self._stat = folder / f"uas{self.port}.csv"
        argv = [
            SIPP,
            *_source(scenario),
            "-i",
            "127.0.0.1",
            "-ci",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-nostdin",
            "-trace_stat",
            "-fd",
            "1",
        ]
        argv += ["-default_behaviors", "all,-abortunexp"]  # a proxy outlives what it does not expect
        super().__init__(f"uas{self.port}", [*argv, "-stf", str(self._stat), *options], folder)

    def run(self) -> Self:
        """Start and wait until its port is bound."""
        return self.start(lambda: _is_bound(self.port))

    @property
    def uri(self) -> str:
        """Its address as a destination."""
        return f"sip:127.0.0.1:{self.port}"


def _source(scenario: str) -> list[str]:
    """Return SIPp's options for a scenario of sipp-scenarios, or for a built-in one with a leading '-'."""
    return ["-sn", scenario[1:]] if scenario.startswith("-") else ["-sf", str(SCENARIOS / f"{scenario}.xml")]


def _is_bound(port: int) -> bool:
    wanted = f"0100007F:{port:04X}"
    tables = [Path("/proc/net/udp"), Path("/proc/net/tcp")]
    return any(line.split()[1] == wanted for table in tables for line in table.read_text().splitlines()[1:])


@dataclass(frozen=True)
class CallReport:
    """What a SIPp caller counted."""

    status: int  # its exit status: 0 when every call went as the scenario says
    calls: int
    successful: int
    failed: int
    response_times_s: list[float]  # of timer 2, INVITE to 200, sorted
    log: str
    refusal_times_s: list[float] = field(default_factory=list)  # of timer 3, INVITE to 503 or 500, sorted

    def percentile(self, part: float) -> float:
        """Return the response time below which `part` (0..1) of the calls lie, in seconds."""
        return percentile(self.response_times_s, part)

    @property
    def mean_s(self) -> float:
        """The mean response time in seconds."""
        return sum(self.response_times_s) / len(self.response_times_s) if self.response_times_s else float("nan")


class SippCaller(Process):
    """SIPp as a caller: a fixed number of calls at a fixed rate, then it ends by itself."""

    def __init__(  # noqa: PLR0913
        self, scenario: str, folder: Path, target: str, *options: str, calls: int, rate: float, timeout_s: int = 0
    ) -> None:
        """Prepare a `uac_` scenario of sipp-scenarios, or a built-in one by its name with a leading '-'."""
        name = f"caller{free_port()}"
        self._stat = folder / f"{name}.stat.csv"
        self._rtt = folder / f"{name}.rtt.csv"
        limit_s = timeout_s or int(calls / rate) + 40
        argv = [
            SIPP,
            target,
            *_source(scenario),
            "-i",
            "127.0.0.1",
            "-ci",
            "127.0.0.1",
            "-p",
            name[6:],
            "-m",
            str(calls),
            "-r",
            f"{rate:g}",
        ]
        argv += ["-nostdin", "-trace_stat", "-fd", "1", "-stf", str(self._stat), "-timeout", str(limit_s)]
        argv += ["-trace_rtt", "-rtt_freq", "1", "-trace_err", "-error_file", str(folder / f"{name}.err")]
        self._errors = folder / f"{name}.err"
        self._folder_path = folder
        self._scenario_name = scenario.lstrip("-")
        super().__init__(name, [*argv, *options], folder)

    def finish(self) -> CallReport:
        """Wait for the last call and return the counts."""
        status = self.wait()
        rows = self.statistics()
        last: Mapping[str, Any] = rows[-1] if rows else {}
        successful, failed = int(last.get("SuccessfulCall(C)") or 0), int(last.get("FailedCall(C)") or 0)
        errors = self._errors.read_text(errors="replace")[:4000] if self._errors.exists() else ""
        times, refusals = self._times("2"), self._times("3")
        return CallReport(status, successful + failed, successful, failed, times, errors, refusals)

    def statistics(self) -> list[dict[str, str]]:
        """Return the rows of SIPp's statistics so far; it writes one a second."""
        text = self._stat.read_text() if self._stat.exists() else ""
        return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines(), delimiter=";"))

    def samples(self, timer: str) -> list[tuple[float, float]]:
        """Return when each call began, in seconds since SIPp's start, and how long the timer ran, in seconds."""
        found: list[tuple[float, float]] = []
        for path in self._folder_path.glob(f"{self._scenario_name}_{self.pid}_rtt*.csv"):
            rows = csv.reader(path.open(), delimiter=";")
            ended = [(float(row[0]), float(row[1])) for row in rows if len(row) >= 3 and row[2].strip() == timer]
            found += [((end_ms - time_ms) / 1000, time_ms / 1000) for end_ms, time_ms in ended]
        return found

    def sent_s(self) -> list[float]:
        """Return when each call began, in seconds since SIPp's start; for scenarios with a timer `sent`."""
        return sorted(start_s + time_s for start_s, time_s in self.samples("sent"))

    def _times(self, timer: str) -> list[float]:
        return sorted(time_s for _, time_s in self.samples(timer))


def put_list(
    client: Any,  # noqa: ANN401
    weights: Mapping[str, float],
    set_id: str = "1",
) -> None:
    """Declare destinations as an operator would."""
    client.hset(f"steelyard:{{{set_id}}}:weight", mapping={uri: str(weight) for uri, weight in weights.items()})


def effective(client: Any, set_id: str = "1") -> dict[str, float]:  # noqa: ANN401
    """Return the effective shares in percent."""
    return dict(client.zrange(f"steelyard:{{{set_id}}}:effective", 0, -1, withscores=True))


def why(client: Any, uri: str, set_id: str = "1") -> dict[str, str]:  # noqa: ANN401
    """Return the reasons for one destination's share."""
    return client.hgetall(f"steelyard:{{{set_id}}}:why:{uri}")


def await_shares(client: Any, uris: set[str], timeout_s: float = 10.0) -> None:  # noqa: ANN401
    """Wait until exactly these destinations have a share above 0."""
    await_condition(lambda: {uri for uri, share in effective(client).items() if share > 0} == uris, "shares", timeout_s)
