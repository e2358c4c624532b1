"""
What callers notice when one of four proxies breaks, and how soon it is used again once it has healed.

Four queues of 100 calls/s are offered half their capacity. One of them stops (SIGSTOP), is killed, answers 503 at once,
or becomes five times slower; it stays so for BROKEN_S and heals. Prints one row for each.
"""

import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lab.parts import ControlNode, Phone, Queue, RedisServer, SippCaller, await_shares, effective, put_list

WORKERS: Final = 4
SERVICE_MS: Final = 40.0
RATE_CPS: Final = 200.0
WARM_UP_S: Final = 10.0
BROKEN_S: Final = 15.0
HEALED_S: Final = 40.0
FAIR_PERCENT: Final = 25.0
TOLERANCE_POINTS: Final = 3.0
DELAYED_S: Final = 0.5
COLUMNS: Final = (
    ("calls", 6),
    ("failed", 6),
    ("> 500 ms", 8),
    ("p99 ms", 6),
    ("right after s", 13),
    ("80 % back s", 11),
)


@dataclass(frozen=True)
class Fault:
    """A way to break a queue and to mend it, and the share it ought to have meanwhile."""

    name: str
    break_it: Callable[[Queue], object]
    mend_it: Callable[[Queue], object]
    fair_percent: float


FAULTS: Final = (
    Fault("stops (SIGSTOP)", lambda q: q.signal(signal.SIGSTOP), lambda q: q.signal(signal.SIGCONT), 0.0),
    Fault("is killed", lambda q: q.kill(), lambda q: q.run(), 0.0),
    Fault("answers 503 at once", lambda q: q.answer_with(503), lambda q: q.answer_with(200), 0.0),
    Fault("is five times slower", lambda q: q.slow_to(5 * SERVICE_MS), lambda q: q.slow_to(SERVICE_MS), 100 / 16),
)


def main() -> int:
    """Try every fault and print a row for each."""
    print(f"four queues, half load ({RATE_CPS:.0f} calls/s); one of them for {BROKEN_S:.0f} s:")
    print(f"{'it ...':22}", *(f"{name:>{width}}" for name, width in COLUMNS))
    for fault in FAULTS:
        with tempfile.TemporaryDirectory(prefix="steelyard-bench-") as folder, contextlib.ExitStack() as stack:
            print(_try(fault, Path(folder), stack), flush=True)
    return 0


def _try(fault: Fault, folder: Path, stack: contextlib.ExitStack) -> str:
    phone = stack.enter_context(Phone(folder)).run()
    queues = [stack.enter_context(Queue(folder, phone, workers=WORKERS, service_ms=SERVICE_MS)).run() for _ in range(4)]
    redis = stack.enter_context(RedisServer(folder)).run()
    client = redis.client()
    put_list(client, {queue.uri: 1 for queue in queues})
    node = stack.enter_context(ControlNode(folder / "run", redis.url)).run()
    await_shares(client, {queue.uri for queue in queues})
    calls = int(RATE_CPS * (WARM_UP_S + BROKEN_S + HEALED_S))
    options = ("-l", "10000", "-set", "spread_ms", "2000")
    caller = SippCaller("uac_poisson", folder, f"127.0.0.1:{node.port}", *options, calls=calls, rate=RATE_CPS)
    stack.enter_context(caller.start())
    bad = queues[0]
    _watch(client, bad.uri, WARM_UP_S)
    fault.break_it(bad)
    broken = _watch(client, bad.uri, BROKEN_S)
    fault.mend_it(bad)
    healed = _watch(client, bad.uri, HEALED_S)
    report = caller.finish()
    right = _settled(broken, fault.fair_percent - TOLERANCE_POINTS, fault.fair_percent + TOLERANCE_POINTS)
    back = _settled(healed, 0.8 * FAIR_PERCENT, 100.0)
    delayed = sum(time_s > DELAYED_S for time_s in report.response_times_s)
    return (
        f"{fault.name:22} {report.calls:6} {report.failed:6} {delayed:8} {report.percentile(0.99) * 1000:6.0f} "
        f"{right:>13} {back:>11}"
    )


def _watch(client: Any, uri: str, seconds: float) -> list[tuple[float, float]]:  # noqa: ANN401
    """Return (seconds since now, effective share) five times a second."""
    begun_s = time.monotonic()
    samples = []
    while (elapsed_s := time.monotonic() - begun_s) < seconds:
        samples.append((elapsed_s, effective(client).get(uri, 0.0)))
        time.sleep(0.2)
    return samples


def _settled(samples: list[tuple[float, float]], low: float, high: float) -> str:
    """Return the first moment from which on the share stays within bounds, `never` when there is none."""
    settled = None
    for elapsed_s, share in samples:
        if not low <= share <= high:
            settled = None
        elif settled is None:
            settled = elapsed_s
    return "never" if settled is None else f"{settled:.1f}"


if __name__ == "__main__":
    sys.exit(main())
