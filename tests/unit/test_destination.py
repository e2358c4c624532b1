"""What a usable destination looks like."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.destination import (
    MAX_PRIORITY,
    MAX_URI_LENGTH,
    MAX_WEIGHT,
    BadValue,
    Destination,
    Mode,
    State,
    address_of,
    may_answer,
    parse_integer,
    parse_number,
    parse_priority,
    parse_uri,
    parse_weight,
    parse_word,
)

GOOD_URIS = [
    "sip:192.0.2.10",
    "sip:192.0.2.10:5060",
    "sip:[2001:db8::1]:5080",
    "sip:[::ffff:192.0.2.1]",
    "sip:proxy-1.example.com",
    "sip:1and1.example.com",
    "sip:p",
    "sip:gw@192.0.2.10:5060",
    "sip:+1%20a@192.0.2.10",
    "sip:192.0.2.10;transport=udp",
    "sip:192.0.2.10:5060;transport=TCP;lr",
    "sip:192.0.2.10;Transport=tcp",
    "sip:192.0.2.10:1",
    "sip:192.0.2.10:65535",
]

BAD_URIS = [
    "",
    "sip:",
    "192.0.2.10:5060",
    "sips:192.0.2.10",
    "tel:+4930123456",
    "SIP:192.0.2.10",
    "sip:192.0.2.10\n",
    " sip:192.0.2.10",
    "sip:192.0.2.10 ",
    "sip:@192.0.2.10",
    "sip:a b@192.0.2.10",
    "sip:user:secret@192.0.2.10",
    "sip:192.0.2.10?Subject=x",
    "sip:192.0.2.10;",
    "sip:192.0.2.10;=udp",
    "sip:192.0.2.10:",
    "sip:192.0.2.10:x",
    "sip:-proxy.example.com",
    "sip:proxy.example.com.",
    "sip:pro_xy.example.com",
    "sip:prøxy.example.com",
    "sip:2001:db8::1",
]


@pytest.mark.parametrize("uri", GOOD_URIS)
def test_a_usable_uri_comes_back_unchanged(uri):
    """The text an operator typed is the name of the destination everywhere."""
    assert uri == parse_uri(uri)


@pytest.mark.parametrize("uri", BAD_URIS)
def test_a_text_that_is_no_sip_uri_is_refused(uri):
    """Only a whole `sip:` URI is a destination."""
    with pytest.raises(BadValue, match=r"expected a SIP URI such as sip:192\.0\.2\.10:5060"):
        parse_uri(uri)


@pytest.mark.parametrize("host", ["1.2.3", "1.2.3.256", "1.2.3.4.5", "012.0.0.1", "12345", "[::1", "[1:2]", "[:::1]"])
def test_a_host_that_looks_like_an_address_must_be_one(host):
    """A slip in an address would otherwise be looked up as a name."""
    with pytest.raises(BadValue, match="expected"):
        parse_uri(f"sip:{host}")


def test_brackets_hold_ipv6_addresses_alone():
    """RFC 3261 section 25.1: IPv6reference is the only host in brackets."""
    with pytest.raises(BadValue, match="expected"):
        parse_uri("sip:[192.0.2.10]:5060")


@pytest.mark.parametrize("port", ["0", "00000", "65536", "99999"])
def test_a_port_is_from_1_to_65535(port):
    """Ports outside the range are refused by name."""
    with pytest.raises(BadValue, match="expected a port of 1 to 65535"):
        parse_uri(f"sip:192.0.2.10:{port}")


@pytest.mark.parametrize("transport", ["=tls", "=ws", "=sctp", "=", ""])
def test_a_transport_is_udp_or_tcp(transport):
    """A transport that the control node does not speak is refused, an empty one too."""
    with pytest.raises(BadValue, match="expected"):
        parse_uri(f"sip:192.0.2.10;lr;transport{transport}")


def test_a_uri_may_be_255_characters_long_and_not_one_more():
    """The limit is pinned on both sides."""
    uri = f"sip:{'a' * (MAX_URI_LENGTH - 4)}"
    assert 255 == len(parse_uri(uri))
    with pytest.raises(BadValue, match="at most 255 characters"):
        parse_uri(uri + "a")


@given(st.text() | st.text(alphabet="sip:[]@.;=%?/ 0129aftlrn-\n", max_size=30))
def test_no_text_breaks_the_reading_of_a_uri(text):
    """Any text is either returned unchanged or refused."""
    with contextlib.suppress(BadValue):
        assert text == parse_uri(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0.0), ("5", 5.0), ("+5", 5.0), ("0.25", 0.25), (".5", 0.5), ("1e3", 1000.0), ("1E-3", 0.001), (" 7\n", 7.0)],
)
def test_a_number_is_read_as_python_reads_it(text, number):
    """Signs, fractions, exponents and blanks around are fine."""
    assert number == parse_number(text, 0, 1000)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "1,5",
        "0x10",
        "1_000",
        "\u0661\u0662",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e999",
        "--1",
        "\ud800",
    ],
)
def test_a_text_that_is_no_finite_number_is_refused(text):
    """Python's own extras, such as underscores and other digits, are slips here."""
    with pytest.raises(BadValue, match="expected a number from 0 to 1000"):
        parse_number(text, 0, 1000)


@pytest.mark.parametrize("text", ["0.9999", "3.0001", "-2"])
def test_a_number_outside_its_range_is_refused(text):
    """The message names the range."""
    with pytest.raises(BadValue, match="expected a number from 1 to 3"):
        parse_number(text, 1, 3)


@given(st.floats(min_value=-10, max_value=10))
def test_every_number_of_the_range_comes_back_as_it_was(number):
    """Reading loses no digit, and both ends belong to the range."""
    assert number == parse_number(repr(number), -10, 10)


def test_a_weight_is_from_0_to_a_million():
    """Both ends are weights, what lies beyond is not."""
    assert 0.0 == parse_weight("0")
    assert MAX_WEIGHT == parse_weight("1000000")
    for text in ("-0.001", "1000000.1"):
        with pytest.raises(BadValue, match="expected a number from 0 to 1e\\+06"):
            parse_weight(text)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("7", 7), ("+7", 7), ("-3", -3), ("007", 7)])
def test_a_whole_number_is_read_with_its_sign(text, number):
    """Signs and leading zeros do not matter."""
    assert number == parse_integer(text, -3, 7)


@pytest.mark.parametrize("text", ["", "1.0", "1e0", " 1", "1\n", "1_0", "\u0661", "x", "8", "-4", "9" * 10, "9" * 5000])
def test_what_is_no_whole_number_of_the_range_is_refused(text):
    """Fractions, blanks, other digits and far too many digits are refused alike."""
    with pytest.raises(BadValue, match="expected a whole number from -3 to 7"):
        parse_integer(text, -3, 7)


def test_a_priority_is_a_whole_number_from_0():
    """Both ends are priorities, what lies beyond is not."""
    assert 0 == parse_priority("0")
    assert MAX_PRIORITY == parse_priority("1000000")
    for text in ("-1", "1000001"):
        with pytest.raises(BadValue, match="expected a whole number from 0 to 1000000"):
            parse_priority(text)


def test_a_word_is_one_of_the_vocabulary():
    """The word is taken as it is written, and nothing else is."""
    assert State.DRAIN is parse_word(State, "drain")
    assert Mode.MANUAL is parse_word(Mode, "manual")
    for text in ("", "Drain", "drain ", "DRAIN", "auto"):
        with pytest.raises(BadValue, match="expected one of ready, drain, maint"):
            parse_word(State, text)


@pytest.mark.parametrize(
    ("weight", "state", "takes"),
    [
        (1.0, State.READY, True),
        (0.001, State.READY, True),
        (0.0, State.READY, False),
        (1.0, State.DRAIN, False),
        (1.0, State.MAINT, False),
        (0.0, State.DRAIN, False),
    ],
)
def test_new_calls_need_a_weight_and_the_state_ready(weight, state, takes):
    """Weight 0, drain and maint each keep new calls away."""
    assert takes is Destination("sip:a", weight, state).takes_new_calls


def test_a_destination_is_ready_automatic_and_first_unless_told():
    """What the operator does not say has its default."""
    assert Destination("sip:a", 1.0, State.READY, Mode.AUTO, 0) == Destination("sip:a")


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("sip:192.0.2.10", "192.0.2.10:5060"),
        ("sip:192.0.2.10:5080", "192.0.2.10:5080"),
        ("sip:gw@192.0.2.10", "192.0.2.10:5060"),
        ("sip:gw@192.0.2.10:5080", "192.0.2.10:5080"),
        ("sip:gw:secret@192.0.2.10", "192.0.2.10:5060"),
        ("sip:192.0.2.10;transport=tcp", "192.0.2.10:5060"),
        ("sip:gw@192.0.2.10:5080;transport=tcp;lr", "192.0.2.10:5080"),
        ("sip:192.0.2.10:5080?Subject=x:y", "192.0.2.10:5080"),
        ("sip:[2001:db8::1]", "[2001:db8::1]:5060"),
        ("sip:[2001:db8::1]:5080", "[2001:db8::1]:5080"),
        ("sip:gw@[2001:DB8::1];lr;x=[2001:db8::2]:1", "[2001:db8::1]:5060"),
        ("sip:Proxy.Example.com", "proxy.example.com:5060"),
        ("sip:Proxy.Example.com:5080;lr", "proxy.example.com:5080"),
    ],
)
def test_an_address_is_host_and_port_alone(uri, address):
    """Whatever else a URI says; 5060 where it names no port, and case does not matter."""
    assert address == address_of(uri)


@given(st.sampled_from([uri for uri in GOOD_URIS if "@" not in uri]))
def test_a_user_part_does_not_change_an_address(uri):
    """Nor does a parameter at the end."""
    with_user = uri.replace("sip:", "sip:gw@")
    assert {address_of(uri)} == {address_of(with_user), address_of(uri + ";x=1"), address_of(with_user + ";x=1")}


@pytest.mark.parametrize(
    ("uri", "source", "may"),
    [
        ("sip:192.0.2.10", "192.0.2.10", True),
        ("sip:gw@192.0.2.10:5080;transport=tcp", "192.0.2.10", True),
        ("sip:192.0.2.10", "192.0.2.1", False),
        ("sip:192.0.2.10", "2001:db8::1", False),
        ("sip:[2001:db8::1]", "2001:db8::1", True),
        ("sip:[2001:db8::1]:5080", "2001:DB8:0:0:0:0:0:1", True),
        ("sip:gw@[2001:0db8::0001];lr", "2001:db8::1", True),
        ("sip:[2001:db8::1]", "2001:db8::2", False),
        ("sip:[2001:db8::1]", "192.0.2.10", False),
        ("sip:proxy.example.com", "192.0.2.10", True),
        ("sip:gw@proxy.example.com:5080;lr", "2001:db8::1", True),
    ],
)
def test_an_answer_may_come_only_from_the_address_of_a_uri(uri, source, may):
    """From any port and in any spelling; where the host is a name, only a resolver knows."""
    assert may is may_answer(uri, source)
