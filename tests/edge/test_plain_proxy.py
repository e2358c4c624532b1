"""A proxy without wishes of its own: what goes where, and what is answered here."""

from pathlib import Path

import pytest
from steelyard.edge.kamailio import Kamailio
from steelyard.edge.plain_proxy import PlainProxy

from tests.edge.fake_kamailio import FakeKamailio
from tests.edge.fake_sip import Message, Unsendable

CONFIG = Path(__file__).resolve().parents[2] / "examples" / "load-report.cfg"
BOB = "sip:bob@192.0.2.9"


class Script:
    """The callbacks around it."""

    def __init__(self, server: FakeKamailio) -> None:
        """Build the proxy."""
        self._proxy = PlainProxy(Kamailio(server.ksr))
        self.replies = 0

    def ksr_request_route(self, _msg: object) -> int:
        """Serve a request."""
        self._proxy.on_request()
        return 1

    def ksr_reply(self, _msg: object) -> int:
        """Count a reply."""
        self.replies += 1
        return 1


@pytest.fixture
def server() -> FakeKamailio:
    """Return a proxy."""
    server = FakeKamailio(CONFIG.read_text())
    server.script = Script(server)
    return server


def statuses(server: FakeKamailio, *args, **fields) -> list[int]:
    """Let a request arrive; return how it was answered."""
    return [answer.status for answer in server.receive(Message(*args, **fields))]


@pytest.mark.parametrize(("method", "stays"), [("INVITE", 1), ("SUBSCRIBE", 1), ("MESSAGE", 0), ("OPTIONS", 0)])
def test_a_request_goes_where_it_says(server, method, stays) -> None:
    """RFC 3261 section 16.6: the proxy stays in the dialogs that begin here, and hears every reply."""
    assert [] == statuses(server, method, BOB)
    assert [BOB] == [sent.uri for sent in server.sent]
    assert stays == len(server.record_routed)
    assert [404] == [answer.status for answer in server.reply(server.sent[0], 404)]
    assert 1 == server.script.replies


@pytest.mark.parametrize("method", ["BYE", "INVITE", "ACK"])
def test_a_request_within_a_dialog_follows_its_route(server, method) -> None:
    """An ACK too."""
    assert [] == statuses(server, method, BOB, to_tag="x", routed=True)
    assert [BOB] == [sent.uri for sent in server.sent]


@pytest.mark.parametrize("method", ["BYE", "INVITE"])
def test_a_request_within_a_dialog_that_led_elsewhere_is_answered_481(server, method) -> None:
    """The proxy has no part in it."""
    assert [481] == statuses(server, method, BOB, to_tag="x")
    assert [] == server.sent


@pytest.mark.parametrize(
    "fields", [{"to_tag": "x"}, {"max_forwards": 0}, {"sane": False}, {"for_us": True, "uri": "sip:127.0.0.1"}]
)
def test_an_ack_that_leads_nowhere_goes_nowhere(server, fields) -> None:
    """And is never answered."""
    assert [] == statuses(server, **{"method": "ACK", "uri": BOB, **fields})
    assert [] == server.sent


def test_a_retransmission_is_absorbed(server) -> None:
    """Also while another worker holds the first copy."""
    statuses(server, uri=BOB)
    statuses(server, uri=BOB)
    server.held_by_another_worker.add("z9hG4bK-2")
    statuses(server, uri=BOB, branch="z9hG4bK-2")
    assert 1 == len(server.sent)


def test_a_call_is_cancelled_where_it_is(server) -> None:
    """RFC 3261 section 16.10."""
    statuses(server, uri=BOB)
    assert [200] == statuses(server, "CANCEL", BOB)
    assert [BOB] == server.cancels


@pytest.mark.parametrize("why", list(Unsendable))
def test_a_request_that_cannot_be_sent_is_answered(server, why) -> None:
    """Once: by the server where it does so by itself."""
    server.unsendable[BOB] = why
    assert [500] == statuses(server, uri=BOB)


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 200), ("INVITE", 404), ("MESSAGE", 404)])
def test_what_is_for_the_proxy_itself_is_answered_by_it(server, method, status) -> None:
    """It knows no users, and is there."""
    assert [status] == statuses(server, method, "sip:127.0.0.1", for_us=True)


@pytest.mark.parametrize(("method", "answered"), [("INVITE", [400]), ("ACK", [])])
def test_a_request_that_cannot_be_read_goes_no_further(server, method, answered) -> None:
    """Anybody can send one: it is no error."""
    assert answered == statuses(server, method, "sip:\udcff@192.0.2.9")
    assert ([], []) == (server.sent, server.errors())
