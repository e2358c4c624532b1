"""Load reports: what they may say, and what is refused by name."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.destination import BadValue, State
from steelyard.core.load_report import MAX_FIELDS, MAX_LENGTH, LoadReport, parse_header, parse_pushed, write_header

HEADER = (
    "TEXT cpu_utilization=0.30,application_utilization=0.41,rps_fractional=74.2,eps=0.1,named_metrics.workers_busy=0.5"
)


def test_a_header_is_read_field_by_field():
    """As the ORCA standard writes it."""
    report = parse_header(HEADER)
    assert {
        "cpu_utilization": 0.3,
        "application_utilization": 0.41,
        "named_metrics.workers_busy": 0.5,
    } == report.utilizations
    assert (74.2, 0.1) == (report.rps, report.eps)


def test_utilization_is_the_most_constrained_of_those_reported():
    """Whatever limits a proxy first, limits it."""
    report = parse_header(HEADER)
    assert (0.5, "named_metrics.workers_busy") == (report.utilization, report.most_constrained)
    assert (None, "") == (LoadReport().utilization, LoadReport().most_constrained)


def test_a_named_metric_that_is_no_utilization_is_a_count():
    """Calls in progress say nothing of a limit."""
    report = parse_header("TEXT named_metrics.transactions=420,utilization.licences=0.7")
    assert {"named_metrics.transactions": 420.0} == report.counts
    assert {"utilization.licences": 0.7} == report.utilizations


def test_what_a_later_version_may_say_is_ignored():
    """An unknown name makes no report unreadable."""
    assert {"cpu_utilization": 0.3} == parse_header("TEXT request_cost.db=5,cpu_utilization=0.3,wit=x").utilizations


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("TEXT cpu_utilization=high", "cpu_utilization='high'"),
        ("TEXT cpu_utilization=-0.1", "cpu_utilization='-0.1'"),
        ("TEXT cpu_utilization=85", "cpu_utilization='85'"),
        ("TEXT cpu_utilization=nan", "cpu_utilization='nan'"),
        ("TEXT cpu_utilization=inf", "cpu_utilization='inf'"),
        ("TEXT mem_utilization=1.01", "mem_utilization='1.01'"),
        ("TEXT utilization.x=1.01", "utilization.x='1.01'"),
        ("TEXT named_metrics.workers_busy=1.01", "named_metrics.workers_busy='1.01'"),
        ("TEXT rps_fractional=-1", "rps_fractional='-1'"),
        ("TEXT eps=", "eps=''"),
        ("TEXT cpu_utilization", "'cpu_utilization'"),
        ("TEXT eps=1,eps=1", "'eps' stands there twice"),
        (f"{HEADER},{HEADER}", "stands there twice|TEXT cpu"),
        ("JSON {}", "expected TEXT"),
        ("", "expected TEXT"),
        ("TEXT " + "a" * MAX_LENGTH, "characters long"),
        ("TEXT " + ",".join(f"a{n}=1" for n in range(MAX_FIELDS + 1)), "fields, expected at most"),
        ("TEXT \x00\r\n", "'"),
    ],
)
def test_what_cannot_be_a_report_is_refused_by_name(value, named):
    """The whole report: the other fields may be of another moment."""
    with pytest.raises(BadValue, match=named):
        parse_header(value)


def test_a_refusal_shows_only_the_beginning_of_a_long_value():
    """It goes into a log line."""
    with pytest.raises(BadValue) as error:
        parse_header("TEXT eps=" + "9" * 500)
    assert len(str(error.value)) < 120


def test_only_an_agent_has_a_word():
    """A SIP header that says drain is read as if it did not."""
    assert LoadReport() == parse_header("TEXT percent=50,state=drain,down=yes")
    report = parse_pushed({"percent": "75%", "state": "drain", "down": "disk full", "time": "1"})
    assert (75.0, State.DRAIN, "disk full") == (report.percent, report.state, report.down)


@pytest.mark.parametrize("text", ["", "0"])
def test_an_empty_down_is_up(text):
    """An agent need not delete the field."""
    assert parse_pushed({"down": text}).takes_new_calls


def test_a_reason_is_cut_to_what_fits_a_line():
    """Eighty characters say enough."""
    assert "x" * 80 == parse_pushed({"down": "x" * 81}).down


@pytest.mark.parametrize("fields", [{"down": "x"}, {"state": "drain"}, {"state": "maint"}, {"percent": "0"}])
def test_an_agents_word_can_stop_new_calls(fields):
    """Each of them alone."""
    assert not parse_pushed(fields).takes_new_calls


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"percent": "101"}, "percent='101'"),
        ({"percent": "-1"}, "percent='-1'"),
        ({"state": "away"}, "state='away'"),
        ({"cpu_utilization": "9" * 65536}, "characters long"),
    ],
)
def test_a_pushed_report_is_refused_like_any_other(fields, named):
    """By the name of the field."""
    with pytest.raises(BadValue, match=named):
        parse_pushed(fields)


@given(st.text())
def test_no_text_raises_anything_but_a_refusal(text):
    """What comes from the network may be anything."""
    for value in (text, f"TEXT {text}", f"TEXT cpu_utilization={text}"):
        with contextlib.suppress(BadValue):
            assert parse_header(value).utilizations.keys() <= {"cpu_utilization"}


@given(st.dictionaries(st.sampled_from(["cpu_utilization", "rps_fractional", "eps"]), st.floats(0, 10), min_size=1))
def test_what_is_written_is_read_again(fields):
    """To four digits."""
    report = parse_header(write_header(fields))
    read = {**report.utilizations, "rps_fractional": report.rps, "eps": report.eps}
    assert fields == pytest.approx({name: read[name] for name in fields}, rel=1e-3)
