"""What is remembered of an attempt comes back as it was."""

import pytest
from steelyard.core.declared import BadValue
from steelyard.core.settings import SPECS
from steelyard.edge.attempt import ANSWERED, ENDED, TRYING, Attempt, marks_of, with_marks, written

FIELDS = ("d7", "d7:123456", "sip:[2001:db8::1]:5060;transport=tcp", 2.5, 123_456_789_012, 4)


@pytest.mark.parametrize("fields", [FIELDS, ("d1", "d1:0", "sip:a", 0.1, 0, 0)])
def test_an_attempt_survives_being_written(fields) -> None:
    """Decoding gives back what was written."""
    assert Attempt(*fields) == Attempt.decode(written(*fields))


def test_an_attempt_is_one_line_that_an_avp_can_hold() -> None:
    """The text has neither line breaks nor quotes, and one space between fields."""
    text = written(*FIELDS)
    assert text.isprintable()
    assert len(text.split(" ")) == len(text.split())


@pytest.mark.parametrize(
    "text", ["", "d1", "d1 c sip:a 2.0 1", "d1 c sip:a 2.0 1 1 0", "d1 c sip:a x 1 1", "d1 c sip:a 2.0 q 1"]
)
def test_any_other_text_is_refused(text) -> None:
    """A text that written() did not write raises ValueError."""
    with pytest.raises(ValueError, match=r"."):
        Attempt.decode(text)


@pytest.mark.parametrize("own", [0, ANSWERED, ENDED, TRYING, ANSWERED | TRYING])
@pytest.mark.parametrize("number", range(8))
def test_the_marks_of_attempts_do_not_touch_each_other(own, number) -> None:
    """Those of one are set and taken back beside those of all others."""
    others = sum(with_marks(0, other, ENDED) for other in range(8) if other != number)
    marks = with_marks(others, number, own)
    assert own == marks_of(marks, number)
    assert others == with_marks(marks, number, 0)


def test_the_marks_of_all_attempts_are_a_positive_number_of_32_bits() -> None:
    """As many as a request may have: Kamailio's flags have no more."""
    most = 8
    assert most == SPECS["max_attempts"].parse(str(most))
    with pytest.raises(BadValue):
        SPECS["max_attempts"].parse(str(most + 1))
    marks = 0
    for number in range(most):
        marks = with_marks(marks, number, ANSWERED | ENDED | TRYING)
    assert 0 < marks < 2**31
