"""The assertions that FakeKSR keeps, once inside Kamailio itself."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.parts import Kamailio
from lab.process import await_condition, free_port
from tests.fake_ksr import EXPORTS
from tests.ksr_contract import (
    CONFIG,
    HEADERS,
    OWN_ARRIVES,
    OWN_STORY,
    STORY,
    STORY_ANSWER,
    STORY_ARRIVES,
    WITH_REQUEST,
    WITHOUT_MESSAGE,
)

ROOT = Path(__file__).resolve().parents[2]
MODULES = "jsonrpcs kex corex pv tm tmx sl rr maxfwd sanity siputils textops textopsx htable mqueue app_python3 ctl"

SCRIPT = """
import sys, time
from pathlib import Path
import KSR
sys.path.insert(0, {root!r})
from tests.ksr_contract import Script

def mod_init():
    return Script(KSR, time.sleep, Path({outcome!r}))
"""

CFG = """#!KAMAILIO
listen=udp:127.0.0.1:{port}
children=1
disable_tcp=yes
debug=1
log_stderror=yes
auto_aliases=no
{mpath}
{modules}
modparam("ctl", "binrpc", "unix:{ctl}")
modparam("jsonrpcs", "transport", 16)
modparam("app_python3", "load", "{script}")
cfgengine "python"
{config}
kemi.onsend_route_callback="none"
kemi.reply_route_callback="none"
kemi.pre_routing_callback="none"
"""


@dataclass
class Outcome:
    """A Kamailio with the contract's script, and the file it writes to."""

    kamailio: Kamailio
    path: Path

    def read(self, name: str):
        """Return what was written under a name so far, None when nothing was."""
        return json.loads(self.path.read_text())[name] if self.path.exists() else None


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Run a Kamailio with the tables and queues of the contract."""
    folder = tmp_path_factory.mktemp("contract")
    script, config, ctl, port = folder / "script.py", folder / "kamailio.cfg", folder / "ctl", free_port()
    found = Outcome(Kamailio("contract", config, folder, port, {}, ctl), folder / "outcome.json")
    script.write_text(SCRIPT.format(root=str(ROOT), outcome=str(found.path)))
    mpath = re.search(r"^mpath=.*$", (ROOT / "kamailio.cfg").read_text(), re.MULTILINE)[0]
    modules = "\n".join(f'loadmodule "{name}.so"' for name in MODULES.split())
    config.write_text(CFG.format(port=port, mpath=mpath, modules=modules, ctl=ctl, script=script, config=CONFIG))
    with found.kamailio:
        found.kamailio.start(lambda: "uptime:" in found.kamailio.rpc("core.uptime"))
        yield found


class Party:
    """A UDP socket that speaks just enough SIP."""

    def __init__(self, statuses: str = "") -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(5)
        self.port = self.socket.getsockname()[1]
        self.uri = f"sip:127.0.0.1:{self.port}"
        self._statuses = statuses.split()

    def request(self, server: Kamailio, method: str, uri: str, call_id: str, *headers: str) -> None:
        """Send a request to the server."""
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch=z9hG4bK{call_id}",
            "From: <sip:a@example.com>;tag=1",
            "To: <sip:b@example.com>",
            f"Call-ID: {call_id}",
            f"CSeq: 1 {method}",
            "Max-Forwards: 70",
            "Content-Length: 0",
            *headers,
        ]
        text = "\r\n".join(lines) + "\r\n\r\n"
        self.socket.sendto(text.encode(errors="surrogateescape"), ("127.0.0.1", server.port))

    def final(self) -> int:
        """Return the next final status that arrives."""
        while True:
            status = int(self.socket.recv(65535).split()[1])
            if status >= 200:
                return status

    def take(self) -> "Taken":
        """Wait for a request."""
        while True:
            text, sender = self.socket.recvfrom(65535)
            if not text.startswith(b"ACK "):
                return Taken(self.socket, text.decode(), sender)


@dataclass
class Taken:
    """A request that arrived."""

    socket: socket.socket
    text: str
    sender: tuple[str, int]

    def answer(self, status: int, *headers: str, tag: str = "") -> None:
        """Answer it."""
        lines = self.text.split("\r\n")
        copied = [line for line in lines if line.startswith(("Via:", "From:", "To:", "Call-ID:", "CSeq:"))]
        copied = [f"{line};tag={tag}" if tag and line.startswith("To:") else line for line in copied]
        reply = [f"SIP/2.0 {status} Status", *copied, *headers, "Content-Length: 0"]
        self.socket.sendto(("\r\n".join(reply) + "\r\n\r\n").encode(), self.sender)

    @property
    def offer(self) -> str:
        """What follows the branch in the server's own Via."""
        return re.search(r"^Via: [^;]*;branch=[^;\r]*(.*)\r$", self.text, re.MULTILINE)[1]

    def header(self, name: str) -> str | None:
        """Return a header, None when there is none."""
        found = re.search(rf"^{name}: (.*)\r$", self.text, re.MULTILINE)
        return found[1] if found else None


@pytest.fixture
def parties() -> Iterator[list[Party]]:
    """Return a caller and two destinations."""
    with contextlib.ExitStack() as stack:
        found = [Party() for _ in range(3)]
        for party in found:
            stack.callback(party.socket.close)
        yield found


def test_kamailio_keeps_every_assertion_that_the_fake_keeps(outcome, parties) -> None:
    """What is claimed of tables, queues, variables and arguments holds in the server."""
    lines = ((name, value if isinstance(value, list) else [value]) for name, value in HEADERS.items())
    headers = [f"{name}: {value}" for name, values in lines for value in values]
    parties[0].request(outcome.kamailio, "OPTIONS", "sip:probe@example.com", "contract", *headers)
    await_condition(lambda: bool(outcome.read("results")), "the contract's results", 30)
    expected = {function.__name__: "ok" for function in WITHOUT_MESSAGE + WITH_REQUEST}
    assert expected == outcome.read("results"), [r for r in outcome.read("results").values() if r != "ok"]


def test_kamailio_tells_the_story_that_the_fake_tells(outcome, parties) -> None:
    """A call that fails its way through four destinations meets the same codes, branches and callbacks."""
    caller, first, second = parties
    headers = f"X-First: {first.uri}", f"X-Second: {second.uri}", "X-Gone: x"
    caller.request(outcome.kamailio, "INVITE", "sip:bob@example.com", "story", *headers)
    at_first = first.take()
    at_first.answer(100)
    at_first.answer(404)
    at_second = second.take()
    at_first.answer(404)
    await_condition(lambda: outcome.read("seen")[-1][:2] == ["reply", 404], "the second 404")
    at_first.answer(200)
    await_condition(lambda: outcome.read("seen")[-1][:2] == ["reply", 200], "the 200")
    at_second.answer(503)
    assert STORY_ANSWER == caller.final()
    assert STORY == outcome.read("seen"), outcome.kamailio.log[-2000:]
    assert STORY_ARRIVES == [[at.offer, at.header("X-Gone"), at.header("X-New")] for at in (at_first, at_second)]


def test_kamailio_sends_requests_of_its_own_as_the_fake_does(outcome, parties) -> None:
    """The event runs before the call returns; what it set is found by the replies, and nothing else is."""
    before = len(outcome.read("seen") or [])
    caller, first, _ = parties
    caller.request(outcome.kamailio, "MESSAGE", "sip:bob@example.com", "sender", f"X-First: {first.uri}")
    own = first.take()
    for _ in range(2):
        own.answer(200, "Contact: <sip:b2bua@127.0.0.1:9>", tag="b")
    await_condition(lambda: len(outcome.read("seen")) == before + len(OWN_STORY), "the second 200")
    assert OWN_STORY == outcome.read("seen")[before:]
    assert OWN_ARRIVES == [own.offer, own.header("X-New")]


def test_the_allow_list_is_what_kamailio_exports(outcome) -> None:
    """Each function of the fake exists in the server with the same parameters and the same kind of result."""
    listed = outcome.kamailio.rpc("app_python.api_list")
    rows = re.findall(r"ret: (\S+)\s+module:([^\n]*)\n\s*name: (\S+)\s+params: ([^\n]*)", listed)
    exported = {(module.strip(), name): (_letters(params), returns) for returns, module, name, params in rows}
    claimed = {(module, name): spec for module, functions in EXPORTS.items() for name, spec in functions.items()}
    assert claimed == {key: exported.get(key) for key in claimed}


def _letters(params: str) -> str:
    return "" if params.strip() == "none" else "".join(word.strip()[0] for word in params.split(","))
