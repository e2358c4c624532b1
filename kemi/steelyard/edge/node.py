"""
The control node's callbacks, as Kamailio calls them, each behind one guard; and the wiring of the parts.

A callback that returned nothing would poison the worker's next call: each returns 1, or -1 for what is not to be sent.
"""

import os
import random
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from ..core.picker import Picker
from . import environment
from .control import Control
from .gate import Gate
from .guard import Guard
from .kamailio import Kamailio
from .last_good import LastGood
from .mirror import Mirror
from .pinger import Pinger
from .prober import Prober
from .probing import Pongs
from .router import Router
from .shared import Board, Dialogs, Facts, InFlight, Load, Offers, Throttles
from .store import Store

DONE: Final = 1
DROP: Final = -1


def clock_us() -> int:
    """Return monotonic microseconds, the same clock in all processes of this machine."""
    return time.monotonic_ns() // 1000


class ControlNode:
    """The object that Kamailio calls; one in every process, made before the fork."""

    def __init__(  # noqa: PLR0913 - one per part
        self,
        kamailio: Kamailio,
        router: Router,
        pinger: Pinger,
        prober: Prober,
        control: Control,
        rng: random.Random,
    ) -> None:
        """Take the parts, and the randomness they share."""
        self._sip = kamailio
        self._router = router
        self._pinger = pinger
        self._prober = prober
        self._control = control
        self._rng = rng
        self._guard = Guard(kamailio)
        self._leaves = True  # whether the local request at hand is sent

    def child_init(self, _rank: int) -> int:
        """Set each process on random numbers of its own; connections are opened where they are first used."""
        self._rng.seed()
        return 0

    def ksr_request_route(self, _msg: object) -> int:
        """Serve a request from its first step on."""
        return self._serve(self._router.on_request)

    def ksr_new_call(self, _msg: object) -> int:
        """Serve an INVITE outside of dialogs that kamailio.cfg has checked and found to be ordinary."""
        return self._serve(self._router.on_new_call)

    def ksr_new_request(self, _msg: object) -> int:
        """Serve a request outside of dialogs that kamailio.cfg has checked."""
        return self._serve(self._router.on_new_request)

    def ksr_without_route(self, _msg: object) -> int:
        """Serve a request within a dialog that kamailio.cfg has checked and found no Route in that leads here."""
        return self._serve(self._router.on_request_without_route)

    def _serve(self, work: Callable[[], object]) -> int:
        """Serve a request; one that breaks us gets a 500."""
        if not self._guard.run(work):
            self._guard.run(lambda: self._sip.answer_statefully(500, "Server Internal Error"))
        return DONE

    def ksr_reply(self, _msg: object, at_hand: str) -> int:
        """Note a reply to a balanced request; `at_hand` is what accounts need of it."""
        self._guard.run(partial(self._router.on_reply, at_hand))
        return DONE

    def ksr_plain_reply(self, _msg: object, at_hand: str) -> int:
        """Note a reply to a balanced request that says nothing of load or overload."""
        self._guard.run(partial(self._router.on_plain_reply, at_hand))
        return DONE

    def ksr_failure(self, _msg: object) -> int:
        """Reroute a failed request; if that breaks, the failure itself is the answer."""
        self._guard.run(self._router.on_failure)
        return DONE

    def ksr_dialog_reply(self, _msg: object) -> int:
        """Note a reply to a request within a dialog."""
        self._guard.run(self._router.on_dialog_reply)
        return DONE

    def ksr_local_request(self, _msg: object) -> int:
        """Pace a ping, complete a probe; leave the BYE that ends a call by mistake as it is."""
        self._leaves = True
        self._guard.run(self._on_local_request)
        return DONE if self._leaves else DROP

    def ksr_probe_tick(self, _msg: object) -> int:
        """Send the INVITE probes that are due."""
        self._guard.run(self._prober.tick)
        return DONE

    def ksr_probe_reply(self, _msg: object) -> int:
        """Note the answer to an INVITE probe."""
        self._guard.run(self._prober.on_reply)
        return DONE

    def ksr_pong(self, _msg: object) -> int:
        """Note the answer to a ping."""
        self._guard.run(self._pinger.on_pong)
        return DONE

    def ksr_tick(self, _msg: object) -> int:
        """Do one round of the control process."""
        self._guard.run(self._control.tick)
        return DONE

    def _on_local_request(self) -> None:
        method = self._sip.method()
        if method == "OPTIONS":
            self._leaves = self._pinger.on_local_request(self._sip.request_uri())
        elif method == "INVITE":
            self._prober.on_local_request()


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
    in_flight, facts, throttles, load = InFlight(ksr), Facts(ksr), Throttles(ksr), Load(ksr)
    rng = random.Random()  # noqa: S311 - spreads load, guards nothing
    mirror = Mirror(ksr, env.run_dir, env.set_id, time.monotonic)
    mirror.write_file({})
    gate = Gate(throttles, kamailio.algorithms(), kamailio.take_passed, clock_us, rng)
    router = Router(kamailio, snapshots, in_flight, facts, Dialogs(ksr), Picker(rng), gate, load, clock_us)
    pongs = Pongs(kamailio, facts, gate)
    pinger = Pinger(kamailio, probes, facts, pongs, clock_us, time.sleep, rng)
    prober = Prober(kamailio, probes, facts, pongs, clock_us, rng)
    try:
        store = Store(env.redis_url, env.set_id, time.monotonic)
    except ValueError:
        raise environment.bad_redis_url(env.redis_url) from None
    last_good = LastGood(env.run_dir)
    offers = Offers(ksr, kamailio.offered)
    control = Control(
        kamailio, snapshots, probes, in_flight, throttles, offers, load, facts, store, mirror, last_good, clock_us
    )
    return ControlNode(kamailio, router, pinger, prober, control, rng)
