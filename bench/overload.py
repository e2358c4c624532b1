"""
What callers get when twice as many come as can be served.

Three queues of 50, 100 and 200 calls/s are offered 700 calls/s for BENCH_SECONDS (default 30), ten of them a second
emergency calls. Steelyard with overload control on and off, and Kamailio's dispatcher, one after the other.
"""

import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.parts import CallReport, ControlNode, Kamailio, Phone, Queue, RedisServer, SippCaller, await_shares, put_list

from .compare import SERVICE_MS, WORKERS
from .contenders import native_dispatcher

OVERLOAD: Final = 2.0
EMERGENCY_CPS: Final = 10.0
CAPACITY_CPS: Final = sum(WORKERS * 1000 / service_ms for service_ms in SERVICE_MS)
WEIGHTS: Final = ("weight=14", "weight=29", "weight=57")  # the true ones, for dispatcher
ANSWERED_WITHIN_S: Final = 4.0  # a caller that waited longer has hung up
COLUMNS: Final = (
    "goodput",
    "answered",
    "p50 ms",
    "p99 ms",
    "refused",
    "p50 ms",
    "p99 ms",
    "failed",
    "sos ok",
    "sos no",
)


@dataclass(frozen=True)
class Contender:
    """A balancer under too much load."""

    name: str
    overload_control: bool = False
    algorithm: int | None = None  # of Kamailio's dispatcher; None for Steelyard


CONTENDERS: Final = (
    Contender("Steelyard, overload control", overload_control=True),
    Contender("Steelyard, without"),
    Contender("dispatcher 9, true weights", algorithm=9),
    Contender("dispatcher 4 (round robin)", algorithm=4),
)


def main() -> int:
    """Try every contender and print a row for each."""
    seconds = int(os.environ.get("BENCH_SECONDS") or "30")
    offered = OVERLOAD * CAPACITY_CPS
    print(f"capacity {CAPACITY_CPS:.0f} calls/s, offered {offered:.0f}, {EMERGENCY_CPS:.0f} of them emergencies")
    print(f"{'':28}", *(f"{name:>8}" for name in COLUMNS))
    for contender in CONTENDERS:
        with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
            ordinary, emergency = _run(contender, Path(text), stack, seconds)
            print(_row(contender.name, ordinary, emergency, seconds), flush=True)
    return 0


def _run(
    contender: Contender, folder: Path, stack: contextlib.ExitStack, seconds: int
) -> tuple[CallReport, CallReport]:
    phone = stack.enter_context(Phone(folder)).run()
    queues = [
        stack.enter_context(
            Queue(folder, phone, workers=WORKERS, service_ms=mean, reports=contender.overload_control)
        ).run()
        for mean in SERVICE_MS
    ]
    balancer = _start(contender, folder, queues, stack)
    rate = CAPACITY_CPS * OVERLOAD - EMERGENCY_CPS
    _caller(folder, balancer, "sip:service@localhost", CAPACITY_CPS / 2, 10).start().finish()
    callers = [
        _caller(folder, balancer, "sip:service@localhost", rate, seconds),
        _caller(folder, balancer, "urn:service:sos", EMERGENCY_CPS, seconds),
    ]
    for caller in callers:
        stack.enter_context(caller.start())
    ordinary, emergency = (caller.finish() for caller in callers)
    return ordinary, emergency


def _start(contender: Contender, folder: Path, queues: list[Queue], stack: contextlib.ExitStack) -> Kamailio:
    if contender.algorithm is not None:
        listing = folder / "dispatcher.list"
        rows = zip(queues, WEIGHTS, strict=True)
        listing.write_text("".join(f"1 {queue.uri} 0 0 {weight}\n" for queue, weight in rows))
        return stack.enter_context(native_dispatcher(folder, listing, contender.algorithm)).run()
    redis = stack.enter_context(RedisServer(folder)).run()
    client: Any = redis.client()
    put_list(client, {queue.uri: 1 for queue in queues})
    if not contender.overload_control:
        client.hset("steelyard:{1}:settings", "overload_control", "off")
    node = stack.enter_context(ControlNode(folder / "run", redis.url)).run()
    await_shares(client, {queue.uri for queue in queues})
    return node


def _caller(folder: Path, balancer: Kamailio, called: str, rate: float, seconds: int) -> SippCaller:
    options = ("-l", "20000", "-set", "spread_ms", "2000", "-key", "called", called, "-recv_timeout", "40000")
    target = f"127.0.0.1:{balancer.port}"
    return SippCaller("uac_overload", folder, target, *options, calls=int(rate * seconds), rate=rate)


def _row(name: str, ordinary: CallReport, emergency: CallReport, seconds: int) -> str:
    answered = ordinary.response_times_s + emergency.response_times_s
    answered.sort()
    in_time = sum(1 for time_s in answered if time_s <= ANSWERED_WITHIN_S)
    refused = ordinary.refusal_times_s
    cells = (
        f"{in_time / seconds / CAPACITY_CPS:.2f}",
        str(len(answered)),
        _ms(answered, 0.5),
        _ms(answered, 0.99),
        str(len(refused)),
        _ms(refused, 0.5),
        _ms(refused, 0.99),
        str(ordinary.failed + emergency.failed),
        str(len(emergency.response_times_s)),
        str(len(emergency.refusal_times_s) + emergency.failed),
    )
    return f"{name:28} " + " ".join(f"{cell:>8}" for cell in cells)


def _ms(times_s: list[float], part: float) -> str:
    return f"{times_s[min(int(part * len(times_s)), len(times_s) - 1)] * 1000:.0f}" if times_s else "-"


if __name__ == "__main__":
    sys.exit(main())
