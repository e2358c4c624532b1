"""
What the edge relies on of Kamailio's API, as assertions that run against the fake and inside Kamailio.

Kamailio loads nothing but the standard library here, so this module imports nothing of the tests' own tools.
Measured with Kamailio 5.6.3; "mistake" marks what its source does not mean to do.
"""

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# What both sides are configured with, in kamailio.cfg's own words.
CONFIG = """
modparam("htable", "htable", "counts=>size=4;initval=0")
modparam("htable", "htable", "plain=>size=4")
modparam("htable", "htable", "notes=>size=4;autoexpire=7200")
modparam("htable", "htable", "clients=>size=4;autoexpire=3;initval=0")
modparam("htable", "timer_interval", 600)
modparam("mqueue", "mqueue", "name=facts;size=100")
modparam("mqueue", "mqueue", "name=small;size=2")
modparam("tm", "event_callback", "ksr_local_request")
modparam("pv", "shvset", "contract_number=i:95")
modparam("pv", "shvset", "contract_text=s:any")
xavp_via_params="via"
"""

Wait = Callable[[float], None]


def same(expected: object, actual: object) -> None:
    """Compare, and say what differs where no test runner would."""
    assert [expected, type(expected)] == [actual, type(actual)], f"expected {expected!r}, got {actual!r}"


def refuses(function: Callable[..., object], *arguments: object) -> None:
    """Check that a call is refused with the exception that Kamailio 5.6.3 raises for wrong arguments."""
    try:
        function(*arguments)
    except SystemError:
        return
    raise AssertionError(f"{arguments} were accepted")


# --- without a message ---


def counts_start_at_the_initial_value(ksr: Any, _wait: Wait) -> None:
    """A table with initval reads as that where a key is missing, and counts from there, below 0 too."""
    same(0, ksr.htable.sht_get("counts", "a"))
    same(1, ksr.htable.sht_inc("counts", "a"))
    same(2, ksr.htable.sht_inc("counts", "a"))
    same(2, ksr.htable.sht_get("counts", "a"))
    same(-1, ksr.htable.sht_dec("counts", "b"))
    same(0, ksr.htable.sht_get("counts", "c"))


def removed_keys_start_again(ksr: Any, _wait: Wait) -> None:
    """Removing a key succeeds whether it is there or not, and leaves the initial value."""
    ksr.htable.sht_inc("counts", "removed")
    same(1, ksr.htable.sht_rm("counts", "removed"))
    same(1, ksr.htable.sht_rm("counts", "removed"))
    same(0, ksr.htable.sht_get("counts", "removed"))
    same(1, ksr.htable.sht_inc("counts", "removed"))


def nothing_is_counted_without_initial_value(ksr: Any, _wait: Wait) -> None:
    """A table without initval answers -255 to a count of a missing key and stays as it was."""
    same(-255, ksr.htable.sht_inc("plain", "a"))
    same(-255, ksr.htable.sht_dec("plain", "a"))
    same(None, ksr.htable.sht_get("plain", "a"))
    same("", ksr.htable.sht_gete("plain", "a"))
    same(1, ksr.htable.sht_seti("plain", "a", 5))
    same(6, ksr.htable.sht_inc("plain", "a"))


def cells_hold_texts_or_numbers(ksr: Any, _wait: Wait) -> None:
    """A cell takes a text or a number, each in place of the other; a text cannot be counted."""
    same(1, ksr.htable.sht_sets("counts", "cell", "text"))
    same("text", ksr.htable.sht_get("counts", "cell"))
    same(-255, ksr.htable.sht_inc("counts", "cell"))
    same("text", ksr.htable.sht_get("counts", "cell"))
    same(1, ksr.htable.sht_seti("counts", "cell", 7))
    same(7, ksr.htable.sht_get("counts", "cell"))
    same(1, ksr.htable.sht_sets("counts", "cell", ""))
    same("", ksr.htable.sht_get("counts", "cell"))
    long = "x" * 200_000
    same(1, ksr.htable.sht_sets("counts", "cell", long))
    same(long, ksr.htable.sht_get("counts", "cell"))


def unknown_tables_answer_with_codes(ksr: Any, _wait: Wait) -> None:
    """A table that is not configured raises nothing: its calls answer with codes."""
    same(None, ksr.htable.sht_get("nowhere", "a"))
    same(-1, ksr.htable.sht_sets("nowhere", "a", "b"))
    same(-1, ksr.htable.sht_setxs("nowhere", "a", "b", 1))
    same(-255, ksr.htable.sht_inc("nowhere", "a"))
    same(-1, ksr.htable.sht_rm("nowhere", "a"))
    same(-1, ksr.htable.sht_setxi("nowhere", "a", 1, 1))
    same(-1, ksr.htable.sht_lock("nowhere", "a"))
    same(-1, ksr.htable.sht_unlock("nowhere", "a"))
    same(-1, ksr.htable.sht_reset("nowhere"))
    same(-1, ksr.htable.sht_iterator_start("unknown", "nowhere"))
    same(-1, ksr.htable.sht_iterator_next("unknown"))


def cells_expire_with_the_table_that_knows_time(ksr: Any, wait: Wait) -> None:
    """A cell lives as long as setxs says, in a table with autoexpire; others do not look at the time."""
    htable = ksr.htable
    same(1, htable.sht_setxs("notes", "brief", "text", 1))
    htable.sht_setxs("notes", "prolonged", "text", 1)
    htable.sht_setxs("notes", "prolonged", "text", 60)
    htable.sht_setxs("notes", "cut short", "text", 60)
    htable.sht_setxs("notes", "cut short", "text", 1)
    htable.sht_setxs("notes", "made usual", "text", 1)
    htable.sht_sets("notes", "made usual", "text")
    htable.sht_setxs("notes", "grown", "text", 60)
    htable.sht_setxs("notes", "grown", "longer text", 1)
    htable.sht_setxs("notes", "removed and grown", "text", 60)
    htable.sht_rm("notes", "removed and grown")
    htable.sht_setxs("notes", "removed and grown", "longer text", 1)
    htable.sht_setxs("plain", "brief", "text", 1)
    same("text", htable.sht_get("notes", "brief"))
    same("text", htable.sht_get("notes", "cut short"))
    wait(3.1)
    same(None, htable.sht_get("notes", "brief"))
    same("text", htable.sht_get("notes", "prolonged"))
    same(None, htable.sht_get("notes", "cut short"))
    same("text", htable.sht_get("notes", "made usual"))
    same("longer text", htable.sht_get("notes", "grown"))  # mistake: a text that outgrows its cell never expires
    same(None, htable.sht_get("notes", "removed and grown"))
    same("text", htable.sht_get("plain", "brief"))


def counts_expire_with_their_table(ksr: Any, wait: Wait) -> None:
    """A count that nobody adds to starts again; each addition renews it, and setxi gives it a time of its own."""
    htable = ksr.htable
    same(0, htable.sht_setxi("clients", "brief", 1, 1))  # mistake: not 1, as its siblings answer
    same(1, htable.sht_get("clients", "brief"))
    same(1, htable.sht_inc("clients", "left alone"))
    same(1, htable.sht_inc("clients", "renewed"))
    wait(2.1)
    same(2, htable.sht_inc("clients", "renewed"))
    wait(2.1)
    same(0, htable.sht_get("clients", "brief"))
    same(0, htable.sht_get("clients", "left alone"))
    same(2, htable.sht_get("clients", "renewed"))
    same(1, htable.sht_inc("clients", "left alone"))
    same(0, htable.sht_reset("clients"))  # not 1 either
    same(0, htable.sht_get("clients", "renewed"))


def locks_are_held_by_processes(ksr: Any, _wait: Wait) -> None:
    """A process that holds a cell's lock may use the cell, and lock it again; unlocking too often is nothing."""
    htable = ksr.htable
    same(1, htable.sht_lock("counts", "locked"))
    same(1, htable.sht_lock("counts", "locked"))
    same(1, htable.sht_inc("counts", "locked"))
    same(1, htable.sht_get("counts", "locked"))
    same(1, htable.sht_unlock("counts", "locked"))
    same(1, htable.sht_unlock("counts", "locked"))
    same(1, htable.sht_unlock("counts", "locked"))


def tables_can_be_walked(ksr: Any, _wait: Wait) -> None:
    """Each cell is met once, in any order, with its key and value; before, after and between there is nothing."""
    htable = ksr.htable
    htable.sht_reset("clients")
    same(1, htable.sht_iterator_start("walk", "clients"))
    same(-1, htable.sht_iterator_next("walk"))
    same(1, htable.sht_iterator_end("walk"))
    htable.sht_inc("clients", "number")
    htable.sht_sets("clients", "text", "words")
    same(1, htable.sht_iterator_start("walk", "clients"))
    same(None, ksr.pv.get("$shtitkey(walk)"))
    met = {}
    for _ in range(2):
        same(1, htable.sht_iterator_next("walk"))
        met[ksr.pv.get("$shtitkey(walk)")] = ksr.pv.get("$shtitval(walk)")
    same({"number": 1, "text": "words"}, met)
    same(-1, htable.sht_iterator_next("walk"))
    same(None, ksr.pv.get("$shtitkey(walk)"))
    same(None, ksr.pv.get("$shtitval(walk)"))
    same(1, htable.sht_iterator_next("walk"))  # mistake: it begins again
    same(1, htable.sht_iterator_end("walk"))
    same(-1, htable.sht_iterator_end("walk"))
    htable.sht_reset("clients")


def walks_meet_what_has_expired(ksr: Any, wait: Wait) -> None:
    """A cell stays to be met, with its last value, until a timer takes it out; reading it finds nothing."""
    htable = ksr.htable
    htable.sht_inc("clients", "expired")
    wait(4.1)
    same(0, htable.sht_get("clients", "expired"))
    htable.sht_iterator_start("walk", "clients")
    same(1, htable.sht_iterator_next("walk"))
    same("expired", ksr.pv.get("$shtitkey(walk)"))
    same(1, ksr.pv.get("$shtitval(walk)"))
    htable.sht_iterator_end("walk")


def shared_variables_are_texts_or_numbers(ksr: Any, _wait: Wait) -> None:
    """As the configuration sets them; 0 where nobody did."""
    same(95, ksr.pv.get("$shv(contract_number)"))
    same("any", ksr.pv.get("$shv(contract_text)"))
    same(0, ksr.pv.get("$shv(contract_unset)"))


def the_version_has_three_numbers(ksr: Any, _wait: Wait) -> None:
    """And is a text."""
    version = ksr.pv.gete("$version(num)")
    same([True] * 3, [number.isdecimal() for number in version.split(".")])


def queues_keep_their_order(ksr: Any, _wait: Wait) -> None:
    """What is added first is fetched first; an empty queue answers -2 and clears what was fetched."""
    same(-2, ksr.mqueue.mq_fetch("facts"))
    same(1, ksr.mqueue.mq_add("facts", "first", "a b"))
    same(1, ksr.mqueue.mq_add("facts", "second", ""))
    same(2, ksr.mqueue.mq_size("facts"))
    same(1, ksr.mqueue.mq_fetch("facts"))
    same("first", ksr.pv.get("$mqk(facts)"))
    same("a b", ksr.pv.get("$mqv(facts)"))
    same(1, ksr.mqueue.mq_fetch("facts"))
    same("second", ksr.pv.get("$mqk(facts)"))
    same(None, ksr.pv.get("$mqv(facts)"))
    same(-2, ksr.mqueue.mq_fetch("facts"))
    same(None, ksr.pv.get("$mqk(facts)"))
    same("", ksr.pv.gete("$mqv(facts)"))


def full_queues_drop_their_oldest(ksr: Any, _wait: Wait) -> None:
    """A queue of size 2 that is given a third item loses its first."""
    for key in ("first", "second", "third"):
        same(1, ksr.mqueue.mq_add("small", key, "x"))
    same(2, ksr.mqueue.mq_size("small"))
    same(1, ksr.mqueue.mq_fetch("small"))
    same("second", ksr.pv.get("$mqk(small)"))


def unknown_queues_answer_with_codes(ksr: Any, _wait: Wait) -> None:
    """A queue that is not configured raises nothing."""
    same(-1, ksr.mqueue.mq_add("nowhere", "a", "b"))
    same(-1, ksr.mqueue.mq_fetch("nowhere"))


def wrong_arguments_are_refused(ksr: Any, _wait: Wait) -> None:
    """Texts are no numbers, numbers no texts, integers have 32 bits, None and floats are nothing; then all goes on."""
    htable = ksr.htable
    refuses(htable.sht_inc, "counts", 1)
    refuses(htable.sht_sets, "counts", "a", None)
    refuses(htable.sht_seti, "counts", "a", "1")
    refuses(htable.sht_seti, "counts", "a", 1.0)
    refuses(htable.sht_seti, "counts", "a", 2**31)
    refuses(htable.sht_seti, "counts", "a", -(2**31) - 1)
    refuses(htable.sht_sets, "counts", "a", "zero\0inside")
    refuses(htable.sht_get, "counts")
    refuses(htable.sht_get, "counts", "a", "b")
    refuses(ksr.pv.get, None)
    same(1, htable.sht_seti("counts", "wide", 2**31 - 1))
    same(2**31 - 1, htable.sht_get("counts", "wide"))
    same(1, htable.sht_seti("counts", "wide", -(2**31)))
    same(-(2**31), htable.sht_get("counts", "wide"))


def unknown_functions_do_not_exist(ksr: Any, _wait: Wait) -> None:
    """A function or a module that is not exported has no attribute."""
    assert not hasattr(ksr.htable, "sht_no_such")
    assert not hasattr(ksr, "no_such_module")
    assert hasattr(ksr.htable, "sht_get")


# --- with a request at hand: OPTIONS sip:probe@example.com, Call-ID contract, no To tag, and HEADERS ---

# As surrogateescape decodes them; several of one name as a list.
HEADERS: dict[str, str | list[str]] = {
    "X-Many": ["one", "two, three"],
    "X-Word": "a b",
    "X-Bytes": ["é", "\udcff"],
    "X-Accent": "é",
    "X-Empty": "",
    "X-Gone": ["a", "b"],
}


def requests_can_be_read(ksr: Any, _wait: Wait) -> None:
    """A missing header or To tag is None, or empty with gete; header names have no case."""
    same("OPTIONS", ksr.pv.gete("$rm"))
    same("contract", ksr.pv.gete("$ci"))
    same("sip:probe@example.com", ksr.pv.gete("$ru"))
    same("probe", ksr.pv.gete("$rU"))
    same(None, ksr.pv.get("$tt"))
    same("", ksr.pv.gete("$tt"))
    same(True, ksr.pv.is_null("$tt"))
    same(None, ksr.pv.get("$du"))
    same(ksr.pv.get("$ru"), ksr.pv.get("$nh(u)"))
    same("a b", ksr.hdr.get("X-Word"))
    same("a b", ksr.hdr.get("x-word"))
    same(None, ksr.hdr.get("X-Missing"))
    same("", ksr.hdr.gete("X-Missing"))
    same(False, ksr.is_myself_ruri())


def texts_must_be_utf8(ksr: Any, _wait: Wait) -> None:
    """A header that is no UTF-8 cannot be read: Python raises, and the next call is none the worse."""
    same("é", ksr.hdr.get("X-Bytes"))
    same(2, ksr.pv.get("$hdrc(X-Bytes)"))
    try:
        ksr.hdr.get_idx("X-Bytes", 1)
    except UnicodeDecodeError:
        same("é", ksr.hdr.get("X-Accent"))
        return
    raise AssertionError("bytes that are no UTF-8 were read")


def headers_of_one_name_are_counted(ksr: Any, _wait: Wait) -> None:
    """By lines and from 0, from the end below 0; beyond either end there is None."""
    same(2, ksr.pv.get("$hdrc(x-many)"))
    same(0, ksr.pv.get("$hdrc(X-Missing)"))
    same(1, ksr.pv.get("$hdrc(X-Empty)"))
    same("", ksr.hdr.get("X-Empty"))
    same("one", ksr.hdr.get("X-Many"))
    wanted = ["one", "two, three", None, "two, three", "one", None]
    same(wanted, [ksr.hdr.get_idx("X-Many", index) for index in (0, 1, 2, -1, -2, -3)])
    same(None, ksr.hdr.get_idx("X-Missing", 0))


def the_sender_is_known_by_its_address(ksr: Any, _wait: Wait) -> None:
    """Without its port; a request without Contact has none."""
    same("127.0.0.1", ksr.pv.get("$si"))
    same("", ksr.pv.gete("$(ct{nameaddr.uri})"))


def what_is_changed_is_read_as_it_came(ksr: Any, _wait: Wait) -> None:
    """Until the changes are applied, in a request alone; replacing what is not there succeeds too."""
    same(1, ksr.hdr.remove("X-Gone"))
    same(1, ksr.hdr.remove("X-Missing"))
    same(1, ksr.hdr.append("X-New: 1\r\n"))
    same(1, ksr.textops.replace_hdrs_str("one", "1", "f"))
    same(1, ksr.textops.replace_hdrs_str("no such text", "x", "f"))
    read = lambda: [ksr.hdr.get(name) for name in ("X-Gone", "X-New", "X-Many")]  # noqa: E731
    same(["a", None, "one"], read())
    same(2, ksr.pv.get("$hdrc(X-Gone)"))
    same(1, ksr.textopsx.msg_apply_changes())
    same([None, "1", "1"], read())
    same(0, ksr.pv.get("$hdrc(X-Gone)"))
    same("two, three", ksr.hdr.get_idx("X-Many", 1))


def answers_take_headers(ksr: Any, _wait: Wait) -> None:
    """They go with the answer and are not read from the request."""
    same(1, ksr.hdr.append_to_reply("X-Load: 1\r\n"))
    same(None, ksr.hdr.get("X-Load"))


def next_hops_can_be_set(ksr: Any, _wait: Wait) -> None:
    """The next hop and the Request-URI are two things."""
    same(True, ksr.setdsturi("sip:127.0.0.1:9"))
    same("sip:127.0.0.1:9", ksr.pv.get("$du"))
    same("sip:127.0.0.1:9", ksr.pv.get("$nh(u)"))
    same("sip:probe@example.com", ksr.pv.get("$ru"))
    same(True, ksr.seturi("sip:other@example.com"))
    same("sip:other@example.com", ksr.pv.get("$ru"))
    ksr.seturi("sip:probe@example.com")


def variables_of_the_process_count(ksr: Any, _wait: Wait) -> None:
    """They begin with 0 and outlive the message, as numbers."""
    same(0, ksr.pv.get("$var(passed)"))
    same(True, ksr.pv.seti("$var(passed)", 3))
    same(3, ksr.pv.get("$var(passed)"))
    same(True, ksr.pv.seti("$var(passed)", 0))


def avps_keep_texts(ksr: Any, _wait: Wait) -> None:
    """An AVP that was never set is None, or empty with gete; setting one again lays the new value over the old one."""
    same(None, ksr.pv.get("$avp(contract)"))
    same("", ksr.pv.gete("$avp(contract)"))
    same(True, ksr.pv.sets("$avp(contract)", "d1 sip:127.0.0.1:5060 2.0 123 1 s 0"))
    same("d1 sip:127.0.0.1:5060 2.0 123 1 s 0", ksr.pv.get("$avp(contract)"))
    same(True, ksr.pv.sets("$avp(contract)", "again"))
    same("again", ksr.pv.gete("$avp(contract)"))
    same(True, ksr.pv.unset("$avp(contract)"))
    same("d1 sip:127.0.0.1:5060 2.0 123 1 s 0", ksr.pv.get("$avp(contract)"))
    same(True, ksr.pv.unset("$avp(contract)"))
    same(None, ksr.pv.get("$avp(contract)"))


def hops_are_counted_down(ksr: Any, _wait: Wait) -> None:
    """A request with hops left passes; no route led it here."""
    assert ksr.maxfwd.process_maxfwd(70) > 0
    assert ksr.rr.loose_route() < 0


WITHOUT_MESSAGE = [
    counts_start_at_the_initial_value,
    removed_keys_start_again,
    nothing_is_counted_without_initial_value,
    cells_hold_texts_or_numbers,
    unknown_tables_answer_with_codes,
    cells_expire_with_the_table_that_knows_time,
    counts_expire_with_their_table,
    locks_are_held_by_processes,
    tables_can_be_walked,
    walks_meet_what_has_expired,
    shared_variables_are_texts_or_numbers,
    the_version_has_three_numbers,
    queues_keep_their_order,
    full_queues_drop_their_oldest,
    unknown_queues_answer_with_codes,
    wrong_arguments_are_refused,
    unknown_functions_do_not_exist,
]
WITH_REQUEST = [
    requests_can_be_read,
    texts_must_be_utf8,
    headers_of_one_name_are_counted,
    the_sender_is_known_by_its_address,
    what_is_changed_is_read_as_it_came,
    answers_take_headers,
    next_hops_can_be_set,
    variables_of_the_process_count,
    avps_keep_texts,
    hops_are_counted_down,
]


# --- a call that fails its way through four destinations ---

UNRESOLVED = "sip:[::1]:9"  # no socket for its address family
REFUSED = "sip:255.255.255.255:9"  # sending there needs a permission

# What the callbacks of Script note, in order. The destination at `first` answers 100, twice 404 and 200, `second` 503.
STORY: list[list[Any]] = [
    ["new", -1, -1],
    ["begun", 1, True, -1],
    ["kept", "text"],
    ["unresolved", False],
    ["used up", False],
    ["refused", False],
    ["sent to first", True],
    ["reply", 100, 1, 4, "text"],  # the unresolved attempt took no branch, the refused one did; its flags are its own
    ["reply", 404, 1, 4, "text"],
    ["failure", 404, "text", -1],
    ["used up", False],
    ["sent to second", True],
    ["reply", 404, 1, 4, "later"],  # the retransmission of a final reply reaches the callback
    ["reply", 200, 1, 4, "later"],  # so does what contradicts it, which the caller never sees
    ["reply", 503, 2, 5, "later"],
    ["failure", 503, "later", -1],  # the first destination's 404 is forgotten
]
# What arrives at `first` and at `second`: of our own Via what follows its branch, and two headers.
STORY_ARRIVES = [
    [';oc;oc-algo="loss"', None, "of the beginning"],
    ["", None, "of the beginning"],  # the offer is made anew for each attempt, the changes of the beginning are kept
]
SENDS = ["nothing", "unresolved", "used up", "refused", "sent to first", "sent to second"]  # their branch flags
STORY_ANSWER = 500  # a 503 from further on does not leave as one


# A request of the script's own; its destination answers 200 twice.
OWN_CALL_ID = "own"
OWN_STORY: list[list[Any]] = [
    ["local", "tm:local-request", "INVITE", OWN_CALL_ID, None, None, None],  # the event has nothing of its sender's
    ["own sent", 1, "of the sender", None],  # nor the sender of the event's
    ["not to be sent", -1],  # and no event for it
    ["own reply", "INVITE", 200, OWN_CALL_ID, "of the event", "b", "sip:b2bua@127.0.0.1:9"],
    ["own reply", "INVITE", 200, OWN_CALL_ID, "of the event", "b", "sip:b2bua@127.0.0.1:9"],
]
OWN_ARRIVES = [';oc;oc-algo="loss"', "of the event"]


class Script:
    """The callbacks of either side."""

    def __init__(self, ksr: Any, wait: Wait, outcome: Path) -> None:
        """Take the API, a way to let seconds pass, and the file to write what happened to."""
        self._ksr = ksr
        self._wait = wait
        self._outcome = outcome
        self._results: dict[str, str] = {}
        self._seen: list[list[Any]] = []

    def child_init(self, _rank: int) -> int:
        """Nothing to do."""
        return 0

    def ksr_request_route(self, _msg: object) -> int:
        """Run the assertions for an OPTIONS, tell the story for an INVITE, send a request of our own for a MESSAGE."""
        method = self._ksr.pv.get("$rm")
        self._guarded({"OPTIONS": self._run_all, "INVITE": self._tell, "MESSAGE": self._send_own}.get(method, list))
        return 1

    def ksr_local_request(self, _msg: object, event: str = "tm:local-request") -> int:
        """Complete a request of our own."""
        self._guarded(lambda: self._on_local(event))
        return 1

    def ksr_own_reply(self, _msg: object) -> int:
        """Note a reply to it."""
        names = ("$rm", "$rs", "$ci", "$avp(own)", "$tt", "$(ct{nameaddr.uri})")
        self._guarded(lambda: self._note("own reply", *map(self._get, names)))
        return 1

    def ksr_reply(self, _msg: object) -> int:
        """Note a reply."""
        names = ("$rs", "$T_branch_idx", "$bf", "$avp(word)")
        self._guarded(lambda: self._note("reply", *map(self._get, names)))
        return 1

    def ksr_failure(self, _msg: object) -> int:
        """Note a failure, and send the request on once."""
        self._guarded(self._on_failure)
        return 1

    def _run_all(self) -> None:
        for function in WITHOUT_MESSAGE + WITH_REQUEST:
            try:
                function(self._ksr, self._wait)
                self._results[function.__name__] = "ok"
            except Exception:  # noqa: BLE001 - told by the file
                self._results[function.__name__] = traceback.format_exc()
        self._ksr.sl.send_reply(200, "OK")
        self._write()

    def _tell(self) -> None:
        ksr, tm = self._ksr, self._ksr.tm
        self._note("new", ksr.tmx.t_precheck_trans(), tm.t_check_trans())
        ksr.hdr.remove("X-Gone")
        ksr.hdr.append("X-New: of the beginning\r\n")
        ksr.pvx.xavp_child_sets("via", "oc;oc-algo", '"loss"')
        ksr.pv.sets("$avp(word)", "text")
        self._note("begun", tm.t_newtran(), tm.t_newtran() < 0, tm.t_is_canceled())
        self._note("kept", self._get("$avp(word)"))
        tm.t_set_disable_internal_reply(1)
        self._send("unresolved", UNRESOLVED)
        self._send("used up", ksr.hdr.get("X-First"), renew=False)
        self._send("refused", REFUSED)
        ksr.corex.via_add_xavp_params(1)
        self._send("sent to first", ksr.hdr.get("X-First"))

    def _send_own(self) -> None:
        ksr = self._ksr
        uri = ksr.hdr.get("X-First")
        headers = (
            f"From: <sip:a@example.com>;tag=a\r\nTo: <{uri}>\r\nCall-ID: {OWN_CALL_ID}\r\n"
            "CSeq: 1 INVITE\r\nMax-Forwards: 0\r\nContact: <sip:a@example.com>\r\n"
        )
        ksr.pv.sets("$avp(outer)", "of the sender")
        sent = ksr.tm.t_uac_send("INVITE", uri, uri, "", headers, "")
        self._note("own sent", sent, self._get("$avp(outer)"), self._get("$avp(own)"))
        self._note("not to be sent", ksr.tm.t_uac_send("INVITE", UNRESOLVED, UNRESOLVED, "", headers, ""))

    def _on_local(self, event: str) -> None:
        ksr = self._ksr
        ksr.hdr.append("X-New: of the event\r\n")
        ksr.pvx.xavp_child_sets("via", "oc;oc-algo", '"loss"')
        ksr.corex.via_add_xavp_params(1)
        ksr.pv.sets("$avp(own)", "of the event")
        ksr.tm.t_on_reply("ksr_own_reply")
        ksr.tm.t_set_fr(5000, 5000)
        seen = (self._get("$avp(outer)"), self._get("$tt"), ksr.hdr.get("X-New"))
        self._note("local", event, self._get("$rm"), self._get("$ci"), *seen)

    def _on_failure(self) -> None:
        again = self._get("$avp(word)") == "text"
        self._note("failure", self._get("$T_reply_code"), self._get("$avp(word)"), self._ksr.tm.t_is_canceled())
        if again:
            self._ksr.pv.sets("$avp(word)", "later")
            self._send("used up", self._ksr.hdr.get("X-Second"), renew=False)
            self._send("sent to second", self._ksr.hdr.get("X-Second"))

    def _send(self, word: str, uri: str, *, renew: bool = True) -> None:
        if renew:
            self._ksr.seturi(self._ksr.pv.get("$ru"))
        self._ksr.setdsturi(uri)
        self._ksr.pv.seti("$bf", SENDS.index(word))
        self._ksr.tm.t_on_reply("ksr_reply")
        self._ksr.tm.t_on_failure("ksr_failure")
        self._ksr.tm.t_set_fr(0, 5000)
        self._note(word, self._ksr.tm.t_relay() > 0)

    def _get(self, name: str) -> Any:
        return self._ksr.pv.get(name)

    def _note(self, *what: object) -> None:
        self._seen.append(list(what))
        self._write()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception:  # noqa: BLE001 - told by the file
            self._note("exception", traceback.format_exc())

    def _write(self) -> None:
        part = self._outcome.with_suffix(".part")
        part.write_text(json.dumps({"results": self._results, "seen": self._seen}))
        part.replace(self._outcome)
