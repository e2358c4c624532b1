"""
The control node's callbacks, as Kamailio calls them, each behind one guard; and the wiring of the parts.

An exception that escapes would leave the request unanswered and poison the worker's next call, and so would a
callback that returns nothing: every one of them is caught, logged with the request's Call-ID, and returns 1.
"""

import os
import random
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ..core.picker import Picker
from . import environment
from .control import Control
from .kamailio import Kamailio
from .last_good import LastGood
from .mirror import Mirror
from .pinger import Pinger
from .router import Router
from .shared import Board, Dialogs, Facts, InFlight
from .store import Store

DONE: Final = 1


def clock_us() -> int:
    """Return monotonic microseconds, the same clock in all processes of this machine."""
    return time.monotonic_ns() // 1000


class ControlNode:
    """The object that Kamailio calls; one in every process, made before the fork."""

    def __init__(
        self, kamailio: Kamailio, router: Router, pinger: Pinger, control: Control, rng: random.Random
    ) -> None:
        """Take the parts, and the randomness they share."""
        self._sip = kamailio
        self._router = router
        self._pinger = pinger
        self._control = control
        self._rng = rng

    def child_init(self, _rank: int) -> int:
        """Set each process on random numbers of its own; connections are opened where they are first used."""
        self._rng.seed()
        return 0

    def ksr_request_route(self, _msg: object) -> int:
        """Serve a request; one that breaks us gets a 500."""
        if not self._guarded(self._router.on_request):
            self._guarded(lambda: self._sip.answer_statefully(500, "Server Internal Error"))
        return DONE

    def ksr_reply(self, _msg: object) -> int:
        """Note a reply to a balanced request."""
        self._guarded(self._router.on_reply)
        return DONE

    def ksr_failure(self, _msg: object) -> int:
        """Reroute a failed request; if that breaks, the failure itself is the answer."""
        self._guarded(self._router.on_failure)
        return DONE

    def ksr_local_request(self, _msg: object, _event: str) -> int:
        """Pace a ping."""
        self._guarded(lambda: self._pinger.on_local_request(self._sip.request_uri()))
        return DONE

    def ksr_pong(self, _msg: object) -> int:
        """Note the answer to a ping."""
        self._guarded(self._pinger.on_pong)
        return DONE

    def ksr_tick(self, _msg: object, _event: str) -> int:
        """Do one round of the control process."""
        self._guarded(self._control.tick)
        return DONE

    def _guarded(self, work: Callable[[], object]) -> bool:
        """Run `work`; True when nothing was raised."""
        try:
            work()
        except Exception:  # noqa: BLE001 - the outermost guard: nothing may pass
            self._sip.error(f"exception, Call-ID {self._call_id()}: {traceback.format_exc()}")
            return False
        return True

    def _call_id(self) -> str:
        try:
            return self._sip.call_id() or "none"
        except Exception:  # noqa: BLE001
            return "unreadable"


def build(ksr: Any, home: Path) -> ControlNode:  # noqa: ANN401 - Kamailio's module has no types
    """
    Wire the control node and write dispatcher's first list.

    Args:
        ksr: Kamailio's API.
        home: the folder that holds kamailio.cfg.

    Raises:
        BadEnvironment: a variable that cannot be used.
    """
    env = environment.read(os.environ, home)
    environment.prepare(env)
    kamailio = Kamailio(ksr)
    snapshots, probes = Board(ksr, "snapshot"), Board(ksr, "probes")
    in_flight, facts = InFlight(ksr), Facts(ksr)
    rng = random.Random()  # noqa: S311 - spreads load, guards nothing
    mirror = Mirror(ksr, env.run_dir, env.set_id, time.monotonic)
    mirror.write_file({})
    router = Router(kamailio, snapshots, in_flight, facts, Dialogs(ksr), Picker(rng), clock_us)
    pinger = Pinger(kamailio, probes, facts, clock_us, time.sleep, rng)
    try:
        store = Store(env.redis_url, env.set_id, time.monotonic)
    except ValueError:
        raise environment.bad_redis_url(env.redis_url) from None
    control = Control(kamailio, snapshots, probes, in_flight, facts, store, mirror, LastGood(env.run_dir), clock_us)
    return ControlNode(kamailio, router, pinger, control, rng)
