"""
`make demo`: three unequal proxies, equal declared weights, and a caller; watch the weights find the capacities.

    learn -> the fastest proxy slows down -> it heals, another one dies -> it comes back -> summary

DEMO_SECONDS (default 60) is how long the calls go on. Everything runs on loopback, in a temporary folder, and is
stopped at the end or at Ctrl-C.
"""

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.live import Live
from rich.table import Table

from .parts import (
    CallReport,
    ControlNode,
    Phone,
    Queue,
    RedisServer,
    SippCaller,
    await_shares,
    effective,
    put_list,
    why,
)
from .process import NotReady

WORKERS: Final = 4
SERVICE_MS: Final = {"slow": 80.0, "middle": 40.0, "fast": 20.0}
RATE_CPS: Final = 120.0
SLOWED_MS: Final = 150.0
MIN_SECONDS, MAX_SECONDS = 20, 600
PLAIN_INTERVAL_S: Final = 2.0

# When each phase begins, as a part of the whole, and what is said of it.
PHASES: Final = (
    (0.0, "learning: three proxies, equal declared weights, capacities 50, 100 and 200 calls/s"),
    (0.35, "the fast proxy has become slow: 150 ms a call instead of 20"),
    (0.55, "the fast proxy has healed; the middle one was killed"),
    (0.75, "the middle proxy is back and starts slowly"),
)


@dataclass
class Stage:
    """The programs on stage."""

    redis: RedisServer
    control: ControlNode
    queues: dict[str, Queue]
    caller: SippCaller
    learned: dict[str, float] = field(default_factory=dict)


def main() -> int:
    """Run the demo and return an exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell has set them to be ignored
        signal.signal(number, signal.default_int_handler)
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)  # a plain output has no width of its own
    try:
        seconds = _seconds()
        with tempfile.TemporaryDirectory(prefix="steelyard-demo-") as folder, contextlib.ExitStack() as stack:
            stage = _set_up(Path(folder), seconds, stack)
            console.print(f"SIP on 127.0.0.1:{stage.control.port}; look beside:")
            console.print(
                f"  redis-cli -s {stage.redis.socket_path} zrange 'steelyard:{{1}}:effective' 0 -1 withscores"
            )
            report = _play(stage, seconds, console)
            return _summarise(stage, report, console)
    except (NotReady, ValueError) as error:
        console.print(f"steelyard: {error}", style="red")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything is stopped")
        return 130


def _seconds() -> int:
    text = os.environ.get("DEMO_SECONDS") or "60"
    if not text.isdecimal() or not MIN_SECONDS <= int(text) <= MAX_SECONDS:
        raise ValueError(f"DEMO_SECONDS={text}: expected a whole number from {MIN_SECONDS} to {MAX_SECONDS}")
    return int(text)


def _set_up(folder: Path, seconds: int, stack: contextlib.ExitStack) -> Stage:
    redis = stack.enter_context(RedisServer(folder)).run()
    phone = stack.enter_context(Phone(folder)).run()
    queues = {
        name: stack.enter_context(Queue(folder, phone, workers=WORKERS, service_ms=mean)).run()
        for name, mean in SERVICE_MS.items()
    }
    put_list(redis.client(), {queue.uri: 1 for queue in queues.values()})
    redis.client().hset("steelyard:{1}:settings", "slow_start_s", str(seconds // 6))
    control = stack.enter_context(ControlNode(folder, redis.url)).run()
    await_shares(redis.client(), {queue.uri for queue in queues.values()})
    caller = SippCaller(
        *("uac_poisson", folder, f"127.0.0.1:{control.port}", "-l", "5000", "-set", "spread_ms", "1000"),
        calls=int(RATE_CPS * seconds),
        rate=RATE_CPS,
    )
    return Stage(redis, control, queues, stack.enter_context(caller))


def _play(stage: Stage, seconds: int, console: Console) -> CallReport:
    """Show the table while the calls go on and the proxies change."""
    stage.caller.start()
    begun_s = time.monotonic()
    phase = -1
    with _screen(console) as show:
        while stage.caller.is_running():
            elapsed_s = time.monotonic() - begun_s
            current = sum(elapsed_s >= part * seconds for part, _ in PHASES) - 1
            if current != phase:
                phase = current
                _change(stage, phase)
            show(_table(stage, elapsed_s, PHASES[phase][1]))
            time.sleep(0.25)
    return stage.caller.finish()


def _change(stage: Stage, phase: int) -> None:
    fast, middle = stage.queues["fast"], stage.queues["middle"]
    if phase == 1:
        stage.learned = {name: effective(stage.redis.client()).get(q.uri, 0.0) for name, q in stage.queues.items()}
        fast.slow_to(SLOWED_MS)
    elif phase == 2:
        fast.slow_to(SERVICE_MS["fast"])
        middle.kill()
    elif phase == 3:
        middle.run()


@contextlib.contextmanager
def _screen(console: Console) -> Iterator[Any]:
    """Yield what shows a table: in place on a terminal, now and then on a plain output."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            yield live.update
        return
    shown_s = float("-inf")

    def show(table: Table) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= PLAIN_INTERVAL_S:
            shown_s = time.monotonic()
            console.print(table)

    yield show


def _table(stage: Stage, elapsed_s: float, title: str) -> Table:
    client = stage.redis.client()
    shares = effective(client)
    table = Table(title=f"{elapsed_s:3.0f} s  {title}", title_justify="left", width=118)
    for name in ("proxy", "capacity/s", "state", "share %", "response ms", "in flight", "why"):
        table.add_column(name, justify="left" if name in ("proxy", "state", "why") else "right")
    for name, queue in stage.queues.items():
        row = why(client, queue.uri)
        table.add_row(
            f"{name} :{queue.port}",
            f"{queue.capacity_cps:.0f}",
            row.get("health", ""),
            f"{shares.get(queue.uri, 0.0):.1f}",
            row.get("response_time_ms", ""),
            row.get("in_flight", ""),
            row.get("reason", ""),
        )
    return table


def _summarise(stage: Stage, report: CallReport, console: Console) -> int:
    client = stage.redis.client()
    console.rule("summary")
    total = sum(WORKERS * 1000 / mean for mean in SERVICE_MS.values())
    for name, mean in SERVICE_MS.items():
        fair = 100 * WORKERS * 1000 / mean / total
        console.print(f"{name:>7}: fair share {fair:4.1f} %, learned {stage.learned.get(name, 0.0):4.1f} %")
    for _, event in client.xrange("steelyard:{1}:events"):
        if event["kind"] in ("up", "down", "panic"):
            console.print(f"  event: {event['kind']} {event['destination']} {event['reason']}")
    console.print(
        f"calls: {report.successful} answered, {report.failed} failed; "
        f"to the 200 OK: mean {report.mean_s * 1000:.0f} ms, p99 {report.percentile(0.99) * 1000:.0f} ms"
    )
    if report.failed:
        console.print(f"the caller's own words:\n{report.log[:1500]}", markup=False)
    return 0 if report.calls and report.failed * 100 < report.calls else 1


if __name__ == "__main__":
    if shutil.which("sipp") is None:
        sys.exit("sipp is not installed: run `make packages`")
    sys.exit(main())
