"""
The queue's script: a call keeps its worker for an exponential time and is answered when that is over.

The answer names a phone as the call's other end, as that of a proxy would: the queue is busy with INVITEs alone.
"""

import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "kemi"))

import KSR
from steelyard.edge.downstream_node import build

US_PER_S = 1_000_000
CONSTANT = bool(os.environ.get("QUEUE_CONSTANT"))


class QueueProxy:
    """Serves INVITEs slowly and everything else at once; retransmissions cost nothing."""

    def __init__(self) -> None:
        """Tell the load where it is asked for."""
        self._downstream = build(KSR) if os.environ.get("QUEUE_REPORTS") else None

    def child_init(self, rank: int) -> int:
        """Give each worker random numbers of its own."""
        random.seed()
        return self._downstream.child_init(rank) if self._downstream else 0

    def ksr_measure(self, msg: object, event: str) -> int:
        """Watch the workers for a while."""
        return self._downstream.ksr_measure(msg, event) if self._downstream else 1

    def ksr_request_route(self, _msg: object) -> int:
        """Serve one request."""
        if self._downstream and self._downstream.on_request():
            return 1
        method = KSR.pv.get("$rm")
        if method == "INVITE":
            self._serve()
        elif method == "ACK":
            KSR.tm.t_check_trans()
        else:
            KSR.sl.send_reply(200, "OK")
        return 1

    def _serve(self) -> None:
        if KSR.tm.t_newtran() <= 0:
            return
        status = KSR.pv.get("$shv(status)")
        KSR.htable.sht_inc("count", "calls")
        if status == 200:
            mean_s = KSR.pv.get("$shv(service_us)") / US_PER_S
            time.sleep(mean_s if CONSTANT else random.expovariate(1 / mean_s))
            KSR.hdr.append_to_reply(f"Contact: <{KSR.pv.get('$shv(phone)')}>\r\n")
        KSR.tm.t_reply(status, "OK" if status == 200 else "Busy Queue")


def mod_init() -> QueueProxy:
    """Kamailio calls this once, before it forks."""
    return QueueProxy()
