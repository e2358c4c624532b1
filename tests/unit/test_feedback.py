"""Overload feedback in Via, read and written; c1 and s1 and the like are RFC 7339's rules for clients and servers."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from steelyard.core.feedback import (
    DEFAULT_VALIDITY_MS,
    Algorithm,
    BadFeedback,
    Feedback,
    offers,
    read_feedback,
    split_first,
    strip,
    top_parameters,
    write_feedback,
    write_offer,
)

LOSS, RATE = Algorithm.LOSS, Algorithm.RATE
BOTH = (LOSS, RATE)
VIA = "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1"
NEXT = "SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK2"

SEQS = st.none() | st.tuples(st.integers(0, 10**12 - 1), st.integers(0, 99_999))
STOPS = st.builds(Feedback, st.just(0), st.just(0), SEQS, st.sampled_from(Algorithm))
LOSSES = st.builds(Feedback, st.integers(0, 100), st.integers(1, 10**9 - 1), SEQS, st.just(LOSS))
RATES = st.builds(Feedback, st.integers(0, 10**9 - 1), st.integers(1, 10**9 - 1), SEQS, st.just(RATE))
FEEDBACK = STOPS | LOSSES | RATES
# Texts made of what a Via is made of come closer to the reader's branches than any text would.
TEXTS = st.text() | st.lists(
    st.sampled_from(["oc", "OC-Algo", "oc-validity", "oc-seq", "loss", "rate", "0", "17.5", *';,="\\ \t\r\n['])
).map("".join)


def read(parameters, offered=BOTH):
    """Return what a response says whose topmost Via ends with these parameters."""
    return read_feedback(f"{VIA}{parameters}", offered)


# --- the header ---


def test_the_parameters_of_the_first_via_alone_are_returned():
    """A header may hold several, joined by commas."""
    assert {"branch": "z9hG4bK1", "oc": None} == top_parameters(f"{VIA};oc, {NEXT};rport=7")


def test_space_and_case_do_not_matter():
    """Names are lower-cased; space is allowed around ; and = and ,."""
    header = 'SIP/2.0/UDP a ; Branch = x1 ;\tOC = 20 ;oc-ALGO= "loss" ;rport\r\n , SIP/2.0/UDP b;oc=3'
    assert {"branch": "x1", "oc": "20", "oc-algo": "loss", "rport": None} == top_parameters(header)


def test_separators_within_quotes_do_not_separate():
    """Neither do those after a quote that a backslash takes the meaning of."""
    header = r'SIP/2.0/UDP a;x="1,2;oc=3\";oc=4";oc-algo="loss,rate"' + f", {NEXT};oc=5"
    assert {"x": r"1,2;oc=3\";oc=4", "oc-algo": "loss,rate"} == top_parameters(header)


def test_a_quote_that_does_not_end_lasts_to_the_end():
    """What is after it is nobody's parameter."""
    assert {"x": '"1;oc=2,' + NEXT} == top_parameters(f'SIP/2.0/UDP a;x="1;oc=2,{NEXT}')


def test_the_first_of_several_of_one_name_counts():
    """Whoever reads feedback looks at that more closely."""
    assert {"oc": "1"} == top_parameters("SIP/2.0/UDP a;oc=1;OC=2")


@given(TEXTS)
@example('"\\')
@example("")
def test_no_text_breaks_the_reading_of_a_header(text):
    """Parameters are returned whatever a stranger sends."""
    assert all(name == name.lower() for name in top_parameters(text))
    assert None is offers(text) or offers(text)


@pytest.mark.parametrize("part", ['"', '"\\', "\\", ";", ";oc=1", ",", '""', 'a"', " ", ';oc="\\"', "=", '\\"'])
def test_reading_takes_time_in_proportion_to_the_length(part):
    """A quarter of a megabyte is read at once; with time in proportion to its square it would take minutes."""
    text = VIA + part * (250_000 // len(part))
    assert "z9hG4bK1" in (top_parameters(text)["branch"] or "")
    assert strip(text).startswith(VIA)


# --- offers ---


def test_c1_an_offer_is_an_oc_without_a_value_and_a_list_with_loss():
    """A client adds it to its own Via."""
    assert ';oc;oc-algo="loss"' == write_offer([LOSS])
    assert ';oc;oc-algo="rate,loss"' == write_offer([RATE, LOSS])


@pytest.mark.parametrize("algorithms", [[], [RATE]])
def test_c1_an_offer_without_loss_is_refused(algorithms):
    """Every list must contain it."""
    with pytest.raises(ValueError, match="must contain loss"):
        write_offer(algorithms)


def test_c2_an_offer_says_nothing_of_validity_or_sequence():
    """Both are a server's to send."""
    assert {"branch", "oc", "oc-algo"} == top_parameters(VIA + write_offer(BOTH)).keys()


@given(st.permutations(BOTH))
def test_s2_an_offer_is_read_in_the_order_it_was_made(algorithms):
    """The client may order its list by preference."""
    assert tuple(algorithms) == offers(f"{VIA}{write_offer(algorithms)}, {NEXT}")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", None),
        (";oc=20", None),
        (';oc-algo="loss"', None),
        (";oc", ("loss",)),
        (";oc=", ("loss",)),
        (';oc="";oc-algo', ("loss",)),
        (';oc;oc-algo=" , "', ("loss",)),
        (';oc;oc-algo=" Rate , LOSS, x1"', ("rate", "loss", "x1")),
    ],
)
def test_s1_an_offer_is_an_oc_without_a_value(parameters, expected):
    """Only to a client that sends one are responses given a value; a missing list means loss."""
    assert expected == offers(VIA + parameters)


def test_s1_an_offer_further_down_is_not_the_clients():
    """Each hop speaks for itself, in the topmost Via."""
    assert None is offers(f"{VIA}, {NEXT};oc")


# --- feedback ---


def test_c14_feedback_is_read_whole():
    """Nothing but the header is looked at, so that any class of response may carry it."""
    expected = Feedback(20, 1000, (1282321615, 782), LOSS)
    assert expected == read(';oc=20;oc-algo="loss";oc-validity=1000;oc-seq=1282321615.782')


@pytest.mark.parametrize("parameters", ["", ";oc", ";oc=", ';oc;oc-algo="loss,rate"', ';oc-seq=1.1;oc-algo="loss"'])
def test_c4_without_a_value_there_is_no_feedback(parameters):
    """A server that knows nothing of overload control returns the client's own Via."""
    assert None is read(parameters)


def test_c4_a_value_is_feedback_from_a_server_that_takes_part():
    """An oc of 0 is one, too."""
    assert Feedback(0, DEFAULT_VALIDITY_MS, None, LOSS) == read(";oc=0")


@pytest.mark.parametrize("parameters", ["", ";oc-validity", ";oc-validity="])
def test_c6_feedback_without_a_validity_holds_for_half_a_second(parameters):
    """The parameter's value is optional, and so is the parameter."""
    assert Feedback(20, 500, None, LOSS) == read(f";oc=20{parameters}")


@pytest.mark.parametrize("parameters", ["", ";oc", ";oc=20", ";oc=999", ";oc=abc"])
def test_c6_a_validity_of_0_says_stop_whatever_oc_says(parameters):
    """The value of oc is disregarded, even one that could not be."""
    assert Feedback(0, 0, (17, 3), LOSS) == read(f"{parameters};oc-validity=0;oc-seq=17.00003")


@pytest.mark.parametrize("parameters", ["", ";oc", ";oc="])
def test_c6_a_validity_without_a_value_of_oc_is_discarded(parameters):
    """It would be valid, but there is nothing that would be."""
    assert None is read(f'{parameters};oc-validity=1000;oc-seq=17.3;oc-algo="loss,rate"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("17.3", (17, 3)),
        ("17.00003", (17, 3)),
        ("17.30000", (17, 30000)),
        ("17", (17, 0)),
        ("000999999999.99999", (999999999, 99999)),
    ],
)
def test_a_sequence_is_read_as_two_whole_numbers(text, expected):
    """A missing dot and fraction are forgiven, since the RFC's text calls it an integer."""
    assert expected == read(f";oc=1;oc-seq={text}").seq


@pytest.mark.parametrize("text", ['"loss"', '" LOSS "', "loss", '""', '"loss,"'])
def test_loss_is_read_in_any_spelling(text):
    """Case, space and quotes are of no matter; no algorithm at all means loss."""
    assert LOSS is read(f";oc=1;oc-algo={text}").algorithm


def test_a_rate_may_exceed_100():
    """It is requests per second."""
    assert Feedback(150, 1000, None, RATE) == read(';oc=150;oc-algo="rate";oc-validity=1000')


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (";oc=-1", "oc='-1': expected a whole number of at most 9 digits"),
        (";oc=abc", "oc='abc': expected a whole number of at most 9 digits"),
        (";oc=1.5", "oc='1.5': expected a whole number of at most 9 digits"),
        (";oc=²", "oc='²': expected a whole number of at most 9 digits"),
        (";oc=101", "oc='101': expected at most 100 percent"),
        (f";oc={'1' * 10};oc-algo=rate", f"oc='{'1' * 10}': expected a whole number of at most 9 digits"),
        (f";oc={'1' * 41}", f"oc='{'1' * 40}...': expected a whole number of at most 9 digits"),
        (";oc=a\nb", "oc='a?b': expected a whole number of at most 9 digits"),
        (";oc=1;oc-validity=-5", "oc-validity='-5': expected a whole number of at most 9 digits"),
        (";oc-validity=1234567890", "oc-validity='1234567890': expected a whole number of at most 9 digits"),
        (';oc=1;oc-algo="loss,rate"', "oc-algo='loss,rate': expected one of what was offered, loss or rate"),
        (';oc=1;oc-algo="window"', "oc-algo='window': expected one of what was offered, loss or rate"),
        (";oc=1;oc-seq", "oc-seq='': expected at most 12 digits, a dot and at most 5 digits"),
        (";oc=1;oc-seq=17.", "oc-seq='17.': expected at most 12 digits, a dot and at most 5 digits"),
        (";oc=1;oc-seq=.3", "oc-seq='.3': expected at most 12 digits, a dot and at most 5 digits"),
        (";oc=1;oc-seq=17.123456", "oc-seq='17.123456': expected at most 12 digits, a dot and at most 5 digits"),
        (f";oc=1;oc-seq={'9' * 40}", f"oc-seq='{'9' * 40}': expected at most 12 digits, a dot and at most 5 digits"),
        (";oc=1;oc=1", "oc='1': stands there twice"),
        (";oc=1;OC", "oc='': stands there twice"),
        (";oc=0;oc-validity=0;oc-validity=9", "oc-validity='9': stands there twice"),
    ],
)
def test_feedback_that_cannot_be_is_refused_by_name(parameters, message):
    """The operator is told which parameter it was, what it said and what was expected."""
    with pytest.raises(BadFeedback) as refused:
        read(parameters)
    assert message == str(refused.value)


def test_s2_an_algorithm_that_was_not_offered_is_refused():
    """A server chooses from the client's list."""
    with pytest.raises(BadFeedback, match="oc-algo='rate': expected one of what was offered, loss"):
        read(';oc=150;oc-algo="rate"', [LOSS])


def test_what_stands_twice_but_is_none_of_ours_is_not_refused():
    """Other parameters are others' business, and so are other Vias."""
    assert Feedback(7, 500, None, LOSS) == read(f";x=1;x=2;oc=7, {NEXT};oc=8")


@given(TEXTS)
def test_no_text_breaks_the_reading_of_feedback(text):
    """Any header is feedback, none, or refused."""
    with suppress(BadFeedback):
        feedback = read_feedback(text, BOTH)
        assert feedback is None or feedback.oc >= 0


# --- writing ---


def test_s4_a_sequence_is_written_in_fixed_width():
    """As a decimal and as two numbers it sorts alike."""
    expected = ';oc=20;oc-algo="loss";oc-validity=1000;oc-seq=1282321615.00782'
    assert expected == write_feedback(Feedback(20, 1000, (1282321615, 782), LOSS))


def test_a_sequence_that_is_none_is_left_out():
    """The rest is as ever."""
    assert ';oc=150;oc-algo="rate";oc-validity=500' == write_feedback(Feedback(150, 500, None, RATE))


@given(FEEDBACK)
def test_feedback_that_was_written_is_read_back(feedback):
    """Every field survives, in the topmost of several Vias."""
    assert feedback == read_feedback(f"{VIA}{write_feedback(feedback)}, {NEXT}", BOTH)


@given(FEEDBACK)
def test_s1_s2_what_is_written_has_a_value_and_one_algorithm(feedback):
    """It answers an offer and is none itself."""
    header = VIA + write_feedback(feedback)
    assert None is offers(header)
    assert feedback.algorithm == top_parameters(header)["oc-algo"]


# --- stripping ---


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (VIA, VIA),
        (f'{VIA};oc;oc-algo="loss,rate"', VIA),
        (f"{VIA} ;oc = 1\t; OC-Seq=1.1;rport\r\n", f"{VIA} \t;rport\r\n"),
        (
            "SIP/2.0/UDP a;oc;x=1 , SIP/2.0/UDP b;oc=1 , SIP/2.0/UDP c",
            "SIP/2.0/UDP a;x=1 , SIP/2.0/UDP b , SIP/2.0/UDP c",
        ),
        ('SIP/2.0/UDP a;x=";oc=1,";oc-validity=0', 'SIP/2.0/UDP a;x=";oc=1,"'),
        ("SIP/2.0/UDP a;ocx=1;x-oc;received=oc", "SIP/2.0/UDP a;ocx=1;x-oc;received=oc"),
        ("oc;oc,oc", "oc,oc"),
    ],
)
def test_c11_c12_overload_parameters_are_taken_out_of_every_via(header, expected):
    """They are between two neighbours; everything else stays byte for byte."""
    assert expected == strip(header)


@given(TEXTS)
def test_c11_c12_nothing_is_left_to_take_out(text):
    """What was stripped says nothing of overload, and what said nothing is not touched."""
    stripped = strip(text)
    assert set() == {"oc", "oc-algo", "oc-seq", "oc-validity"} & top_parameters(stripped).keys()
    assert stripped == strip(stripped)


@given(FEEDBACK)
def test_c11_c12_what_was_added_is_taken_out_again(feedback):
    """The header is then as it was."""
    assert f"{VIA}, {NEXT}" == strip(f"{VIA}{write_feedback(feedback)}, {NEXT}{write_offer(BOTH)}")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("SIP/2.0/UDP a;branch=1", ("SIP/2.0/UDP a;branch=1", "")),
        ("SIP/2.0/UDP a;branch=1, SIP/2.0/UDP b", ("SIP/2.0/UDP a;branch=1", ", SIP/2.0/UDP b")),
        ('SIP/2.0/UDP a;x="1,2";y,SIP/2.0/UDP b,c', ('SIP/2.0/UDP a;x="1,2";y', ",SIP/2.0/UDP b,c")),
        ("", ("", "")),
    ],
)
def test_the_first_via_is_cut_off_at_a_comma_outside_quotes(header, expected):
    """Both parts together are the header."""
    assert expected == split_first(header)
