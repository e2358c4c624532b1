"""The fake is tested too: by the assertions that Kamailio itself keeps, and for what it refuses."""

import pytest

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message, Unsendable
from tests.fake_ksr import EXPORTS
from tests.ksr_contract import (
    CONFIG,
    HEADERS,
    OWN_ARRIVES,
    OWN_STORY,
    REFUSED,
    STORY,
    STORY_ANSWER,
    STORY_ARRIVES,
    UNRESOLVED,
    WITH_REQUEST,
    WITHOUT_MESSAGE,
    Script,
)


@pytest.fixture
def server() -> FakeKamailio:
    """Return a server with the contract's tables and queues."""
    server = FakeKamailio(CONFIG)
    server.shared_variables |= {"contract_number": 95, "contract_text": "any"}
    return server


def pass_time(server):
    """Return a wait that moves the server's clock."""

    def wait(seconds):
        server.now_s += seconds

    return wait


@pytest.mark.parametrize("function", WITHOUT_MESSAGE, ids=lambda function: function.__name__)
def test_the_fake_keeps_what_kamailio_keeps(server, function) -> None:
    """Each assertion about tables, queues and arguments holds."""
    function(server.ksr, pass_time(server))


@pytest.mark.parametrize("function", WITH_REQUEST, ids=lambda function: function.__name__)
def test_the_fake_reads_requests_as_kamailio_does(server, function) -> None:
    """Each assertion about the request at hand holds."""
    request = Message("OPTIONS", "sip:probe@example.com", "contract", headers=dict(HEADERS))
    with server.at_hand(request):
        function(server.ksr, pass_time(server))


def test_the_fake_tells_the_story_that_kamailio_tells(server, tmp_path) -> None:
    """A call that fails its way through four destinations meets the same codes, branches and callbacks."""
    script = server.script = Script(server.ksr, pass_time(server), tmp_path / "outcome.json")
    server.unsendable = {UNRESOLVED: Unsendable.UNRESOLVED, REFUSED: Unsendable.REFUSED}
    headers = {"X-First": "sip:127.0.0.1:1", "X-Second": "sip:127.0.0.1:2", "X-Gone": "x"}
    server.receive(Message("INVITE", call_id="story", headers=headers))
    first = server.sent[0]
    server.reply(first, 100)
    server.reply(first, 404)
    server.reply(first, 404)
    server.reply(first, 200)
    server.reply(server.sent[1], 503)
    assert STORY == script._seen
    assert [STORY_ANSWER] == [answer.status for answer in server.answers]
    assert STORY_ARRIVES == [[s.offer, s.headers.get("X-Gone"), s.headers.get("X-New")] for s in server.sent]


def test_the_fake_sends_requests_of_its_own_as_kamailio_does(server, tmp_path) -> None:
    """The event runs before the call returns; what it set is found by the replies, and nothing else is."""
    script = server.script = Script(server.ksr, pass_time(server), tmp_path / "outcome.json")
    server.unsendable = {UNRESOLVED: Unsendable.UNRESOLVED}
    server.receive(Message("MESSAGE", headers={"X-First": "sip:127.0.0.1:1"}))
    [own] = server.local
    for _ in range(2):
        server.pong(own, 200, to_tag="b", Contact="<sip:b2bua@127.0.0.1:9>")
    assert OWN_STORY == script._seen
    assert OWN_ARRIVES == [own.offer, own.headers["X-New"]]


@pytest.mark.parametrize("name", ["ht_get", "sht_match_name", "_model2"])
def test_a_function_outside_the_allow_list_is_refused(server, name) -> None:
    """The fake has nothing that Kamailio's list of exports was not seen to have."""
    with pytest.raises(AttributeError, match="not exported"):
        getattr(server.ksr.htable, name)


def test_a_header_without_crlf_is_refused(server) -> None:
    """Kamailio would send it, and break the message: the fake is stricter."""
    with pytest.raises(AssertionError, match="CRLF"):
        server.ksr.hdr.append("X-Load: 1")
    assert 1 == server.ksr.hdr.append("X-Load: 1\r\n")


def test_a_callback_that_does_not_exist_is_refused(server) -> None:
    """Kamailio would take the name, and fail when the reply comes."""
    server.script = object()
    with server.at_hand(Message()), pytest.raises(AssertionError, match="ksr_typo"):
        server.ksr.tm.t_on_reply("ksr_typo")


def test_a_variable_that_is_not_modelled_is_refused(server) -> None:
    """A typing error in a pseudo-variable's name must not read as an empty value."""
    with pytest.raises(AssertionError, match="not modelled"):
        server.ksr.pv.get("$typo")


@pytest.mark.parametrize("module", EXPORTS)
def test_every_function_of_the_allow_list_is_modelled(server, module) -> None:
    """Nothing is listed that the fake cannot do."""
    owner = getattr(server.ksr, module) if module else server.ksr
    assert [] == [name for name in EXPORTS[module] if not callable(getattr(owner, name))]


def test_a_retransmission_meets_its_transaction(server) -> None:
    """The second copy of a request is found, its answer repeated, and no transaction begun for it."""
    tm = server.ksr.tm
    with server.at_hand(Message(branch="z9hG4bK-a")):
        assert -1 == tm.t_check_trans()
        assert 1 == tm.t_newtran()
    with server.at_hand(Message(branch="z9hG4bK-a")):
        assert 0 == tm.t_check_trans()
        assert 0 == tm.t_newtran()
    assert 2 == server.retransmitted
    with server.at_hand(Message(branch="z9hG4bK-b")):
        assert -1 == tm.t_check_trans()


def test_cancel_meets_its_invite_and_ends_it(server) -> None:
    """A CANCEL finds the INVITE of its branch, is answered, is sent after it, and stops further attempts."""
    tm = server.ksr.tm
    with server.at_hand(Message()):
        tm.t_newtran()
        server.ksr.setdsturi("sip:127.0.0.1:1")
        assert 1 == tm.t_relay()
    with server.at_hand(Message("CANCEL", branch="z9hG4bK-other")):
        assert -1 == tm.t_check_trans()
    with server.at_hand(Message("CANCEL")):
        assert 1 == tm.t_check_trans()
        assert 1 == tm.t_relay()
    assert ["sip:127.0.0.1:1"] == server.cancels
    assert [200] == [answer.status for answer in server.answers]
    with server.at_hand(Message(), "failure", server.sent[0].transaction):
        assert 1 == tm.t_is_canceled()
        server.ksr.seturi("sip:bob@example.com")
        assert -1 == tm.t_relay()


def test_dispatcher_reads_its_file_at_each_reload_and_forgets_states(tmp_path) -> None:
    """A reload takes flags from the file; set_state changes them until the next one."""
    path = tmp_path / "dispatcher.list"
    server = FakeKamailio(CONFIG, path)
    path.write_text("# a comment\n1 sip:127.0.0.1:1 0 0\n1 sip:127.0.0.1:2 4 0\n")
    server.dispatcher.call("dispatcher.reload", [])
    assert {"sip:127.0.0.1:1": "AX", "sip:127.0.0.1:2": "DX"} == server.dispatcher.flags
    server.dispatcher.call("dispatcher.set_state", ["ip", 1, "sip:127.0.0.1:1"])
    assert "IP" == server.dispatcher.flags["sip:127.0.0.1:1"]
    server.dispatcher.call("dispatcher.reload", [])
    assert "AX" == server.dispatcher.flags["sip:127.0.0.1:1"]
