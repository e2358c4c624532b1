"""
A Kamailio to test against: a script's callbacks on one side, callers, destinations, timers and dispatcher on the other.

A test plays what is outside of the server and reads what left it. Does not know sockets or time: a test sets `now_s`.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.edge import fake_sip
from tests.edge.fake_sip import Answer, Message, Ping, Sent, Transaction, Unsendable
from tests.fake_ksr import FakeKSR, Htable, Mqueue, read_queues, read_tables

# What is of the message at hand.
AT_HAND: Final = (
    *("message", "route", "transaction", "uri", "next_hop", "uri_is_new", "branch_index", "branch_flags", "flags"),
    *("reply_code", "armed", "avps", "xavps", "via_flag", "lumps", "reply_lines"),
)

DISPATCHER_FLAGS: Final = {0: "AX", 1: "IX", 4: "DX", 8: "AP"}


class FakeKamailio:
    """The server: its state, and the world outside as a test plays it."""

    def __init__(self, config: str, dispatcher_list: Path | None = None) -> None:
        """Take the tables and queues of a kamailio.cfg, and the file that dispatcher reads."""
        self.script: Any = None  # whose methods are the callbacks
        self.now_s = 1_700_000_000
        self.tables = dict(read_tables(config))
        self.queues = dict(read_queues(config))
        self.parameters = dict(re.findall(r'python_exec\("(\w+)", "([^"]+)"\)', config))  # by callback
        self.log: list[tuple[str, str]] = []
        self.sent: list[Sent] = []  # what left, in order
        self.cancels: list[str] = []  # next hops that were sent a CANCEL
        self.answers: list[Answer] = []
        self.passed_on: Message | None = None  # the last reply, as it went on
        self.retransmitted = 0  # answers repeated for retransmissions
        self.record_routed: list[str] = []  # Call-IDs
        self.routes_taken_off: list[str] = []  # Call-IDs
        self.acknowledged: list[Transaction] = []  # by an ACK for a negative answer
        self.unsendable: dict[str, Unsendable] = {}
        self.while_sending: Callable[[Transaction], None] = lambda _: None  # what happens beside t_relay
        self.held_by_another_worker: set[str] = set()  # Via branches
        self.begun_by_another_worker: set[str] = set()  # Via branches, between the script's look and its t_newtran
        self.transactions: dict[tuple[str, str], Transaction] = {}
        self.dispatcher = Dispatcher(dispatcher_list)
        self.rpc_body = ""
        self.message = _faked()
        self.route = "request"
        self.uri = self.next_hop = ""
        self.uri_is_new = False
        self.branch_index = self.branch_flags = self.flags = 0
        self.reply_code = 0
        self.owes_error = 0  # what tm answers a request that could not be sent with when the script has not done so
        self.armed: dict[str, Any] = {}
        self.transaction: Transaction | None = None
        self.avps: dict[str, list[str | int]] = {}
        self.xavps: dict[str, str] = {}
        self.via_flag = False
        self.lumps: list[fake_sip.Lump] = []
        self.unchangeable = False  # msg_apply_changes fails
        self.reply_lines: list[str] = []
        self.local: list[Ping] = []  # requests of our own that left
        self.version = "5.6.3"
        self.passed = 0  # requests that kamailio.cfg has sent on by itself
        self.shared_variables: dict[str, int | str] = {}
        self._pings = 0
        self.htable = Htable(self.tables, lambda: self.now_s)
        models = {
            "": fake_sip.Core(self),
            "pv": fake_sip.Pv(self),
            "hdr": fake_sip.Hdr(self),
            "htable": self.htable,
            "pvx": fake_sip.Pvx(self),
            "corex": fake_sip.Corex(self),
            "textops": fake_sip.Textops(self),
            "textopsx": fake_sip.Textopsx(self),
            "mqueue": Mqueue(self.queues),
            "tm": fake_sip.Tm(self),
            "tmx": fake_sip.Tmx(self),
            "sl": fake_sip.Sl(self),
            "rr": fake_sip.Rr(self),
            "maxfwd": fake_sip.Maxfwd(self),
            "sanity": fake_sip.Sanity(self),
            "jsonrpcs": Jsonrpcs(self),
        }
        self.ksr = FakeKSR(models)

    # --- the world ---

    def receive(self, request: Message) -> list[Answer]:
        """Let the script serve a request; return the answers that left meanwhile."""
        before = len(self.answers)
        with self.at_hand(request):
            self.script.ksr_request_route(request)
            transaction = self.transaction
            if self.owes_error and transaction is not None and not transaction.status:
                self.answer_in(transaction, self.owes_error, "")
        return self.answers[before:]

    def reply(self, sent: Sent, status: int, **headers: str) -> list[Answer]:
        """Let a reply to a request that left arrive."""
        transaction = sent.transaction
        assert transaction is not None, "an ACK has no reply"
        before = len(self.answers)
        request = transaction.request
        reply = Message(request.method, "", request.call_id, status=status)
        reply.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if sent.on_reply:
            with self.at_hand(reply, "reply", transaction):
                self.branch_index, self.branch_flags = sent.number, sent.branch_flags
                self.call(sent.on_reply)
                reply.headers = self.outgoing_headers()
        self.passed_on = reply
        late = transaction.status >= 200 or sent.last_status >= 200
        # A 200 to INVITE is passed on after another final answer, but not after a failure of its own branch.
        answers_call = 200 <= status < 300 and request.method == "INVITE"
        if status < 300 and (not late or (answers_call and (transaction.status >= 200 or sent.last_status < 300))):
            sent.last_status = status
            if status != 100:
                self.answer_in(transaction, status, "")
        elif status >= 300 and not late:
            self._end(sent, status)
        return self.answers[before:]

    def call(self, name: str) -> None:
        """Run a callback for the message at hand, with the parameter that kamailio.cfg gives it."""
        form = self.parameters.get(name)
        values = [] if form is None else [re.sub(r"\$\w+(\(\w+\))?", lambda pv: self._text(pv[0]), form)]
        getattr(self.script, name)(self.message, *values)

    def _text(self, name: str) -> str:
        value = self.ksr.pv.get(name)
        return "<null>" if value is None else str(value)

    def time_out(self, sent: Sent) -> list[Answer]:
        """Let the time of a request that left run out: tm makes a 408 of it, which no reply callback sees."""
        assert sent.last_status < 200, "it was answered"
        before = len(self.answers)
        self._end(sent, 408)
        return self.answers[before:]

    def ping(self, uri: str) -> Ping:
        """Let dispatcher ping a destination."""
        self._pings += 1
        ping = Ping(uri, f"ping-{self._pings}")
        self._local(ping)
        return ping

    def send_local(self, method: str, uri: str, next_hop: str, headers: str) -> None:
        """Send a request that the script makes, with its callback for local requests run in between."""
        call_id = re.search(r"^Call-ID: (.*)\r$", headers, re.MULTILINE)
        assert call_id, "the script names it"
        ping = Ping(next_hop or uri, call_id[1], method, text=headers)
        self._local(ping, uri)
        self.local.append(ping)

    def _local(self, ping: Ping, uri: str = "") -> None:
        with self.at_hand(Message(ping.method, uri or ping.uri, ping.call_id), "local"):
            ping.dropped = self.script.ksr_local_request(self.message) < 0  # as kamailio.cfg reads it
            ping.on_reply = self.armed.get("on_reply", "")
            ping.timeout_ms = self.armed.get("fr_ms", (0, 0))[1]
            ping.headers, ping.offer, ping.avps = self.outgoing_headers(), self.offer(), self.avps

    def pong(self, ping: Ping, status: int, *, source: str = "127.0.0.1", to_tag: str = "", **headers: Any) -> None:
        """Let a reply to a request of our own arrive."""
        reply = Message(ping.method, "", ping.call_id, status=status, source=source, to_tag=to_tag)
        reply.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.at_hand(reply, "reply"):
            self.avps = ping.avps
            getattr(self.script, ping.on_reply)(reply)

    def offer(self) -> str:
        """Return what our Via of the request at hand says beside its branch."""
        children = reversed(self.xavps.items())  # the server writes the last one first
        return "".join(f";{name}={value}" for name, value in children) if self.via_flag else ""

    def outgoing_headers(self) -> fake_sip.Headers:
        """Return the headers of the message at hand as they leave."""
        return fake_sip.changed(self.message.headers, self.lumps)

    @contextmanager
    def at_hand(self, message: Message, route: str = "request", transaction: Transaction | None = None) -> Iterator:
        """Make a message the one that the script reads, and the one before it again afterwards."""
        before = {name: getattr(self, name) for name in AT_HAND}
        self.xavps = transaction.xavps if transaction else {}
        self.via_flag = transaction.via_flag if transaction else False
        self.lumps, self.reply_lines = list(transaction.lumps) if route == "failure" and transaction else [], []
        self.message, self.route, self.transaction = message, route, transaction
        self.uri, self.next_hop, self.uri_is_new = message.uri, "", route == "request"
        self.branch_index = self.branch_flags = self.reply_code = 0
        self.flags = transaction.flags if transaction else 0
        self.owes_error = 0
        self.armed, self.avps = {}, transaction.avps if transaction else {}
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def errors(self) -> list[str]:
        """Return what was logged as an error."""
        return [text for level, text in self.log if level == "err"]

    # --- what tm does beside the script ---

    def answer_in(self, transaction: Transaction, status: int, reason: str) -> None:
        """Send an answer of a transaction to its caller."""
        transaction.status = max(transaction.status, status)
        request = transaction.request
        via = next(iter(fake_sip.headers_of(request, "Via")), "")
        self.answers.append(Answer(status, reason, request.method, request.call_id, stateful=True, via=via))

    def _end(self, sent: Sent, status: int) -> None:
        """Take a final negative reply: wait for other branches, else run the failure callback, else pass it on."""
        transaction = sent.transaction
        assert transaction is not None
        sent.last_status, sent.stored = status, True
        if any(b.last_status < 200 for b in transaction.branches):
            return
        count = len(transaction.branches)
        picked = _picked(transaction)
        if picked.on_failure:
            transaction.on_failure = ""  # a callback that arms none is not called again
            with self.at_hand(transaction.request, "failure", transaction):
                self.reply_code = picked.last_status
                getattr(self.script, picked.on_failure)(transaction.request)
        if transaction.status >= 200:
            return
        added = transaction.branches[count:]
        for branch in transaction.branches[:count] if added else []:
            branch.stored = False  # tm's failure_reply_mode 3
        if any(b.last_status < 200 for b in added):
            return
        if added:
            self.answer_in(transaction, 500, "Server Internal Error")
        else:
            status = picked.last_status
            self.answer_in(transaction, 500 if status == 503 else status, "")


def _faked() -> Message:
    """Return the message that a process without one sees."""
    return Message("OPTIONS", "sip:you@kamailio.org", "faked")


def _picked(transaction: Transaction) -> Sent:
    def order(branch: Sent) -> int:
        status = branch.last_status
        of_class = {3: 3000, 4: 4000, 5: 5000, 6: 1000}[status // 100]
        return of_class + status % 100 + (100 if status // 100 == 4 and status not in (401, 407, 415, 420, 484) else 0)

    return min((b for b in transaction.branches if b.stored), key=order)


class Dispatcher:
    """Dispatcher's list: URI -> flags, read from its file at each reload."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.set_id = 1
        self.flags: dict[str, str] = {}
        self.reloads = 0
        self.fails = ""  # the message of an error to answer every call with

    def call(self, method: str, params: list[Any]) -> Any:
        """Do what an RPC command says; LookupError says why not."""
        if self.fails:
            raise LookupError(self.fails)
        if method == "dispatcher.reload":
            assert self.path is not None
            rows = [line.split() for line in self.path.read_text().splitlines() if line and not line.startswith("#")]
            self.flags = {uri: DISPATCHER_FLAGS[int(flags)] for _, uri, flags, _ in rows}
            self.reloads += 1
            return "Ok. Dispatcher successfully reloaded."
        if method == "dispatcher.set_state":
            state, set_id, uri = params
            if uri not in self.flags or set_id != self.set_id:
                raise LookupError("State Update Failed")
            self.flags[uri] = state.upper().ljust(2, "X")
            return "Ok. Dispatcher state updated."
        assert method == "dispatcher.list", f"RPC {method} is not modelled"
        if not self.flags:
            raise LookupError("No Destination Sets")
        targets = [{"DEST": {"URI": u, "FLAGS": f, "PRIORITY": 0}} for u, f in self.flags.items()]
        return {"NRSETS": 1, "RECORDS": [{"SET": {"ID": self.set_id, "TARGETS": targets}}]}


class Jsonrpcs(fake_sip.Model):
    """The module jsonrpcs, through which the control process commands dispatcher."""

    def exec(self, text: str) -> int:
        request = json.loads(text)
        dispatcher = self._k.dispatcher
        answer = {"jsonrpc": "2.0", "id": request["id"]}
        try:
            answer["result"] = dispatcher.call(request["method"], request.get("params", []))
        except LookupError as error:
            answer["error"] = {"code": 500, "message": str(error)}
        self._k.rpc_body = json.dumps(answer)
        return 1
