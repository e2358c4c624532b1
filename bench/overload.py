"""
What callers get when twice as many come as can be served.

Three queues of 50, 100 and 200 calls/s are offered 700 calls/s for BENCH_SECONDS (default 30), ten of them a second
emergency calls. Steelyard with overload control on and off, and Kamailio's dispatcher, one after the other.
"""

import contextlib
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.figures import percentile
from lab.parts import CallReport, Phone, Queue, SippCaller

from . import options, plots, results, table
from .compare import SERVICE_MS, WORKERS
from .contenders import Balancer, Destination, Scene, Start, dispatcher, steelyard
from .table import Column, Row

OVERLOAD: Final = 2.0
EMERGENCY_CPS: Final = 10.0
CAPACITY_CPS: Final = sum(WORKERS * 1000 / service_ms for service_ms in SERVICE_MS)
ANSWERED_WITHIN_S: Final = 4.0  # a caller that waited longer has hung up
COLUMNS: Final = (
    Column("balancer", "balancer", "", 28),
    Column("goodput", "goodput", ".2f", 8),
    Column("answered", "answered", "d", 8),
    Column("p50 ms", "answered_p50_ms", ".0f", 8),
    Column("p99 ms", "answered_p99_ms", ".0f", 8),
    Column("refused", "refused", "d", 8),
    Column("p50 ms", "refused_p50_ms", ".0f", 8),
    Column("p99 ms", "refused_p99_ms", ".0f", 8),
    Column("failed", "failed", "d", 8),
    Column("sos ok", "sos_answered", "d", 8),
    Column("sos no", "sos_not", "d", 8),
)


@dataclass(frozen=True)
class Crowded:
    """A balancer under too much load, and whether its proxies say how much they have."""

    name: str
    start: Start
    reports: bool = False


CONTENDERS: Final = (
    Crowded("Steelyard (overload control)", steelyard(), reports=True),
    Crowded("Steelyard (without)", steelyard(overload_control="off")),
    Crowded("dispatcher 9 (true weights)", dispatcher(9, "weight={percent}", truth=True)),
    Crowded("dispatcher 4 (round robin)", dispatcher(4)),
)


def main() -> int:
    """Try every contender and print a row for each."""
    offered = OVERLOAD * CAPACITY_CPS
    print(f"capacity {CAPACITY_CPS:.0f} calls/s, offered {offered:.0f}, {EMERGENCY_CPS:.0f} of them emergencies")
    print(table.heading(COLUMNS))
    rows = []
    for contender in options.chosen(CONTENDERS):
        with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
            ordinary, emergency = _run(contender, Path(text), stack, options.seconds())
            rows.append(_row(contender.name, ordinary, emergency, options.seconds()))
            print(table.line(COLUMNS, rows[-1]), flush=True)
    path = results.write("overload", rows)
    plots.bars("overload", rows, {"goodput": "goodput"}, "answered within 4 s, over the capacity", path.parent)
    return 0


def _run(contender: Crowded, folder: Path, stack: contextlib.ExitStack, seconds: int) -> tuple[CallReport, CallReport]:
    phone = stack.enter_context(Phone(folder)).run()
    queues = [
        stack.enter_context(Queue(folder, phone, workers=WORKERS, service_ms=mean, reports=contender.reports)).run()
        for mean in SERVICE_MS
    ]
    scene = Scene(folder, [Destination(queue.uri, queue.capacity_cps) for queue in queues])
    balancer = contender.start(scene, stack)
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


def _caller(folder: Path, balancer: Balancer, called: str, rate: float, seconds: int) -> SippCaller:
    options = ("-l", "20000", "-set", "spread_ms", "2000", "-key", "called", called, "-recv_timeout", "40000")
    target = f"127.0.0.1:{balancer.port}"
    return SippCaller("uac_overload", folder, target, *options, calls=int(rate * seconds), rate=rate)


def _row(name: str, ordinary: CallReport, emergency: CallReport, seconds: int) -> Row:
    answered = sorted(ordinary.response_times_s + emergency.response_times_s)
    refused = ordinary.refusal_times_s
    return {
        "balancer": name,
        "goodput": sum(time_s <= ANSWERED_WITHIN_S for time_s in answered) / seconds / CAPACITY_CPS,
        "answered": len(answered),
        "answered_p50_ms": _ms(answered, 0.5),
        "answered_p99_ms": _ms(answered, 0.99),
        "refused": len(refused),
        "refused_p50_ms": _ms(refused, 0.5),
        "refused_p99_ms": _ms(refused, 0.99),
        "failed": ordinary.failed + emergency.failed,
        "sos_answered": len(emergency.response_times_s),
        "sos_not": len(emergency.refusal_times_s) + emergency.failed,
    }


def _ms(times_s: list[float], part: float) -> float | None:
    return 1000 * percentile(times_s, part) if times_s else None


if __name__ == "__main__":
    sys.exit(main())
