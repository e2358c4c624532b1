"""Real Redis, Kamailio and SIPp for each test, in a folder of its own, ended by their pids."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.parts import (
    HOME,
    ControlNode,
    Kamailio,
    Many,
    Phone,
    Queue,
    RedisServer,
    SippCaller,
    SippProxy,
    await_shares,
    put_list,
)
from lab.process import Process, free_port
from tests.integration.sip_peer import Peer, ok

PROGRAMS = ("kamailio", "redis-server", "sipp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, where a program is missing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        skip = pytest.mark.skip(reason=f"{', '.join(missing)} not installed: run `make packages`")
        for item in items:
            if "integration" in item.path.parts:
                item.add_marker(skip)


class Bench:
    """What a test starts; all of it is stopped at the test's end, the last first."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.redis = stack.enter_context(RedisServer(folder / "redis"))
        self.client = self.redis.client()
        self.node: ControlNode | None = None

    def add(self, process: Process):
        """Start a part and have it stopped at the end."""
        return self._stack.enter_context(process).run()

    def many(self, count: int) -> Many:
        return self.add(Many(self.folder, count))

    def queues(self, *service_ms: float, workers: int = 4) -> list[Queue]:
        """Start one queue for each mean service time."""
        phone = self.add(Phone(self.folder))
        return [self.add(Queue(self.folder, phone, workers=workers, service_ms=mean)) for mean in service_ms]

    def proxy(self, scenario: str, *options: str) -> SippProxy:
        return self.add(SippProxy(scenario, self.folder, *options))

    def control(self, uris=(), *, settings=None, start_redis: bool = True, **options) -> ControlNode:
        """Declare destinations, start the control node and wait until it has a share for each."""
        if start_redis:
            self.redis.run()
        weights = uris if isinstance(uris, dict) else dict.fromkeys(uris, 1)
        if weights:
            put_list(self.client, weights)
        if settings:
            self.settings(**settings)
        self.node = self.add(ControlNode(self.folder / "run", self.redis.url, **options))
        if weights:
            await_shares(self.client, {uri for uri, weight in weights.items() if float(weight) > 0})
        return self.node

    def settings(self, **values: object) -> None:
        self.client.hset("steelyard:{1}:settings", mapping={name: str(value) for name, value in values.items()})

    def caller(self, scenario: str, *options: str, calls: int, rate: float = 100, port: int = 0) -> SippCaller:
        """Start a caller towards the control node."""
        target = f"127.0.0.1:{port or self.node.port}"
        return self._stack.enter_context(
            SippCaller(scenario, self.folder, target, *options, calls=calls, rate=rate)
        ).start()

    def call(self, scenario: str, *options: str, calls: int, rate: float = 100, port: int = 0):
        """Make calls through the control node and return the report."""
        return self.caller(scenario, *options, calls=calls, rate=rate, port=port).finish()

    def events(self) -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrange("steelyard:{1}:events")]

    def event_kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A test's programs."""
    with contextlib.ExitStack() as stack:
        yield Bench(tmp_path, stack)


@pytest.fixture
def peers() -> Iterator[Callable[..., Any]]:
    """Start SIP peers, which end with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda answers=ok, kind=Peer: stack.enter_context(kind(answers)).run()


@pytest.fixture
def downstream(bench):
    """Return the proxy of examples/downstream.cfg."""
    port, ctl = free_port(), bench.folder / "down.ctl"
    env = {
        "DOWNSTREAM_LISTEN": f"udp:127.0.0.1:{port} tcp:127.0.0.1:{port}",
        "DOWNSTREAM_WORKERS": "2",
        "DOWNSTREAM_CTL": f"unix:{ctl}",
        "STEELYARD_KEMI": str(HOME / "kemi"),
    }
    proxy = bench.add(Kamailio("down", HOME / "examples" / "downstream.cfg", bench.folder, port, env, ctl))
    yield proxy
    assert "exception" not in proxy.log


@pytest.fixture
def native(bench):
    """Return an operator's own Kamailio with the lines that make it tell its load."""
    port, ctl = free_port(), bench.folder / "native.ctl"
    env = {"NATIVE_LISTEN": f"udp:127.0.0.1:{port}", "NATIVE_CTL": f"unix:{ctl}", "STEELYARD_KEMI": str(HOME / "kemi")}
    config = HOME / "tests" / "integration" / "native_downstream.cfg"
    proxy = bench.add(Kamailio("native", config, bench.folder, port, env, ctl))
    yield proxy
    assert "exception" not in proxy.log
