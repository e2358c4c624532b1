"""
A downstream proxy's callbacks, as Kamailio calls them, each behind one guard; and the wiring of its parts.

For a proxy whose routing is here (examples/downstream.cfg), for one that is a script of its own and asks `on_request`
first, and for a kamailio.cfg that calls `steelyard_answer` in its request_route.
"""

import random
import time
from typing import Any, Final

from .downstream import Downstream, Told
from .guard import Guard
from .kamailio import Kamailio
from .plain_proxy import PlainProxy
from .reporter import Reporter
from .shared import Clients, Load

GO_ON: Final = 1
STOP: Final = 0  # ends a native route, as any function that returns 0 does
DONE: Final = 1

DEFAULT_TARGET_PERCENT: Final = 95


class DownstreamNode:
    """The object that Kamailio calls; one in every process, made before the fork."""

    def __init__(
        self, kamailio: Kamailio, scripted: Downstream, native: Downstream, reporter: Reporter, rng: random.Random
    ) -> None:
        """Take the parts; `scripted` and `native` differ in how replies learn of an overload."""
        self._sip = kamailio
        self._scripted = scripted
        self._native = native
        self._reporter = reporter
        self._rng = rng
        self._guard = Guard(kamailio)
        self._proxy = PlainProxy(kamailio)

    def child_init(self, _rank: int) -> int:
        """Set each process on random numbers of its own."""
        self._rng.seed()
        return 0

    def ksr_measure(self, _msg: object, _event: str = "") -> int:
        """Watch the workers for a while."""
        self._guard.run(self._reporter.tick)
        return DONE

    # --- for a native kamailio.cfg ---

    def steelyard_answer(self, _msg: object, *_: object) -> int:
        """Answer a load query or refuse for overload; 0, which ends the route, when that was all."""
        return STOP if self._answered(self._native) else GO_ON

    # --- for a KEMI script ---

    def on_request(self) -> bool:
        """Answer a load query or refuse for overload; True when that was all."""
        return self._answered(self._scripted)

    def ksr_request_route(self, _msg: object) -> int:
        """Serve a request as a plain proxy: relay to where it says, stay in its dialog."""
        if not self.on_request() and not self._guard.run(self._proxy.on_request):
            self._guard.run(lambda: self._sip.answer_statefully(500, "Server Internal Error"))
        return DONE

    def ksr_reply(self, _msg: object) -> int:
        """Tell a client that listens of our overload in a reply that passes through."""
        self._guard.run(self._scripted.on_reply)
        return DONE

    def _answered(self, downstream: Downstream) -> bool:
        answered = False

        def work() -> None:
            nonlocal answered
            answered = downstream.on_request()

        self._guard.run(work)
        return answered


def target_utilization(percent: str) -> float:
    """Return the utilization to hold in an overload, 0.01 to 1, from its text in percent; the default for any other."""
    usable = percent.isdecimal() and 1 <= int(percent) <= 100
    return (int(percent) if usable else DEFAULT_TARGET_PERCENT) / 100


def build(ksr: Any) -> DownstreamNode:  # noqa: ANN401 - Kamailio's module has no types
    """
    Wire a downstream proxy.

    Two shared variables of the pv module tune it, and may be changed while it runs with `kamcmd pv.shvSet`:
    `steelyard_target` (percent of utilization to hold in an overload, 95 when unset) and `steelyard_clients` (networks
    that may be told the load, everybody when unset or `any`).
    """
    kamailio, load, clients = Kamailio(ksr), Load(ksr), Clients(ksr)
    rng = random.Random()  # noqa: S311 - spreads load, guards nothing

    def variable(name: str) -> str:
        return str(ksr.pv.get(f"$shv({name})") or "")

    told = Told(lambda: variable("steelyard_clients"), kamailio.error)
    scripted = Downstream(kamailio, load, clients, told, time.monotonic, rng, forwarded=False)
    native = Downstream(kamailio, load, clients, told, time.monotonic, rng, forwarded=True)
    reporter = Reporter(
        ksr,
        load,
        clients,
        lambda: target_utilization(variable("steelyard_target")),
        time.monotonic,
        time.time,
        time.sleep,
        rng.random,
    )
    return DownstreamNode(kamailio, scripted, native, reporter, rng)
