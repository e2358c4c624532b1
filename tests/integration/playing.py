"""What peers and destinations play in more than one test file."""

import re
import shutil
import subprocess

from lab.parts import KAMAILIO, ControlNode
from tests.integration.sip_peer import Message, Peer, reply

# --- requests within a dialog ---


def dialog_of(answer: Message) -> dict[str, str]:
    """Return what a request within the dialog of this answer has to carry."""
    return {"call_id": answer.header("Call-ID"), "to": answer.header("To")}


def route_of(answer: Message) -> str:
    """Return the Route of a request within the dialog of this answer."""
    return f"Route: {answer.header('Record-Route')}"


# --- probes ---

INVITE = {"probe_method": "invite", "probe_interval_s": "1", "probe_timeout_s": "0.5"}


def proxy(request: Message) -> list[str]:
    """Answer a probe as a proxy that keeps RFC 3261 does."""
    return [] if request.method == "ACK" else [reply(request, 483 if request.method == "INVITE" else 200)]


def b2bua(request: Message) -> list[str]:
    """Accept every call, whatever its Max-Forwards; each answer is sent twice."""
    if request.method == "ACK":
        return []
    port = re.search(r"@?127\.0\.0\.1:(\d+)", request.lines[0])
    lines = (f"Contact: <sip:call@127.0.0.1:{port[1]}>", f"Record-Route: <sip:127.0.0.1:{port[1]};lr;hop=1>")
    if request.method == "INVITE":
        return [reply(request, 200, *lines, f"Record-Route: <sip:127.0.0.1:{port[1]};lr;hop=2>")] * 2
    return [reply(request, 200)]


# --- load reports ---

GOOD = "TEXT cpu_utilization=0.25,application_utilization=0.5,rps_fractional=40"


def reporting(*values: str):
    """Answer pings with load reports, and everything else with 200."""

    def answers(request: Message) -> list[str]:
        if request.method == "ACK":
            return []
        lines = [f"Endpoint-Load-Metrics: {value}" for value in values] if request.method == "OPTIONS" else []
        return [reply(request, 200, *lines)]

    return answers


def push(bench, uri: str, **fields: str) -> None:
    """Write a report as an agent does."""
    key = f"steelyard:{{1}}:report:{uri}"
    bench.client.delete(key)
    bench.client.hset(key, mapping=fields)


def refused(bench) -> list[str]:
    """Return the reasons of refused reports."""
    return [event["reason"] for event in bench.events() if event["kind"] == "report refused"]


# --- overload control ---


def carries_lists() -> bool:
    """Say whether the Kamailio underneath can read a Via with a comma between quotes."""
    if shutil.which(KAMAILIO) is None:
        return False
    text = subprocess.run([KAMAILIO, "-v"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"kamailio (\d+)\.(\d+)", text)
    return version is not None and (int(version[1]), int(version[2])) >= (5, 8)


CARRIES_LISTS = carries_lists()
SETTINGS = {"policy": "weighted", "probe_method": "none", "no_response_s": "1"}


class Server:
    """A destination that answers with a status, and says something in place of the offer in our Via."""

    def __init__(self) -> None:
        self.feedback: str | None = None
        self.status = 200
        self.lines: tuple[str, ...] = ()

    def __call__(self, request: Message) -> list[str]:
        if request.method == "ACK":
            return []
        return [reply(request, self.status, *self.lines, feedback=self.feedback)]

    def ask(self, oc: int, seq: int, validity_ms: int = 60_000) -> None:
        """Ask for less from now on."""
        self.feedback = f';oc={oc};oc-algo="loss";oc-validity={validity_ms};oc-seq={seq}.00001'


def set_up(bench, peers, count: int, *, tcp: bool = False, **settings):
    """Start destinations that can ask for less, the control node and a caller."""
    servers = [Server() for _ in range(count)]
    destinations = [peers(server) for server in servers]
    for server, peer in zip(servers, destinations, strict=True):
        server.lines = (f"Contact: <sip:b@127.0.0.1:{peer.port}>",)
    node = bench.control([peer.uri for peer in destinations], settings={**SETTINGS, **settings}, tcp=tcp)
    return node, servers, destinations, peers()


def oc_of(node: ControlNode, peer) -> str:
    """Return what is in force for a destination, as its workers share it."""
    match = re.search(r"value: (loss|rate) (\d+)", node.rpc("htable.get", "overload", f"127.0.0.1:{peer.port}"))
    return match[2] if match else ""


def tell(node: ControlNode, peer: Peer, caller: Peer) -> None:
    """Have a destination's next answer heard."""
    seen = len(peer.got)
    while len(peer.got) == seen:
        caller.ask(node.port)
