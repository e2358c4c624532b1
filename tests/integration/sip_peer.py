"""A SIP peer in a thread, caller and called in one: keeps what it was sent and answers as a test says."""

import contextlib
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self

from lab.process import await_condition

OFFER = ';oc;oc-algo="loss"'  # as a client sends it that knows the one algorithm


@dataclass(frozen=True)
class Message:
    """A SIP message as it came over the wire."""

    text: str
    lines: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, data: bytes) -> "Message":
        """Read a datagram; folded headers are not expected."""
        text = data.decode()
        return cls(text, text.partition("\r\n\r\n")[0].split("\r\n"))

    @property
    def method(self) -> str:
        """The request's method, empty for a response."""
        return "" if self.status else self.lines[0].split(" ")[0]

    @property
    def status(self) -> int:
        """The response's status, 0 for a request."""
        return int(self.lines[0].split(" ")[1]) if self.lines[0].startswith("SIP/2.0 ") else 0

    def headers(self, name: str) -> list[str]:
        """Return the values of all headers of a name."""
        wanted = name.lower() + ":"
        return [line[len(wanted) :].strip() for line in self.lines[1:] if line.lower().startswith(wanted)]

    def header(self, name: str) -> str:
        """Return the first of them, empty when there is none."""
        return next(iter(self.headers(name)), "")

    @property
    def via(self) -> str:
        """The topmost Via."""
        return self.header("Via")


def reply(request: Message, status: int, *lines: str, feedback: str | None = None, tag: str = "peer") -> str:
    """Return a response; `feedback` takes the place of the offer in the topmost Via."""
    vias = request.headers("Via")
    if feedback is not None:
        vias[0] = re.sub(r';oc;oc-algo="[^"]*"', feedback, vias[0])
    to = request.header("To")
    rows = [f"SIP/2.0 {status} As Told", *(f"Via: {via}" for via in vias)]
    rows += [f"Record-Route: {route}" for route in request.headers("Record-Route")]
    rows += [f"From: {request.header('From')}", f"To: {to}" if "tag=" in to or status == 100 else f"To: {to};tag={tag}"]
    rows += [f"Call-ID: {request.header('Call-ID')}", f"CSeq: {request.header('CSeq')}", *lines, "Content-Length: 0"]
    return "\r\n".join(rows) + "\r\n\r\n"


Answers = Callable[[Message], Iterable[str]]


def ok(request: Message) -> Iterable[str]:
    """Answer everything with 200."""
    return () if request.method == "ACK" else (reply(request, 200),)


class Peer:
    """A UDP socket of ours."""

    _numbers = itertools.count(1)

    def __init__(self, answers: Answers = ok) -> None:
        """Open it and begin to answer."""
        self.answers = answers
        self.got: list[Message] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def run(self) -> "Peer":
        """Begin to answer."""
        self._thread.start()
        return self

    @property
    def uri(self) -> str:
        """Its address as a destination."""
        return f"sip:127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket, which ends the thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                data, source = self._socket.recvfrom(65535)
            except OSError:
                return
            if not data:
                return
            message = Message.read(data)
            self.got.append(message)
            if message.method:
                for text in self.answers(message):
                    with contextlib.suppress(OSError):  # the test has ended
                        self._socket.sendto(text.encode(), source)

    def requests(self, method: str) -> list[Message]:
        """Return the requests of a method, without retransmissions."""
        seen: dict[str, Message] = {}
        for message in list(self.got):
            if message.method == method:
                seen.setdefault(message.via, message)
        return list(seen.values())

    def responses(self, call_id: str) -> list[Message]:
        """Return the responses to a request of ours."""
        return [m for m in list(self.got) if m.status and m.header("Call-ID") == call_id]

    def send(self, port: int, method: str = "MESSAGE", *lines: str, via: str = "", uri: str = "", **fields: str) -> str:
        """Send a request and return its Call-ID; `via` is added to our Via, `fields`: to, call_id, cseq, branch."""
        number = next(self._numbers)
        call_id = fields.get("call_id") or f"{self.port}-{number}"
        branch = fields.get("branch") or f"z9hG4bK-{self.port}-{number}"
        rows = [
            f"{method} {uri or f'sip:service@127.0.0.1:{port}'} SIP/2.0",
            f"Via: SIP/2.0/UDP 127.0.0.1:{self.port};branch={branch}{via}",
            f"From: <sip:peer@127.0.0.1:{self.port}>;tag=1",
            f"To: {fields.get('to') or '<sip:service@localhost>'}",
            f"Call-ID: {call_id}",
            f"CSeq: {fields.get('cseq') or '1'} {method}",
            f"Contact: <sip:peer@127.0.0.1:{self.port}>",
            *([] if any(line.startswith("Max-Forwards") for line in lines) else ["Max-Forwards: 70"]),
            *lines,
            "Content-Length: 0",
        ]
        self._socket.sendto(("\r\n".join(rows) + "\r\n\r\n").encode(), ("127.0.0.1", port))
        return call_id

    def ask(self, port: int, method: str = "MESSAGE", *lines: str, **fields: str) -> Message:
        """Send a request and return its final response."""
        fields["call_id"] = call_id = fields.get("call_id") or f"{self.port}-ask-{next(self._numbers)}"
        fields["branch"] = fields.get("branch") or f"z9hG4bK-{self.port}-{next(self._numbers)}"
        sent_s = time.monotonic()
        self.send(port, method, *lines, **fields)

        def answered() -> bool:
            nonlocal sent_s
            if time.monotonic() - sent_s > 1:  # a datagram may be lost where too many come
                sent_s = time.monotonic()
                self.send(port, method, *lines, **fields)
            return any(m.status >= 200 and m.header("CSeq") == cseq for m in self.responses(call_id))

        cseq = f"{fields.get('cseq') or '1'} {method}"
        await_condition(answered, f"answer to {method}", 15)
        return next(m for m in self.responses(call_id) if m.status >= 200 and m.header("CSeq") == cseq)

    def ask_many(self, port: int, count: int, *lines: str, at_once: int = 20, **fields: str) -> list[int]:
        """Send so many requests, some of them at once, and return their statuses."""
        calls: list[str] = []
        for start in range(0, count, at_once):
            new = [self.send(port, "MESSAGE", *lines, **fields) for _ in range(min(at_once, count - start))]
            calls += new
            await_condition(
                lambda new=new: all(any(m.status >= 200 for m in self.responses(call)) for call in new), "answers", 8
            )
            self.got = [m for m in self.got if m.method or m.header("Call-ID") in calls[-at_once:] or m.status >= 200]
        finals = {m.header("Call-ID"): m.status for m in self.got if m.status >= 200}
        return [finals[call] for call in calls]


class TcpPeer:
    """A destination by TCP: takes connections, keeps the requests and answers them on the same connection."""

    def __init__(self, answers: Answers = ok) -> None:
        """Listen."""
        self.answers = answers
        self.got: list[Message] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listener.getsockname()[1]

    def run(self) -> "TcpPeer":
        """Begin to take connections."""
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    @property
    def uri(self) -> str:
        """Its address as a destination."""
        return f"sip:127.0.0.1:{self.port};transport=tcp"

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close everything, which ends the threads."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def requests(self, method: str) -> list[Message]:
        """Return the requests of a method."""
        return [message for message in list(self.got) if message.method == method]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while received := connection.recv(65536):
                data += received
                while b"\r\n\r\n" in data:  # requests with a body are not expected
                    head, _, data = data.partition(b"\r\n\r\n")
                    message = Message.read(head.lstrip() + b"\r\n\r\n")
                    if not message.method:
                        continue
                    self.got.append(message)
                    for text in self.answers(message):
                        connection.sendall(text.encode())


def parameters(via: str) -> dict[str, str]:
    """Return the overload parameters of a Via."""
    return {
        name: value.strip('"') for name, value in re.findall(r";(oc(?:-\w+)?)(?:=(\"[^\"]*\"|[^;,]*))?(?=[;,]|$)", via)
    }
