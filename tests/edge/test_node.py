"""The guard around every callback, and the wiring."""

import random
import re
from pathlib import Path

import pytest
from steelyard.edge.environment import BadEnvironment
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.node import ControlNode, build, clock_us

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message
from tests.edge.rig import Rig, entry, in_order, uri

HOME = Path(__file__).resolve().parents[2]

# Callback -> what Kamailio calls it with.
CALLBACKS = {
    "child_init": (1,),
    "ksr_request_route": (None,),
    "ksr_new_request": (None,),
    "ksr_new_call": (None,),
    "ksr_without_route": (None,),
    "ksr_reply": (None, "200 0 0 <null>"),
    "ksr_plain_reply": (None, "200 0 0 <null>"),
    "ksr_failure": (None,),
    "ksr_local_request": (None,),
    "ksr_pong": (None,),
    "ksr_tick": (None,),
    "ksr_probe_tick": (None,),
    "ksr_probe_reply": (None,),
    "ksr_dialog_reply": (None,),
}


class Broken:
    """A part whose every method raises."""

    def __getattr__(self, name: str) -> object:  # noqa: D105 - the class says it
        def broken(*_: object) -> None:
            raise RuntimeError(f"broken {name}")

        return broken


@pytest.fixture
def broken(server) -> ControlNode:
    """Return a node none of whose parts works."""
    rng = random.Random(1)  # noqa: S311 - traffic
    server.script = ControlNode(Kamailio(server.ksr), Broken(), Broken(), Broken(), Broken(), rng)
    return server.script


def callbacks(node: ControlNode) -> set[str]:
    """Return the names that Kamailio may call."""
    return {name for name in dir(node) if name.startswith("ksr_") or name == "child_init"}


# --- what Kamailio relies on ---


def test_every_callback_is_tested_here(rig) -> None:
    """A new one comes with its arguments."""
    assert CALLBACKS.keys() == callbacks(rig.node)


@pytest.mark.parametrize("name", CALLBACKS)
def test_every_callback_returns_an_integer_when_all_is_well(rig, name) -> None:
    """Kamailio 5.6.3 poisons the next call of the process when it gets None."""
    rig.node._control = type("Control", (), {"tick": lambda _: None})()
    rig.publish(entry(1))
    with rig.server.at_hand(rig.request()):
        assert isinstance(getattr(rig.node, name)(*CALLBACKS[name]), int)


@pytest.mark.parametrize("name", CALLBACKS.keys() - {"child_init"})
def test_every_callback_returns_an_integer_when_all_is_broken(server, broken, name) -> None:
    """Whatever raises is logged with its traceback and the request's Call-ID."""
    with server.at_hand(Message(call_id="call-of-trouble")):
        assert 1 == getattr(broken, name)(*CALLBACKS[name])
    [error] = server.errors()
    assert "call-of-trouble" in error
    assert "RuntimeError: broken" in error
    server.log.clear()


def test_every_callback_that_kamailio_cfg_names_exists(rig) -> None:
    """A name that nobody answers to poisons the process."""
    config = (HOME / "kamailio.cfg").read_text()
    names = set(re.findall(r"\bksr_\w+", re.sub(r"^#(?!!).*$", "", config, flags=re.MULTILINE)))
    assert {"ksr_tick", "ksr_local_request"} <= names
    assert names <= callbacks(rig.node)


@pytest.mark.parametrize(("method", "part"), [("OPTIONS", "_pinger"), ("INVITE", "_prober"), ("BYE", "")])
def test_a_request_of_the_server_is_completed_by_its_method(rig, method, part) -> None:
    """A ping by one part, a probe by another; the BYE that ends a call by mistake is left as it is."""
    called = []
    for name in ("_pinger", "_prober"):
        double = type("Part", (), {"on_local_request": lambda _, *uris, name=name: not called.append((name, *uris))})()
        setattr(rig.node, name, double)
    with rig.server.at_hand(Message(method, uri(1)), "local"):
        assert 1 == rig.node.ksr_local_request(None)
    assert {"_pinger": [("_pinger", uri(1))], "_prober": [("_prober",)], "": []}[part] == called


@pytest.mark.parametrize(
    ("name", "part", "does"),
    [
        ("ksr_probe_tick", "_prober", "tick"),
        ("ksr_probe_reply", "_prober", "on_reply"),
        ("ksr_dialog_reply", "_router", "on_dialog_reply"),
        ("ksr_pong", "_pinger", "on_pong"),
    ],
)
def test_each_callback_reaches_its_part(rig, name, part, does) -> None:
    """And no other."""
    called = []
    for each in ("_router", "_pinger", "_prober", "_control"):
        setattr(rig.node, each, Broken())
    setattr(rig.node, part, type("Part", (), {does: lambda _: called.append(does)})())
    getattr(rig.node, name)(*CALLBACKS[name])
    assert [does] == called


def test_there_is_no_catch_all(rig) -> None:
    """A name that nobody defined must not look defined."""
    assert not hasattr(rig.node, "ksr_no_such_callback")


# --- the guard ---


def test_a_request_that_breaks_us_is_answered_500(server, broken) -> None:
    """And the next one is served."""
    assert broken is server.script
    assert [500] == [answer.status for answer in server.receive(Message())]
    assert 1 == len(server.errors())
    server.log.clear()
    rig = Rig(server)
    rig.publish(entry(1))
    assert uri(1) == rig.send().uri


def test_an_ack_that_breaks_us_is_not_answered(server, broken) -> None:
    """An ACK is never answered."""
    assert broken is server.script
    assert [] == server.receive(Message("ACK"))
    server.log.clear()


def test_a_request_that_breaks_us_halfway_is_answered_once(rig) -> None:
    """Its transaction has begun: the answer is that transaction's."""
    rig.publish(entry(1))
    rig.router._picker = Broken()
    [answer] = rig.server.receive(rig.request())
    assert (500, True) == (answer.status, answer.stateful)
    rig.server.log.clear()


def test_a_reply_that_breaks_us_still_reaches_the_caller(rig) -> None:
    """What could not be counted is not lost."""
    rig.publish(entry(1))
    sent = rig.send()
    sent.transaction.avps["attempt0"].append("no attempt")
    assert [200] == [answer.status for answer in rig.server.reply(sent, 200)]
    assert 1 == len(rig.server.errors())
    rig.server.log.clear()


def test_a_failure_that_breaks_us_is_the_answer(rig) -> None:
    """The caller gets the failure itself, a 503 as 500."""
    rig.publish(*in_order(2))
    sent = rig.send()
    sent.transaction.avps["attempt0"].append("no attempt")
    assert [500] == [answer.status for answer in rig.server.reply(sent, 503)]
    rig.server.log.clear()


def test_an_error_without_readable_call_id_is_logged_all_the_same(server, broken) -> None:
    """The guard must not break over what it says."""
    with server.at_hand(Message(call_id="\udcff")):
        assert 1 == broken.ksr_reply(None, "200 0 0 <null>")
    [error] = server.errors()
    assert "unreadable" in error
    server.log.clear()


# --- processes ---


def test_processes_do_not_share_their_random_numbers(rig) -> None:
    """Workers forked from one state would all pick the same."""
    drawn = set()
    for rank in range(3):
        rig.node._rng.seed(1)
        assert 0 == rig.node.child_init(rank)
        drawn.add(rig.node._rng.random())
    assert 3 == len(drawn)


def test_the_clock_is_monotonic_and_counts_microseconds() -> None:
    """One clock for all processes of the machine."""
    first = clock_us()
    assert isinstance(first, int)
    assert first <= clock_us()


# --- the wiring ---


@pytest.fixture
def run_dir(monkeypatch, tmp_path) -> Path:
    """Return the run folder that the environment names."""
    monkeypatch.setenv("STEELYARD_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("STEELYARD_REDIS_URL", f"unix://{tmp_path}/none.sock")
    monkeypatch.setenv("STEELYARD_SET", "4")
    return tmp_path / "run"


def test_building_writes_what_dispatcher_reads_at_its_start(server, run_dir) -> None:
    """An empty list in a folder that is made: dispatcher does not start without the file."""
    build(server.ksr, HOME)
    assert [] == [x for x in (run_dir / "dispatcher.list").read_text().splitlines() if not x.startswith("#")]


def test_a_built_node_serves(run_dir) -> None:
    """Without Redis, a list or anything else: 503, and the log says what is missing."""
    server = FakeKamailio((HOME / "kamailio.cfg").read_text(), run_dir / "dispatcher.list")
    server.script = build(server.ksr, HOME)
    assert 0 == server.script.child_init(1)
    assert 1 == server.script.ksr_tick(None)
    assert [503] == [answer.status for answer in server.receive(Message())]
    words = " ".join(text for _, text in server.log)
    assert "store lost" in words
    assert "STEELYARD_REDIS_URL" in words
    assert [] == server.errors()


def test_building_stops_at_a_wrong_variable(server, run_dir, monkeypatch) -> None:
    """The start fails with the variable's name, before anything is written."""
    monkeypatch.setenv("STEELYARD_SET", "one")
    with pytest.raises(BadEnvironment, match="STEELYARD_SET"):
        build(server.ksr, HOME)
    assert not run_dir.exists()


@pytest.mark.usefixtures("run_dir")
def test_building_stops_at_a_redis_url_that_only_the_client_finds_wrong(server, monkeypatch) -> None:
    """Its options are the client's matter; the error is the same, without the password."""
    monkeypatch.setenv("STEELYARD_REDIS_URL", "redis://:secret@127.0.0.1/0?max_connections=many")
    with pytest.raises(BadEnvironment, match="STEELYARD_REDIS_URL") as caught:
        build(server.ksr, HOME)
    assert "secret" not in str(caught.value)
