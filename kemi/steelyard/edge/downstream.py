"""
A downstream proxy's side: load queries are answered, overload is announced, and refused where it is not listened to.

    request --> offers overload control? say how much --> asks for the load? answer --> too much? 503 --> go on

Each step costs a look-up: all of it was worked out by the watching process.
"""

import ipaddress
import re
from collections.abc import Callable
from typing import Final

from ..core.feedback import offers_loss
from ..core.load_report import QUERY_HEADER, REPORT_HEADER
from ..core.outcome import SERVICE_UNAVAILABLE
from ..core.overload import rejects_stranger
from ..core.picker import Random
from ..core.priority import is_priority
from ..core.throttle import Mix
from .kamailio import VIA, Kamailio
from .shared import Clients, Load

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

ANYBODY: Final = "any"
NEVER_REFUSED: Final = frozenset({"ACK", "CANCEL"})  # no answer is possible, or it ends work (RFC 7200 section 5.3.2)


class Downstream:
    """What a worker of a downstream proxy does with a request before anything else."""

    def __init__(  # noqa: PLR0913 - one per part of the outside world
        self,
        kamailio: Kamailio,
        load: Load,
        clients: Clients,
        told: "Told",
        clock_s: Callable[[], float],
        rng: Random,
        *,
        forwarded: bool,
    ) -> None:
        """
        Take the adapters, who may be told, the monotonic clock and the randomness of refusals.

        With `forwarded`, what is announced goes with the request, for nobody puts it into the replies: on_reply is not
        called.
        """
        self._sip = kamailio
        self._load = load
        self._clients = clients
        self._told = told
        self._clock_s = clock_s
        self._rng = rng
        self._forwarded = forwarded
        self._mix = Mix()

    def on_request(self) -> bool:
        """
        Serve a load query, announce or refuse.

        Returns:
            True when the request has been answered, and nothing is left to be done with it.
        """
        sip = self._sip
        if not sip.is_readable():
            return False  # whoever routes it will say what is wrong
        method = sip.method()
        percent, announcement = self._load.overload()
        listens = self._announce(announcement)
        if self._is_query(method):
            self._answer_query(method)
            return True
        if method in NEVER_REFUSED:
            return False
        now_us = int(self._clock_s() * 1e6)
        priority = is_priority(sip.request_uri(), sip.header("Resource-Priority"), in_dialog=sip.in_dialog())
        self._mix.on_request(priority=priority, now_us=now_us)
        if listens or not rejects_stranger(percent, self._mix.ordinary_percent, self._rng.random(), priority=priority):
            return False
        if not sip.is_absorbed():
            self._load.count_refused()
            sip.answer(SERVICE_UNAVAILABLE, "Overload")  # without Retry-After, which would keep all away at once
        return True

    def on_reply(self) -> None:
        """Put the overload of the moment into a reply that passes through to a client that offers to listen."""
        if self._sip.recall("upstream"):
            self._sip.announce_in_reply(self._load.overload()[1])

    def _announce(self, announcement: str) -> bool:
        """Put the overload into the responses to this request if its client offers to listen; say whether it does."""
        sip = self._sip
        if not announcement or not offers_loss(sip.header(VIA)):
            return False
        source = sip.source()
        if not self._told.may_hear(source) or not sip.announce(announcement, forwarded=self._forwarded):
            return False
        sip.remember("upstream", "1")
        return self._clients.listens(source)

    def _is_query(self, method: str) -> bool:
        if method == "OPTIONS":
            return self._sip.is_for_us() and bool(self._sip.header(QUERY_HEADER))
        return method == "INVITE" and self._sip.header("Max-Forwards").strip() == "0"

    def _answer_query(self, method: str) -> None:
        report = self._load.report(self._clock_s())
        if report and self._sip.header(QUERY_HEADER) and self._told.may_hear(self._sip.source()):
            self._sip.append_to_reply(f"{REPORT_HEADER}: {report}\r\n")
        if method == "OPTIONS":
            self._sip.answer(200, "OK")
        else:
            self._sip.answer(483, "Too Many Hops")


class Told:
    """Whom the load and the overload may be told to: everybody, or some networks."""

    def __init__(self, networks: Callable[[], str], log: Callable[[str], None]) -> None:
        """
        Take where the networks stand, separated by spaces or commas, and where a bad one is told.

        `any` or none means everybody; one that cannot be read, nobody.
        """
        self._read = networks
        self._log = log
        self._text = ""
        self._networks: list[Network] | None = None  # None: everybody

    def may_hear(self, source: str) -> bool:
        """Say whether an IP address may be told."""
        text = self._read()
        if text != self._text:
            self._text = text
            self._networks = self._parse(text)
        if self._networks is None:
            return True
        address = ipaddress.ip_address(source.strip("[]"))
        return any(address in network for network in self._networks)

    def _parse(self, text: str) -> list[Network] | None:
        try:
            words = set(re.split(r"[\s,]+", text)) - {"", ANYBODY}
            networks = [ipaddress.ip_network(word, strict=False) for word in words]
        except ValueError as error:
            self._log(f"steelyard_clients: {error}; expected networks such as 192.0.2.0/24; nobody is told the load")
            return []
        return networks or None
