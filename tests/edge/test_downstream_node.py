"""A downstream proxy's callbacks behind their guard, their names and their wiring."""

import random
import re
from pathlib import Path

import pytest
from steelyard.core.feedback import Algorithm, Feedback
from steelyard.edge.downstream_node import DownstreamNode, build
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.shared import CLIENTS, LOAD, Load

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message
from tests.edge.test_node import Broken

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
CONFIG = (EXAMPLES / "load-report.cfg").read_text()

# Callback -> what Kamailio calls it with.
CALLBACKS = {
    "child_init": (1,),
    "ksr_request_route": (None,),
    "ksr_reply": (None,),
    "ksr_measure": (None, "rtimer"),
    "steelyard_answer": (None,),
}


@pytest.fixture
def server() -> FakeKamailio:
    """Return a server with a downstream proxy's tables."""
    return FakeKamailio(CONFIG)


@pytest.fixture
def broken(server) -> DownstreamNode:
    """Return a node none of whose parts works."""
    rng = random.Random(1)  # noqa: S311 - traffic
    server.script = DownstreamNode(Kamailio(server.ksr), Broken(), Broken(), Broken(), rng)
    server.script._proxy = Broken()
    return server.script


def test_every_callback_is_tested_here() -> None:
    """A new one comes with its arguments."""
    found = {name for name in dir(DownstreamNode) if name.startswith(("ksr_", "steelyard_")) or name == "child_init"}
    assert CALLBACKS.keys() == found


@pytest.mark.parametrize("name", CALLBACKS)
def test_every_callback_returns_an_integer_when_all_is_well(server, name) -> None:
    """Kamailio 5.6.3 poisons the next call of the process when it gets None."""
    node = server.script = build(server.ksr)
    node._reporter = type("Reporter", (), {"tick": lambda _: None})()
    with server.at_hand(Message(uri="sip:bob@192.0.2.9")):
        assert isinstance(getattr(node, name)(*CALLBACKS[name]), int)
    assert [] == server.errors()


@pytest.mark.parametrize("name", CALLBACKS.keys() - {"child_init"})
def test_every_callback_returns_an_integer_when_all_is_broken(server, broken, name) -> None:
    """Whatever raises is logged with the request's Call-ID; a native route goes on."""
    with server.at_hand(Message(call_id="call-of-trouble")):
        assert 1 == getattr(broken, name)(*CALLBACKS[name])
    assert [True] * len(server.errors()) == ["call-of-trouble" in error for error in server.errors()]
    assert server.errors()


def test_a_request_that_breaks_us_is_answered_500(server, broken) -> None:
    """Once, though both of its halves broke."""
    assert broken is server.script
    assert [500] == [answer.status for answer in server.receive(Message())]


def test_a_proxy_whose_load_cannot_be_told_still_serves(server, broken) -> None:
    """What is said of load and overload is second to the call."""
    broken._proxy = build(server.ksr)._proxy
    server.receive(Message(uri="sip:bob@192.0.2.9"))
    assert ["sip:bob@192.0.2.9"] == [sent.uri for sent in server.sent]


def test_a_script_of_its_own_asks_first(server) -> None:
    """True says that the request has been answered; a request that goes on is left as it was."""
    node = build(server.ksr)
    with server.at_hand(Message("INVITE", headers={"Max-Forwards": "0"})):
        assert node.on_request() is True
    with server.at_hand(Message("INVITE")):
        assert node.on_request() is False
        assert [] == server.lumps
    assert [483] == [answer.status for answer in server.answers]


@pytest.mark.parametrize("file", ["load-report.cfg", "downstream.cfg"])
def test_every_callback_that_a_configuration_names_exists(file) -> None:
    """A name that nobody answers to poisons the process."""
    text = re.sub(r"^#(?!!).*$", "", (EXAMPLES / file).read_text(), flags=re.MULTILINE)
    assert set(re.findall(r"\b(?:ksr|steelyard)_(?:measure|answer|request_route|reply)\b", text)) <= CALLBACKS.keys()


def test_the_names_of_tables_are_those_of_the_configuration(server) -> None:
    """A table that nobody makes would count nothing, without a word."""
    assert {LOAD, CLIENTS} == server.tables.keys()
    assert [0, 0] == [server.tables[name].initval for name in (LOAD, CLIENTS)]
    assert server.tables[CLIENTS].autoexpire_s > 0


def test_the_shared_variables_are_those_of_the_configuration(server, monkeypatch) -> None:
    """And are read whenever they count, so that they can be changed while the proxy runs."""
    set_there = dict(re.findall(r'^modparam\("pv", "shvset", "(\w+)=\w:(\w+)"\)', CONFIG, re.MULTILINE))
    assert {"steelyard_target": "95", "steelyard_clients": "any"} == set_there
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    node = server.script = build(server.ksr)
    Load(server.ksr).publish_report("TEXT eps=0", 1000.0)
    query = Message(
        "OPTIONS", "sip:127.0.0.1", for_us=True, headers={"Endpoint-Load-Metrics-Request": "TEXT"}, source="192.0.2.1"
    )
    told = []
    for clients, target in (("any", 95), ("198.51.100.0/24", 80), ("192.0.2.0/24", "70")):
        server.shared_variables |= {"steelyard_clients": clients, "steelyard_target": target}
        [answer] = server.receive(query)
        told.append((bool(answer.headers), node._reporter._target_utilization()))
    assert [(True, 0.95), (False, 0.8), (True, 0.7)] == told


def test_processes_do_not_share_their_random_numbers(server) -> None:
    """Workers forked from one state would all refuse the same."""
    node = build(server.ksr)
    drawn = set()
    for rank in range(3):
        node._rng.seed(1)
        assert 0 == node.child_init(rank)
        drawn.add(node._rng.random())
    assert 3 == len(drawn)


@pytest.mark.parametrize("field", ["method", "call_id", "uri", "to_tag"])
def test_a_request_that_cannot_be_read_is_left_to_whoever_routes_it(server, field) -> None:
    """A native configuration goes on, this one answers 400; it is no error."""
    node = server.script = build(server.ksr)
    with server.at_hand(Message(**{field: "\udcff"})):
        assert 1 == node.steelyard_answer(None)
    server.receive(Message(**{field: "sip:\udcff@192.0.2.9"}))
    assert ([400], []) == ([answer.status for answer in server.answers], server.errors())


@pytest.fixture
def full(server) -> FakeKamailio:
    """Return a proxy that refuses all that it may refuse."""
    server.script = build(server.ksr)
    Load(server.ksr).publish_overload(99, Feedback(99, 1000, (5, 1), Algorithm.LOSS))
    server.script._scripted._mix.ordinary_percent = 1.0
    server.script._scripted._rng.random = lambda: 0.0
    return server


@pytest.mark.parametrize("method", ["ACK", "CANCEL"])
def test_s9_ack_and_cancel_are_never_refused(full, method) -> None:
    """RFC 7200 section 5.3.2: an ACK has no answer, a CANCEL ends work."""
    assert [503] == [answer.status for answer in full.receive(Message(uri="sip:bob@192.0.2.9"))]
    full.answers.clear()
    full.receive(Message(method, "sip:bob@192.0.2.9"))
    assert 1 == Load(full.ksr).refused()
    assert [] == [answer for answer in full.answers if answer.status == 503]


def test_s9_a_refusal_names_no_time(full) -> None:
    """A Retry-After would keep every request away at once, and bring all of them back at once."""
    [answer] = full.receive(Message("MESSAGE"))
    assert (503, ()) == (answer.status, answer.headers)


def test_s9_a_retransmission_of_what_is_served_is_not_refused(full) -> None:
    """Its first copy was let in: it gets that one's answer."""
    load, request = Load(full.ksr), Message("MESSAGE", "sip:bob@192.0.2.9")
    load.publish_overload(0, Feedback(0, 0, (4, 1), Algorithm.LOSS))
    full.receive(request)
    load.publish_overload(99, Feedback(99, 1000, (6, 1), Algorithm.LOSS))
    assert [] == full.receive(request)
    assert (1, 0, 1) == (len(full.sent), load.refused(), full.retransmitted)
