"""
The process of a downstream proxy that watches the others: looks many times a second, reports once a second.

    /proc, Kamailio's own counters --> load report    --> htable --> answers to load queries
                                   --> overload control --> htable --> Via of responses, refusals

Does nothing in a SIP worker, and nothing that waits.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..core.load_report import write_header
from ..core.overload import Announcer, Compliance, LossControl
from ..core.workload import Busy, Counters, fields_of
from . import rpc
from .processes import NOT_SHOWN, Worker, cpu_s, machine_kb, memory_kb, waiting_bytes
from .shared import Clients, Load

WINDOW_S: Final = 1.0
CONTROL_PERIOD_S: Final = 0.25
LOOK_INTERVAL_S: Final = 0.008
MOST_TOLD: Final = 100
MESSAGE_BYTES: Final = 2304  # that a request of 0.6 to 1.5 KB takes in a socket's queue, by Linux
LEAST_UTILIZATION: Final = 0.2  # below it, too little is seen to tell a capacity by
COUNTERS: Final = (
    "core:rcv_requests",
    "sl:500_replies",
    "sl:5xx_replies",
    "tmx:5xx_transactions",
    "tmx:inuse_transactions",
)


class Reporter:
    """What the watching process does."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        ksr: Any,  # noqa: ANN401 - Kamailio's module has no types
        load: Load,
        clients: Clients,
        target_utilization: Callable[[], float],
        clock_s: Callable[[], float],
        unix_s: Callable[[], float],
        sleep: Callable[[float], None],
        random: Callable[[], float],
        *,
        proc: Path = Path("/proc"),
    ) -> None:
        """Take Kamailio's API, the shared cells, the utilization to hold, two clocks, a sleep and randomness."""
        self._ksr = ksr
        self._load = load
        self._clients = clients
        self._target_utilization = target_utilization
        self._clock_s = clock_s
        self._unix_s = unix_s
        self._sleep = sleep
        self._random = random
        self._proc = proc
        self._cpus = len(os.sched_getaffinity(0))
        self._machine_kb = machine_kb(proc)
        self._workers: dict[int, Worker] = {}
        self._pids: list[int] = []
        self._control = LossControl()
        self._announcer = Announcer()
        self._compliance = Compliance()
        self._counted: dict[str, int] = {}  # requests of each client
        self._before: Counters | None = None
        self._window, self._period = Busy(), Busy()
        self._ticks = 0
        self._capacity_rps: float | None = None  # by the last report that told it
        self._blind = True  # until the first window has been seen
        self._seen_asleep = False  # some worker, ever: else the kernel hides where they sleep
        self._told: set[str] = set()

    def tick(self) -> None:
        """Look for the time of one control period; then control, and report when it is time."""
        self._ticks += 1
        began_s = now_s = self._clock_s()
        while now_s - began_s < CONTROL_PERIOD_S:
            self._sleep(LOOK_INTERVAL_S * (0.5 + self._random()))  # in step with the work, it would always seem busy
            self._look()
            now_s = self._clock_s()
        if self._before is None:
            self._before = self._count()
            self._window = Busy()
        else:
            self._control.target = self._target_utilization()
            utilization = 0.0 if self._blind else self._period.most_constrained()
            self._control.update(utilization, self._wait_s(), now_s=now_s)
            self._announce(now_s)
        self._period = Busy()
        if self._before is not None and now_s - self._before.at_s >= WINDOW_S - CONTROL_PERIOD_S / 2:
            self._report()

    def _wait_s(self) -> float | None:
        """Return how long a request waits that comes now, by the fullest UDP socket; None where that cannot be told."""
        sockets = {worker.group.partition(" ")[2] for worker in self._workers.values() if worker.is_udp}
        if not sockets or not self._capacity_rps:
            return None
        waiting = max(waiting_bytes(socket, self._proc) for socket in sockets) / MESSAGE_BYTES
        return waiting / self._capacity_rps

    def _look(self) -> None:
        for pid, worker in list(self._workers.items()):
            try:
                place = worker.place()
            except OSError:
                self._workers.pop(pid).close()
                continue
            self._seen_asleep = self._seen_asleep or place != NOT_SHOWN
            busy = not worker.is_idle_at(place)
            self._window.add(worker.group, busy=busy)
            self._period.add(worker.group, busy=busy)

    def _report(self) -> None:
        counters, before = self._count(), self._before
        if counters is None or before is None:
            return
        self._blind = self._cannot_see(before, counters)
        if self._blind:
            self._tell("where workers sleep is hidden from us: run all of Kamailio as one user; no load is reported")
        else:
            fields = fields_of(before, counters, self._window, cpus=self._cpus)
            self._load.publish_report(write_header(fields), counters.at_s)
            utilization, rps = fields["application_utilization"], fields["rps_fractional"]
            if utilization >= LEAST_UTILIZATION and rps > 0:
                self._capacity_rps = rps / utilization
        self._before, self._window = counters, Busy()

    def _cannot_see(self, before: Counters, now: Counters) -> bool:
        """Say whether nothing can be told of the workers: none is looked at, or none ever sleeps nor uses its CPU."""
        used = (now.cpu_s - before.cpu_s) / (now.at_s - before.at_s)
        return not self._workers or (not self._seen_asleep and used < 0.5 * min(len(self._workers), self._cpus))

    def _announce(self, now_s: float) -> None:
        percent = self._control.percent
        self._load.publish_overload(percent, self._announcer.announce(percent, unix_s=self._unix_s()))
        counts = self._clients.counts()
        for source, count in counts.items():
            new = count - self._counted.get(source, 0)
            self._compliance.on_request(source, max(new, 0), now_s=now_s)
        self._counted = counts
        self._compliance.check(percent, now_s=now_s)
        self._clients.blame(self._compliance.offenders())

    def _count(self) -> Counters | None:
        """Read all counters; None when one of Kamailio's commands failed, which is told once."""
        processes = self._call("pkg.stats")
        memory = self._call("core.shmmem")
        values = self._call("stats.fetch", list(COUNTERS))
        if processes is None or memory is None or values is None:
            return None
        self._meet(processes)
        count = {name: int(value) for name, value in values.items()}
        return Counters(
            at_s=self._clock_s(),
            cpu_s=sum(cpu_s(pid, self._proc) for pid in self._pids),
            requests=count.get("core.rcv_requests", 0) - self._ticks,  # Kamailio counts a timer's call as a request
            errors=sum(count.get(name, 0) for name in ("sl.500_replies", "sl.5xx_replies", "tmx.5xx_transactions")),
            refused=self._load.refused(),
            transactions=count.get("tmx.inuse_transactions", 0),
            shm=int(memory["used"]) / int(memory["total"]),
            pkg=max(row["used"] / row["total_size"] for row in processes),
            memory=memory_kb(self._pids, self._proc) / self._machine_kb,
        )

    def _meet(self, processes: list[dict[str, Any]]) -> None:
        """Take note of Kamailio's processes, and look at those that are SIP workers."""
        self._pids = [row["pid"] for row in processes]
        for row in processes:
            kind, receiver, where = row["desc"].partition(" receiver ")
            if not receiver or row["pid"] in self._workers:
                continue
            _, _, socket = where.partition("sock=")
            group = f"{kind} {socket or 'any'}"
            try:
                self._workers[row["pid"]] = Worker(row["pid"], group, self._proc)
            except OSError as error:
                self._tell(f"a SIP worker cannot be looked at: {error}")

    def _call(self, method: str, params: list[str] | None = None) -> Any:  # noqa: ANN401 - an answer has any shape
        answer = rpc.run(self._ksr, method, params)
        if "result" not in answer:
            reason = answer.get("error", {}).get("message", "no answer")
            self._tell(f"{method} failed ({reason}): are kex, tmx and jsonrpcs loaded? no load is reported")
        return answer.get("result")

    def _tell(self, text: str) -> None:
        """Log a fault, but not again and again."""
        if text not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(text)
            self._ksr.err(f"load report: {text}\n")
