"""What a response says about the proxy that sent it."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.outcome import SERVICE_UNAVAILABLE, Outcome, of_status, parse_retry_after


@pytest.mark.parametrize("status", [100, 180, 183, 200, 302, 404, 408, 480, 486, 487, 499, 501, 505, 600, 603, 699])
def test_what_the_callee_or_the_request_is_to_blame_for_is_a_success(status):
    """A busy or missing callee, or a method nobody knows, says nothing against the proxy."""
    assert Outcome.SUCCESS is of_status(status)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 506, 513, 580, 599])
def test_a_5xx_is_the_proxys_own_failure(status):
    """All of 5xx but 501 and 505 count against it."""
    assert Outcome.FAILURE is of_status(status)


def test_the_status_of_one_who_is_full_has_a_name():
    """RFC 3261 section 21.5.4; it is a failure like any other."""
    assert 503 == SERVICE_UNAVAILABLE


@pytest.mark.parametrize(
    ("outcome", "failed"), [(Outcome.SUCCESS, False), (Outcome.FAILURE, True), (Outcome.SILENCE, True)]
)
def test_failures_and_silence_have_failed(outcome, failed):
    """Only a success is a measure of speed."""
    assert failed is outcome.failed


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("5", 5.0),
        (" 120 ", 120.0),
        ("007", 7.0),
        ("18000;duration=3600", 18000.0),
        ("120 (I'm in a meeting)", 120.0),
        ("120(maintenance);duration=60", 120.0),
        ("999999999", 999999999.0),
    ],
)
def test_retry_after_is_read_in_seconds_and_its_comment_is_skipped(text, seconds):
    """RFC 3261 section 20.33: delta-seconds, then a comment and parameters."""
    assert seconds == parse_retry_after(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "-",
        "-5",
        "+5",
        "5.5",
        "5 6",
        "5,6",
        "soon",
        ";duration=5",
        "Fri, 26 Sep 1997",
        "\u0665",
        "1e3",
    ],
)
def test_a_retry_after_that_makes_no_sense_is_as_none(text):
    """It keeps nobody out."""
    assert 0.0 == parse_retry_after(text)


@pytest.mark.parametrize("text", ["4294967295", "9" * 400])
def test_a_very_long_retry_after_is_still_one(text):
    """RFC 3261 sets no limit; the operator's cap is where it ends."""
    assert 3600 < parse_retry_after(text) < inf


@given(st.text())
def test_no_text_breaks_the_reading_of_retry_after(text):
    """Whatever a proxy sends is seconds, and never negative."""
    assert 0.0 <= parse_retry_after(text) <= 999_999_999


@given(st.integers(min_value=0, max_value=999_999_999), st.sampled_from(["", " ", ";x", " (y)", "(y)"]))
def test_every_number_of_seconds_comes_back(seconds, rest):
    """What follows the number does not change it."""
    assert seconds == parse_retry_after(f"{seconds}{rest}")
