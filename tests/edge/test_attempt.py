"""What is remembered of an attempt comes back as it was."""

import pytest
from steelyard.edge.attempt import Attempt, Phase

ATTEMPT = Attempt("d7", "sip:[2001:db8::1]:5060;transport=tcp", 2.5, 123_456_789_012, 4)


@pytest.mark.parametrize(
    "attempt",
    [ATTEMPT, ATTEMPT.answered(final=False), ATTEMPT.trying(5), Attempt("d1", "sip:a", 0.1, 0, 0, Phase.ANSWERED, 9)],
)
def test_an_attempt_survives_being_written(attempt) -> None:
    """Decoding gives back what was encoded, in every phase."""
    assert attempt == Attempt.decode(attempt.encode())


def test_an_attempt_is_one_line_that_an_avp_can_hold() -> None:
    """The text has neither line breaks nor quotes, and one space between fields."""
    text = ATTEMPT.encode()
    assert text.isprintable()
    assert len(text.split(" ")) == len(text.split())


@pytest.mark.parametrize(
    "text", ["", "d1", "d1 sip:a 2.0 1 1 s", "d1 sip:a 2.0 1 1 s 0 0", "d1 sip:a x 1 1 s 0", "d1 sip:a 2.0 1 1 q 0"]
)
def test_any_other_text_is_refused(text) -> None:
    """A text that encode did not write raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        Attempt.decode(text)


def test_only_the_first_100_is_timed() -> None:
    """A second 100 Trying does not move the time of the first."""
    assert 5 == ATTEMPT.trying(5).trying(9).trying_us
    assert 0 == ATTEMPT.trying(5).beyond().trying_us


def test_an_answered_attempt_keeps_everything_else() -> None:
    """Settling an attempt changes its phase alone."""
    assert Phase.ENDED is ATTEMPT.answered(final=True).phase
    answered = ATTEMPT.answered(final=False)
    assert Phase.ANSWERED is answered.phase
    assert (ATTEMPT.key, ATTEMPT.uri, ATTEMPT.sent_us) == (answered.key, answered.uri, answered.sent_us)
