"""
`make bench`: unequal queues, Poisson calls, one balancer after the other; prints one table.

Three queues of 50, 100 and 200 calls/s are offered 280 calls/s for BENCH_SECONDS (default 30) by each balancer:
Steelyard with equal declared weights, and Kamailio's dispatcher with algorithm 9 told the true weights, 10 and 11.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.parts import (
    HOME,
    CallReport,
    ControlNode,
    Kamailio,
    Phone,
    Queue,
    RedisServer,
    SippCaller,
    await_shares,
    put_list,
)
from lab.process import free_port

from .reference import central_queue

WORKERS: Final = 4
SERVICE_MS: Final = (80.0, 40.0, 20.0)  # the slowest first: nobody wins by listing the fast one first
RATE_CPS: Final = 280.0
WARM_UP_S: Final = 10


@dataclass(frozen=True)
class Native:
    """A way to run Kamailio's dispatcher: algorithm and each destination's attributes."""

    name: str
    algorithm: int
    attributes: tuple[str, ...]


NATIVE: Final = (
    Native("dispatcher 9, true weights", 9, ("weight=14", "weight=29", "weight=57")),
    Native("dispatcher 10 (calls in progress)", 10, ("duid=a", "duid=b", "duid=c")),
    Native("dispatcher 11, true weights", 11, ("rweight=14", "rweight=29", "rweight=57")),
    Native("dispatcher 11, equal weights", 11, ("rweight=50", "rweight=50", "rweight=50")),
    Native("dispatcher 4 (round robin)", 4, ("", "", "")),
)


def main() -> int:
    """Run every balancer and print the table."""
    seconds = int(os.environ.get("BENCH_SECONDS") or "30")
    with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        phone = stack.enter_context(Phone(folder)).run()
        reference = central_queue(RATE_CPS, [(WORKERS, mean / 1000) for mean in SERVICE_MS])
        mean_s, p99_s = sum(reference) / len(reference), reference[int(0.99 * len(reference))]
        print(f"central queue (simulated): mean {mean_s * 1000:.1f} ms, p99 {p99_s * 1000:.0f} ms")
        print(f"{'balancer':36} {'calls':>6} {'failed':>6} {'mean':>6} {'p50':>5} {'p95':>5} {'p99':>5} "
              f"{'mean/c':>6} {'p99/c':>6} {'cpu us':>6}  shares %")  # fmt: skip
        for name, balancer in _balancers(folder, phone):
            report, cpu_us, shares = balancer(seconds)
            print(_row(name, report, cpu_us, shares, mean_s, p99_s), flush=True)
    return 0


def _balancers(folder: Path, phone: Phone) -> Iterator[tuple[str, "_Run"]]:
    yield "Steelyard, equal weights", _Run(folder / "steelyard", phone, None)
    for native in NATIVE:
        yield native.name, _Run(folder / f"native-{native.algorithm}-{native.attributes[0]}", phone, native)


class _Run:
    """One balancer on fresh queues."""

    def __init__(self, folder: Path, phone: Phone, native: Native | None) -> None:
        self._folder = folder
        self._phone = phone
        self._native = native

    def __call__(self, seconds: int) -> tuple[CallReport, float, list[float]]:
        """Make the calls; return the callers' report, CPU microseconds per call, and each queue's share."""
        self._folder.mkdir()
        with contextlib.ExitStack() as stack:
            queues = [
                stack.enter_context(Queue(self._folder, self._phone, workers=WORKERS, service_ms=mean)).run()
                for mean in SERVICE_MS
            ]
            balancer = self._start(queues, stack)
            self._call(balancer, WARM_UP_S)
            before = [queue.served() for queue in queues]
            cpu_s = balancer.cpu_s()
            report = self._call(balancer, seconds)
            cpu_us = (balancer.cpu_s() - cpu_s) / max(report.calls, 1) * 1e6
            served = [queue.served() - old for queue, old in zip(queues, before, strict=True)]
            return report, cpu_us, [100 * n / max(sum(served), 1) for n in served]

    def _start(self, queues: list[Queue], stack: contextlib.ExitStack) -> Kamailio:
        if self._native is None:
            redis = stack.enter_context(RedisServer(self._folder)).run()
            put_list(redis.client(), {queue.uri: 1 for queue in queues})
            node = stack.enter_context(ControlNode(self._folder / "run", redis.url)).run()
            await_shares(redis.client(), {queue.uri for queue in queues})
            return node
        listing = self._folder / "dispatcher.list"
        rows = zip(queues, self._native.attributes, strict=True)
        listing.write_text("".join(f"1 {queue.uri} 0 0 {attributes}\n" for queue, attributes in rows))
        return stack.enter_context(native_dispatcher(self._folder, listing, self._native.algorithm)).run()

    def _call(self, balancer: Kamailio, seconds: int) -> CallReport:
        options = ("-l", "10000", "-set", "spread_ms", "2000")
        calls = int(RATE_CPS * seconds)
        target = f"127.0.0.1:{balancer.port}"
        caller = SippCaller("uac_poisson", self._folder, target, *options, calls=calls, rate=RATE_CPS)
        with caller.start():
            return caller.finish()


def native_dispatcher(folder: Path, listing: Path, algorithm: int, workers: int = 4) -> Kamailio:
    """Return Kamailio's own dispatcher over a list file, not yet started."""
    port = free_port()
    ctl = folder / "native.ctl"
    env = {
        "NATIVE_LISTEN": f"udp:127.0.0.1:{port}",
        "NATIVE_WORKERS": str(workers),
        "NATIVE_CTL": f"unix:{ctl}",
        "NATIVE_LIST": str(listing),
        "NATIVE_ALGORITHM": str(algorithm),
    }
    return Kamailio("native", HOME / "bench" / "native.cfg", folder, port, env, ctl)


def _row(  # noqa: PLR0913 - a row has many columns
    name: str, report: CallReport, cpu_us: float, shares: list[float], mean_s: float, p99_s: float
) -> str:
    p50, p95, p99 = (report.percentile(part) * 1000 for part in (0.5, 0.95, 0.99))
    ratio, tail = report.mean_s / mean_s, report.percentile(0.99) / p99_s
    return (
        f"{name:36} {report.calls:6} {report.failed:6} {report.mean_s * 1000:6.1f} {p50:5.0f} {p95:5.0f} {p99:5.0f} "
        f"{ratio:6.2f} {tail:6.2f} {cpu_us:6.0f}  {' '.join(f'{share:.1f}' for share in shares)}"
    )


if __name__ == "__main__":
    sys.exit(main())
