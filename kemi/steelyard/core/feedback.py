"""
Overload feedback as SIP carries it: the parameters oc, oc-algo, oc-validity and oc-seq of the topmost Via.

A client offers with `;oc;oc-algo="loss"`; a server answers `;oc=20;oc-algo="loss";oc-validity=1000;oc-seq=17.00002`.
Reads and writes both; does not know what follows from either, or how a header gets into a message.
Source: RFC 7339 sections 4 and 9 for the parameters, RFC 7415 for the algorithm "rate".
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DEFAULT_VALIDITY_MS: Final = 500  # RFC 7339 section 4.3
MOST_LOSS: Final = 100  # percent

# The two fields of `1*12DIGIT "." 1*5DIGIT`, each read as a whole number as it stands, so that 17.9 is before 17.10 and
# 17.00010 is 17.10. A server that writes decimals and cuts their trailing zeros is misread, but only within a second.
Seq = tuple[int, int]

_NAMES: Final = frozenset({"oc", "oc-validity", "oc-seq", "oc-algo"})
_MAX_DIGITS: Final = 9
_DIGITS: Final = re.compile(rf"[0-9]{{1,{_MAX_DIGITS}}}")
_SEQ: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,5}))?")  # section 4.4 calls it an integer: the dot may be missing
# A separator and what follows it up to the next one. Nothing in it can fail once begun, so that it never goes back.
_PIECE: Final = re.compile(r'([,;]?)((?:[^",;]+|"(?:[^"\\]+|\\.)*"?)*)', re.DOTALL)

_MAY_OFFER: Final = re.compile(r";\s*oc\s*(?:[;,=]|$)", re.IGNORECASE)  # hardly any request needs the closer look


class Algorithm(StrEnum):
    """How a client sheds: a share of its requests, or all above so many a second."""

    LOSS = "loss"
    RATE = "rate"


class BadFeedback(ValueError):
    """What a server sent that cannot be feedback; says which parameter and why."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a server asks of a client."""

    oc: int  # percent to shed with loss, requests per second to send with rate
    validity_ms: int  # 0: stop shedding
    seq: Seq | None
    algorithm: Algorithm


def top_parameters(header: str) -> dict[str, str | None]:
    """
    Return the parameters of the first Via of a header's body, which may hold several.

    Names are in lower case, values without their quotes and with their escapes as they stand; None where there is no
    value. The first of several of one name counts. Takes any text, in time that is linear in its length.
    """
    found: dict[str, str | None] = {}
    for name, value in _top(header):
        found.setdefault(name, value)
    return found


def offers_loss(header: str) -> bool:
    """Say whether the sender of a request, whose Via is the header's first, offers loss; quick where it does not."""
    return _MAY_OFFER.search(header) is not None and Algorithm.LOSS in (offers(header) or ())


def offers(header: str) -> tuple[str, ...] | None:
    """
    Return the algorithms that a client offers in its Via, in its order of preference; None when it offers nothing.

    A client that names none means loss, which every client must know. An oc with a value is no offer.
    """
    parameters = top_parameters(header)
    if "oc" not in parameters or parameters["oc"]:
        return None
    return _listed(parameters.get("oc-algo")) or (Algorithm.LOSS.value,)


def read_feedback(header: str, offered: Collection[Algorithm]) -> Feedback | None:
    """
    Read what a server's response says of overload.

    Args:
        header: body of the response's topmost Via header.
        offered: the algorithms that the request offered.

    Returns:
        The feedback, with oc 0 where it says stop, since oc is disregarded then; None when nothing is said, or only how
        long it would be valid.

    Raises:
        BadFeedback: a parameter that cannot be, stands there twice or names what was not offered.

    Source: RFC 7339 sections 4 and 5.7.
    """
    parameters = _once(header)
    validity = parameters.get("oc-validity")
    validity_ms = _number("oc-validity", validity) if validity else DEFAULT_VALIDITY_MS
    text = parameters.get("oc")
    if validity_ms == 0:
        text = "0"
    if not text:
        return None
    oc = _number("oc", text)
    algorithm = _algorithm(parameters.get("oc-algo"), offered)
    if algorithm is Algorithm.LOSS and oc > MOST_LOSS:
        raise BadFeedback(f"oc={_shown(text)}: expected at most {MOST_LOSS} percent")
    seq = _seq(parameters["oc-seq"] or "") if "oc-seq" in parameters else None
    return Feedback(oc, validity_ms, seq, algorithm)


def write_feedback(feedback: Feedback) -> str:
    """Return Via parameters that say this; oc-seq in fixed width, so that it sorts alike as a decimal and as a pair."""
    seq = "" if feedback.seq is None else f";oc-seq={feedback.seq[0]}.{feedback.seq[1]:05d}"
    return f';oc={feedback.oc};oc-algo="{feedback.algorithm}";oc-validity={feedback.validity_ms}{seq}'


def write_offer(algorithms: Sequence[Algorithm]) -> str:
    """
    Return the Via parameters by which a client offers algorithms, the preferred one first.

    Raises:
        ValueError: loss is not among them, which RFC 7339 section 4.2 demands.
    """
    if Algorithm.LOSS not in algorithms:
        raise ValueError("an offer must contain loss")
    return f';oc;oc-algo="{",".join(algorithms)}"'


def strip(header_value: str) -> str:
    """Return a Via header's body without the parameters of this module, in all its Vias; the rest byte for byte."""
    kept = []
    for separator, piece in _pieces(header_value):
        if separator == ";" and _name(piece) in _NAMES:
            kept.append(piece[len(piece.rstrip()) :])  # the space before a comma or a line's end is not the parameter's
        else:
            kept.append(separator + piece)
    return "".join(kept)


def split_first(header: str) -> tuple[str, str]:
    """Cut a Via header's body into its first Via and the rest, which begins with the comma or is empty."""
    end = 0
    for separator, piece in _pieces(header):
        if separator == ",":
            break
        end += len(separator) + len(piece)
    return header[:end], header[end:]


def _pieces(header: str) -> Iterator[tuple[str, str]]:
    """Cut a body at the commas and semicolons outside quotes; all put together again is the body."""
    for match in _PIECE.finditer(header):
        yield match[1], match[2]


def _name(piece: str) -> str:
    return piece.partition("=")[0].strip().lower()


def _top(header: str) -> Iterator[tuple[str, str | None]]:
    for separator, piece in _pieces(header):
        if separator == ",":
            return
        if separator == ";":
            _, equals, value = piece.partition("=")
            yield _name(piece), _unquoted(value.strip()) if equals else None


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _once(header: str) -> dict[str, str | None]:
    """Return the topmost Via's overload parameters; none of them may be there twice."""
    found: dict[str, str | None] = {}
    for name, value in _top(header):
        if name not in _NAMES:
            continue
        if name in found:
            raise BadFeedback(f"{name}={_shown(value or '')}: stands there twice")
        found[name] = value
    return found


def _number(name: str, text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise BadFeedback(f"{name}={_shown(text)}: expected a whole number of at most {_MAX_DIGITS} digits")
    return int(text)


def _seq(text: str) -> Seq:
    match = _SEQ.fullmatch(text)
    if match is None:
        raise BadFeedback(f"oc-seq={_shown(text)}: expected at most 12 digits, a dot and at most 5 digits")
    return int(match[1]), int(match[2] or 0)


def _listed(text: str | None) -> tuple[str, ...]:
    names = (name.strip().lower() for name in (text or "").split(","))
    return tuple(name for name in names if name)


def _algorithm(text: str | None, offered: Collection[Algorithm]) -> Algorithm:
    names = _listed(text)
    if not names:
        return Algorithm.LOSS
    if len(names) > 1 or names[0] not in offered:
        wanted = " or ".join(offered)
        raise BadFeedback(f"oc-algo={_shown(text or '')}: expected one of what was offered, {wanted}")
    return Algorithm(names[0])


def _shown(text: str) -> str:
    """Return a stranger's text fit for a log line."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:40])
    return repr(shown if len(text) <= 40 else shown + "...")
