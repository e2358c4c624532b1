"""
SIP as a script sees it in Kamailio: the message at hand, its variables and headers, transactions and their branches.

The models of the modules core, pv, hdr, tm, tmx, sl, rr, maxfwd and sanity, as far as FakeKSR exports them. Their state
is FakeKamailio's. Does not know SIP's syntax.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tests.edge.fake_kamailio import FakeKamailio

E_SCRIPT: Final = -10  # tm: the transaction has been begun already
NOT_SENT: Final = -4  # tm: and no answer is made of that


Headers = dict[str, str | list[str]]  # several of one name as a list


@dataclass(frozen=True)
class Append:
    """A header to come."""

    name: str
    value: str


@dataclass(frozen=True)
class Remove:
    """All headers of a name, to go."""

    name: str


@dataclass(frozen=True)
class Replace:
    """The first place of a text among the headers, to be another one."""

    old: str
    new: str


Lump = Append | Remove | Replace  # a change of a message, in force once it is sent on; what is read is as it came


class Unsendable(Enum):
    """Why a request cannot be sent somewhere."""

    UNRESOLVED = "no address or no socket for it: the attempt takes no branch"
    REFUSED = "the socket refuses: the attempt has taken a branch"


@dataclass
class Message:
    """A request, or with a status a reply, as far as the script can see it."""

    method: str = "INVITE"
    uri: str = "sip:bob@example.com"
    call_id: str = "call-1"
    branch: str = "z9hG4bK-1"  # of the caller's Via: what tells a retransmission from a new request
    to_tag: str = ""
    headers: Headers = field(default_factory=dict)
    source: str = "127.0.0.1"
    routed: bool = False  # its Route led here
    for_us: bool = False  # its Request-URI is the server's own address
    sane: bool = True
    max_forwards: int = 70
    status: int = 0


@dataclass(eq=False)
class Sent:
    """One request that left: a branch of a transaction, or an ACK without one."""

    uri: str  # the next hop
    method: str
    number: int = 0
    transaction: "Transaction | None" = None
    on_reply: str = ""
    on_failure: str = ""
    no_response_ms: int = 0
    branch_flags: int = 0
    last_status: int = 0
    stored: bool = False  # its final reply may still be picked
    reached: bool = True
    offer: str = ""  # what was put into our Via
    headers: Headers = field(default_factory=dict)


@dataclass(eq=False)
class Transaction:
    """A request in progress."""

    request: Message
    avps: dict[str, list[str | int]]  # each value lies over the ones set before it
    branches: list[Sent] = field(default_factory=list)
    on_reply: str = ""
    on_failure: str = ""
    fr_ms: tuple[int, int] = (0, 0)
    status: int = 0  # of the last answer
    cancelled: bool = False
    answers_by_itself: bool = True
    xavps: dict[str, str] = field(default_factory=dict)
    via_flag: bool = False  # as it was when the transaction began, as are
    lumps: list[Lump] = field(default_factory=list)
    flags: int = 0


@dataclass(frozen=True)
class Answer:
    """One reply that went to a caller."""

    status: int
    reason: str
    method: str
    call_id: str
    stateful: bool
    via: str = ""  # the caller's, as the answer has it
    headers: tuple[str, ...] = ()  # lines appended


@dataclass
class Ping:
    """One request that the server makes itself."""

    uri: str
    call_id: str
    method: str = "OPTIONS"
    headers: Headers = field(default_factory=dict)  # added by the script
    text: str = ""  # the headers it was made with
    offer: str = ""
    avps: dict[str, list[str | int]] = field(default_factory=dict)
    dropped: bool = False
    on_reply: str = ""
    timeout_ms: int = 0


class Model:
    """One module of KSR, on the state of one server."""

    def __init__(self, kamailio: "FakeKamailio") -> None:
        self._k = kamailio


class Core(Model):
    """The functions of KSR itself."""

    def __init__(self, kamailio: "FakeKamailio") -> None:
        super().__init__(kamailio)
        for level in ("dbg", "info", "notice", "warn", "err", "crit"):
            setattr(self, level, lambda text, level=level: kamailio.log.append((level, text)))

    def is_myself_ruri(self) -> bool:
        return self._k.message.for_us

    def seturi(self, uri: str) -> bool:
        self._k.uri, self._k.uri_is_new = uri, True
        return True

    def setdsturi(self, uri: str) -> bool:
        self._k.next_hop = uri
        return True


class Pv(Model):
    """The module pv."""

    def get(self, name: str) -> str | int | None:
        k = self._k
        if match := re.fullmatch(r"\$avp\((\w+)\)", name):
            return k.avps[match[1]][-1] if k.avps.get(match[1]) else None
        if match := re.fullmatch(r"\$mq([kv])\((\w+)\)", name):
            fetched = k.queues[match[2]].fetched
            return (fetched["kv".index(match[1])] or None) if fetched else None
        if match := re.fullmatch(r"\$hdrc\((.+)\)", name):
            return len(headers_of(k.message, match[1]))
        if match := re.fullmatch(r"\$shtit(key|val)\((\w+)\)", name):
            return k.htable.iterated.get(match[2], (None, None))[["key", "val"].index(match[1])]
        if match := re.fullmatch(r"\$shv\((\w+)\)", name):
            return k.shared_variables.get(match[1], 0)
        contact = re.search(r"<([^>]*)>", str(k.message.headers.get("Contact", "")))
        user = re.fullmatch(r"sip:(?:([^@]*)@)?.*", k.uri)
        values: dict[str, str | int | None] = {
            "$rm": k.message.method,
            "$ci": k.message.call_id,
            "$ru": k.uri or None,
            "$rU": user[1] if user else None,
            "$du": k.next_hop or None,
            "$nh(u)": k.next_hop or k.uri or None,
            # As it was when the transaction began: where the first branch went if t_relay began it.
            "$T_req($nh(u))": k.transaction.branches[0].uri if k.transaction and k.transaction.branches else None,
            "$var(passed)": k.passed,
            "$tt": k.message.to_tag or None,
            "$rs": k.message.status or None,
            "$T_branch_idx": k.branch_index,
            "$bf": k.branch_flags,
            "$mf": k.flags,
            "$T_reply_code": k.reply_code,
            "$jsonrpl(body)": k.rpc_body or None,
            "$version(num)": k.version,
            "$si": k.message.source,
            "$(ct{nameaddr.uri})": contact[1] if contact else None,
        }
        assert name in values, f"pseudo-variable {name} is not modelled"
        return values[name]

    def gete(self, name: str) -> str | int:
        value = self.get(name)
        return "" if value is None else value

    def sets(self, name: str, value: str | int) -> bool:
        if name == "$bf":
            assert isinstance(value, int)
            self._k.branch_flags = value
            return True
        if name == "$mf":
            assert isinstance(value, int)
            k = self._k
            k.flags = value
            if k.transaction is not None:  # in a request route only t_relay takes them over, which comes later
                k.transaction.flags = value
            return True
        if name == "$var(passed)":
            assert isinstance(value, int)
            self._k.passed = value
            return True
        match = re.fullmatch(r"\$avp\((\w+)\)", name)
        assert match, f"setting {name} is not modelled"
        self._k.avps.setdefault(match[1], []).append(value)
        return True

    seti = sets

    def unset(self, name: str) -> bool:
        if self._k.avps.get(name[5:-1]):
            self._k.avps[name[5:-1]].pop()
        return True

    def is_null(self, name: str) -> bool:
        return self.get(name) is None


class Hdr(Model):
    """The module hdr."""

    def append(self, line: str) -> int:
        assert line.endswith("\r\n"), f"a header without CRLF breaks the message: {line!r}"
        name, _, value = line.partition(":")
        self._k.lumps.append(Append(name, value.strip()))
        return 1

    def append_to_reply(self, line: str) -> int:
        assert line.endswith("\r\n"), f"a header without CRLF breaks the message: {line!r}"
        self._k.reply_lines.append(line.strip())
        return 1

    def remove(self, name: str) -> int:
        self._k.lumps.append(Remove(name))
        return 1

    def get(self, name: str) -> str | None:
        return next(iter(headers_of(self._k.message, name)), None)

    def get_idx(self, name: str, index: int) -> str | None:
        found = headers_of(self._k.message, name)
        return found[index] if -len(found) <= index < len(found) else None

    def gete(self, name: str) -> str:
        return self.get(name) or ""

    def is_present(self, name: str) -> int:
        return 1 if self.get(name) is not None else -1


def headers_of(message: Message, name: str) -> list[str]:
    """Return all headers of a name."""
    values = (v for n, v in message.headers.items() if n.lower() == name.lower())
    return [text for value in values for text in (value if isinstance(value, list) else [value])]


class Pvx(Model):
    """The module pvx."""

    def xavp_child_sets(self, root: str, name: str, value: str) -> int:
        assert root == "via", "kamailio.cfg names it so"
        self._k.xavps[name] = value
        return 1


class Corex(Model):
    """The module corex."""

    def via_add_xavp_params(self, on: int) -> int:
        self._k.via_flag = bool(on)
        return 1


class Textops(Model):
    """The module textops."""

    def replace_hdrs_str(self, old: str, new: str, mode: str) -> int:
        assert mode == "f"
        self._k.lumps.append(Replace(old, new))
        return 1  # also when nothing matches


class Textopsx(Model):
    """The module textopsx."""

    def msg_apply_changes(self) -> int:
        k = self._k
        if k.route != "request" or k.unchangeable:
            return -1
        k.message.headers, k.lumps = changed(k.message.headers, k.lumps), []
        return 1


def changed(headers: Headers, lumps: list[Lump]) -> Headers:
    """Return the headers of a message as they are once it is sent on."""
    headers = dict(headers)
    for lump in lumps:
        if isinstance(lump, Remove):
            headers = {n: v for n, v in headers.items() if n.lower() != lump.name.lower()}
        elif isinstance(lump, Replace):
            _replace_first(headers, lump)
    for lump in lumps:
        if isinstance(lump, Append):
            before = headers.get(lump.name, [])
            headers[lump.name] = [*(before if isinstance(before, list) else [before]), lump.value]
    return {name: value[0] if isinstance(value, list) and len(value) == 1 else value for name, value in headers.items()}


def _replace_first(headers: Headers, lump: Replace) -> None:
    for name, value in headers.items():
        texts = value if isinstance(value, list) else [value]
        index = next((i for i, text in enumerate(texts) if lump.old in text), None)
        if index is not None:
            texts = [text.replace(lump.old, lump.new, 1) if i == index else text for i, text in enumerate(texts)]
            headers[name] = texts if isinstance(value, list) else texts[0]
            return


class Tm(Model):
    """The module tm."""

    def t_uac_send(self, method: str, uri: str, next_hop: str, _socket: str, headers: str, body: str) -> int:
        assert not body
        if (next_hop or uri) in self._k.unsendable:
            return -1
        self._k.send_local(method, uri, next_hop, headers)
        return 1

    def t_check_trans(self) -> int:
        k = self._k
        if k.route != "request":
            return 1
        message = k.message
        if message.method in ("ACK", "CANCEL"):
            invite = k.transactions.get((message.branch, "INVITE"))
            if invite is not None and message.method == "ACK":
                k.acknowledged.append(invite)
            if invite is not None:
                return 1 if message.method == "CANCEL" else 0
            calls = [t.request.call_id for t in k.transactions.values() if t.request.method == "INVITE"]
            answered = message.method == "ACK" and message.to_tag and message.call_id in calls
            return 1 if answered else -1
        if (message.branch, message.method) not in k.transactions:
            return -1
        k.retransmitted += 1
        return 0

    def t_newtran(self) -> int:
        k = self._k
        message = k.message
        if k.transaction is not None:
            return E_SCRIPT
        if message.method == "ACK":
            return 1
        if (message.branch, message.method) in k.transactions or message.branch in k.begun_by_another_worker:
            k.retransmitted += 1
            return 0
        k.transaction = Transaction(message, k.avps, xavps=k.xavps, via_flag=k.via_flag, lumps=list(k.lumps))
        k.transactions[message.branch, message.method] = k.transaction
        return 1

    def t_relay(self) -> int:
        k = self._k
        if k.message.method == "CANCEL":
            return self._cancel()
        if k.route == "failure":
            return 1 if self._forward() else -1
        begun = self.t_newtran()
        if begun == 0 or k.message.method == "ACK":
            return 1 if begun == 0 else self._forward_ack()
        if self._forward():
            return 1
        if k.transaction is not None and not k.transaction.answers_by_itself:
            return NOT_SENT
        k.owes_error = 477
        return -1

    def t_send_reply(self, status: int, reason: str) -> int:
        if self._k.message.method == "ACK":
            return -1
        self.t_newtran()
        return self.t_reply(status, reason)

    def t_reply(self, status: int, reason: str) -> int:
        transaction = self._k.transaction
        if transaction is None or transaction.status >= 200:
            return -1
        self._k.answer_in(transaction, status, reason)
        return 1

    def t_on_reply(self, name: str) -> int:
        return self._arm("on_reply", name)

    def t_on_failure(self, name: str) -> int:
        return self._arm("on_failure", name)

    def t_set_fr(self, invite_ms: int, first_reply_ms: int) -> int:
        return self._arm("fr_ms", (invite_ms, first_reply_ms))

    def t_set_disable_internal_reply(self, on: int) -> int:
        return self._arm("answers_by_itself", not on)

    def t_is_canceled(self) -> int:
        return 1 if self._k.transaction is not None and self._k.transaction.cancelled else -1

    def _arm(self, name: str, value: object) -> int:
        if name.startswith("on_") and value:
            assert hasattr(self._k.script, str(value)), f"{value} is no callback: it would poison the interpreter"
        if self._k.transaction is None:
            self._k.armed[name] = value
        else:
            setattr(self._k.transaction, name, value)
        return 1

    def _forward(self) -> bool:
        k = self._k
        transaction = k.transaction
        assert transaction is not None
        for name, value in k.armed.items():
            setattr(transaction, name, value)
        k.armed = {}
        uri, is_new, k.uri_is_new = k.next_hop or k.uri, k.uri_is_new, False
        k.while_sending(transaction)
        if transaction.cancelled or not is_new or k.unsendable.get(uri) is Unsendable.UNRESOLVED:
            return False
        t = transaction
        names = {"on_reply": t.on_reply, "on_failure": t.on_failure, "no_response_ms": t.fr_ms[1]}
        sent = Sent(uri, t.request.method, len(t.branches), t, **names, branch_flags=k.branch_flags)
        sent.offer, sent.headers = k.offer(), k.outgoing_headers()
        transaction.branches.append(sent)
        if uri in k.unsendable:
            sent.last_status, sent.reached = 408, False
            return False
        k.sent.append(sent)
        return True

    def _forward_ack(self) -> int:
        """Send an ACK on, unless it ends here because it is for a negative answer."""
        k = self._k
        uri = k.next_hop or k.uri
        if uri in k.unsendable:
            return -1
        if (k.message.branch, "INVITE") not in k.transactions:
            k.sent.append(Sent(uri, "ACK", offer=k.offer(), headers=k.outgoing_headers()))
        return 1

    def _cancel(self) -> int:
        k = self._k
        invite = k.transactions.get((k.message.branch, "INVITE"))
        if invite is None:
            return -1
        invite.cancelled = True
        pending = [b for b in invite.branches if b.last_status < 200]
        k.cancels += [b.uri for b in pending]
        if not pending and invite.status < 200:
            k.answer_in(invite, 487, "Request canceled")
        k.answers.append(Answer(200, "canceling", "CANCEL", k.message.call_id, stateful=True))
        return 1


class Tmx(Model):
    """The module tmx."""

    def t_precheck_trans(self) -> int:
        return 1 if self._k.message.branch in self._k.held_by_another_worker else -1


class Sl(Model):
    """The module sl."""

    def send_reply(self, status: int, reason: str) -> int:
        k = self._k
        if k.transaction is not None:
            return Tm(k).t_reply(status, reason)
        if k.message.method == "ACK":
            return -1
        via = next(iter(headers_of(k.message, "Via")), "")
        lines = tuple(k.reply_lines)
        k.answers.append(
            Answer(status, reason, k.message.method, k.message.call_id, stateful=False, via=via, headers=lines)
        )
        return 1


class Rr(Model):
    """The module rr."""

    def loose_route(self) -> int:
        if not self._k.message.routed:
            return -1
        self._k.routes_taken_off.append(self._k.message.call_id)
        return 1

    def record_route(self) -> int:
        self._k.record_routed.append(self._k.message.call_id)
        return 1


class Maxfwd(Model):
    """The module maxfwd."""

    def process_maxfwd(self, _limit: int) -> int:
        self._k.message.max_forwards -= 1
        return 1 if self._k.message.max_forwards >= 0 else -1


class Sanity(Model):
    """The module sanity."""

    def sanity_check(self, _message_checks: int, _uri_checks: int) -> int:
        if self._k.message.sane:
            return 1
        Sl(self._k).send_reply(400, "Bad Request")
        return 0
