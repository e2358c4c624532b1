"""What kamailio.cfg must not lose."""

import re
from pathlib import Path

import pytest
from steelyard.core import load_report
from steelyard.edge import attempt, gate, kamailio, pinger, shared

CONFIG = (Path(__file__).resolve().parents[2] / "kamailio.cfg").read_text()


def _parameter(module: str, name: str) -> int:
    return int(re.findall(rf'^modparam\("{module}", "{name}", ([0-9]+)\)$', CONFIG, re.MULTILINE)[0])


@pytest.mark.parametrize("name", ["fr_inv_timer", "max_inv_lifetime"])
def test_a_call_may_ring_for_more_than_three_minutes(name):
    """RFC 3261 section 16.6: Timer C is longer than three minutes."""
    assert _parameter("tm", name) > 180_000
    assert kamailio.TIMER_C_MS > 180_000


def test_dispatcher_never_decides_who_is_up():
    """Its own thresholds are out of reach: there is one truth."""
    for name in ("ds_probing_threshold", "ds_inactive_threshold"):
        assert _parameter("dispatcher", name) >= 1_000_000


def test_dispatchers_round_is_the_pingers():
    """The pinger counts on rounds of that length, in a timer that serves nothing else."""
    assert pinger.ROUND_S == _parameter("dispatcher", "ds_ping_interval")
    assert 1 == _parameter("dispatcher", "ds_timer_mode")


def test_a_changed_list_can_be_mirrored_at_once():
    """Dispatcher's own limit of one reload in five seconds is off."""
    assert 0 == _parameter("dispatcher", "reload_delta")


# --- what is done there and in the script alike ---


def test_the_checks_are_the_scripts():
    """The same numbers, however a request comes in."""
    assert f'mf_process_maxfwd_header("{kamailio.MAX_FORWARDS}")' in CONFIG
    assert f'sanity_check("{kamailio.SANITY_MESSAGE}", "{kamailio.SANITY_URIS}")' in CONFIG


def test_the_methods_that_form_dialogs_are_the_scripts():
    """Wherever we put ourselves into a route."""
    lists = set(re.findall(r'is_method\("([^"]*SUBSCRIBE[^"]*)"\)\) \{\n\t+record_route', CONFIG))
    assert [kamailio.DIALOG_FORMING] == [frozenset(each.split("|")) for each in lists]


def test_the_headers_between_neighbours_are_the_scripts():
    """Of load reports and of the queries for them."""
    assert {load_report.REPORT_HEADER, load_report.QUERY_HEADER} == set(
        re.findall(r'is_present_hf\("(Endpoint-[^"]*)"\)', CONFIG)
    )


def test_what_says_something_of_overload_is_what_the_script_looks_for():
    """The expression of the gate, in the words of POSIX."""
    [pattern] = re.findall(r'search_hf\("Via", "([^"]*validity[^"]*)", "a"\)', CONFIG)
    assert gate._CONTROL.pattern == pattern.replace("[ \\t]*", r"\s*").replace("(-", "(?:-")


def test_the_marks_of_an_attempt_are_the_scripts():
    """Of the first one, whose marks come first."""
    assert attempt.ENDED == attempt.with_marks(0, 0, attempt.ENDED) == 2
    assert "\t$mf = 2;" in CONFIG
    assert attempt.ANSWERED == 1
    fields = list(attempt.Attempt.__slots__)
    assert ["key", "cell", "uri"] == fields[:3]


def test_a_note_of_a_call_lives_as_long_as_the_scripts():
    """Until no ACK can come any more."""
    assert f"$shtex(dialogs=>$ci) = {shared.ANSWER_TO_ACK_S};" in CONFIG
