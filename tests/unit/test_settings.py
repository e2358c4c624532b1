"""The live settings: what each takes, and whose it is."""

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steelyard.core.destination import BadValue
from steelyard.core.settings import (
    SPECS,
    FirstReply,
    Policy,
    ProbeMethod,
    Settings,
    build,
    defaults,
    parse_setting,
)

# name -> lowest and highest text it takes, and the nearest texts it refuses
RANGES = {
    "threshold_cps": ("0", "1000000", "-0.01", "1000000.1"),
    "probe_interval_s": ("1", "3600", "0.99", "3600.1"),
    "probe_timeout_s": ("0.05", "30", "0.049", "30.1"),
    "rise": ("1", "100", "0", "101"),
    "fall": ("1", "100", "0", "101"),
    "slow_start_s": ("0", "3600", "-1", "3600.1"),
    "panic_percent": ("0", "100", "-1", "100.1"),
    "no_response_s": ("0.1", "30", "0.09", "30.1"),
    "max_attempts": ("1", "8", "0", "9"),
    "retry_after_cap_s": ("0", "3600", "-1", "3600.1"),
}
WORDS = {
    "policy": ["adaptive", "weighted", "round-robin"],
    "probe_method": ["options", "invite", "none"],
    "overload_control": ["on", "off"],
    "load_reports": ["on", "off"],
    "first_reply": ["any", "beyond-100"],
}
OF_THE_SET_ALONE = {"policy", "threshold_cps", "panic_percent", "max_attempts"}


def test_every_setting_has_a_reader_and_a_default():
    """What can be set, what is documented and what is in force are the same names."""
    assert [f.name for f in fields(Settings) if f.name != "own"] == list(SPECS)
    assert list(SPECS) == list(defaults())
    assert set(SPECS) == RANGES.keys() | WORDS.keys()


def test_the_defaults_are_those_the_operator_is_promised():
    """A change of one is a change of every installation."""
    assert {
        "policy": "adaptive",
        "threshold_cps": 0.0,
        "probe_method": "options",
        "probe_interval_s": 1.0,
        "probe_timeout_s": 1.0,
        "rise": 2,
        "fall": 3,
        "slow_start_s": 20.0,
        "panic_percent": 0.0,
        "first_reply": "any",
        "no_response_s": 2.0,
        "max_attempts": 3,
        "retry_after_cap_s": 300.0,
        "overload_control": "on",
        "load_reports": "on",
    } == defaults()


@pytest.mark.parametrize("name", SPECS)
def test_every_default_is_a_value_its_own_reader_takes(name):
    """An operator may write any default down."""
    default = defaults()[name]
    assert (name, None, default) == parse_setting(name, str(default))
    assert default == getattr(Settings(), name)


@pytest.mark.parametrize("name", SPECS)
def test_every_setting_says_what_it_does(name):
    """The operator's table has no empty row."""
    assert SPECS[name].meaning


@pytest.mark.parametrize("name", RANGES)
def test_a_numeric_setting_takes_both_ends_of_its_range_and_nothing_beyond(name):
    """Each range is pinned on both sides."""
    low, high, below, above = RANGES[name]
    assert float(low) == parse_setting(name, low)[2]
    assert float(high) == parse_setting(name, high)[2]
    for text in (below, above, "", "many"):
        with pytest.raises(BadValue, match="expected a"):
            parse_setting(name, text)


@pytest.mark.parametrize("name", ["rise", "fall", "max_attempts"])
def test_a_count_is_whole(name):
    """Half an answer is none."""
    assert isinstance(parse_setting(name, "2")[2], int)
    with pytest.raises(BadValue, match="expected a whole number"):
        parse_setting(name, "2.5")


@pytest.mark.parametrize("name", WORDS)
def test_a_setting_of_words_takes_exactly_its_words(name):
    """Any other word is refused with the list of those that are right."""
    assert WORDS[name] == [parse_setting(name, word)[2] for word in WORDS[name]]
    with pytest.raises(BadValue, match=f"expected one of {', '.join(WORDS[name])}"):
        parse_setting(name, "often")


def test_words_are_read_as_members_of_their_vocabulary():
    """The core compares members, not texts."""
    assert Policy.ROUND_ROBIN is parse_setting("policy", "round-robin")[2]
    assert ProbeMethod.NONE is parse_setting("probe_method", "none")[2]
    assert FirstReply.BEYOND_100 is parse_setting("first_reply", "beyond-100")[2]


@pytest.mark.parametrize("name", ["", "polcy", "RISE", "own", "rise ", "@", "@sip:a", "polcy@sip:a"])
def test_an_unknown_setting_is_refused_with_the_names_of_all(name):
    """A misspelt name does not pass for one that does nothing."""
    with pytest.raises(BadValue, match=f"expected a setting of this version: {', '.join(SPECS)}"):
        parse_setting(name, "1")


@pytest.mark.parametrize("name", sorted(SPECS.keys() - OF_THE_SET_ALONE))
def test_a_setting_can_be_one_destinations_own(name):
    """`name@<uri>` is read into the name, the URI and the value; the URI may hold an @ itself."""
    text = str(defaults()[name])
    assert (name, "sip:gw@192.0.2.1", defaults()[name]) == parse_setting(f"{name}@sip:gw@192.0.2.1", text)


@pytest.mark.parametrize("name", sorted(OF_THE_SET_ALONE))
def test_what_concerns_the_whole_set_cannot_be_one_destinations_own(name):
    """A policy for one destination makes no sense."""
    with pytest.raises(BadValue, match=f"{name} can only be set for the whole set"):
        parse_setting(f"{name}@sip:192.0.2.1", str(defaults()[name]))


@pytest.mark.parametrize("uri", ["", "192.0.2.1", "sip:1.2.3", "sip:a;transport=tls"])
def test_an_own_setting_needs_a_usable_uri(uri):
    """The URI is checked as in the list of weights."""
    with pytest.raises(BadValue, match="expected"):
        parse_setting(f"rise@{uri}", "2")


def test_nothing_set_means_the_defaults():
    """An empty hash leaves every default in force."""
    assert Settings() == build({})


def test_a_destinations_own_value_goes_over_the_sets():
    """Own values count for their destination alone, the set's for all others."""
    settings = build(
        {
            name: parse_setting(name, text)
            for name, text in {"rise": "4", "fall": "5", "rise@sip:a": "7", "slow_start_s@sip:a": "0"}.items()
        }
    )
    assert (4, 5, 20.0) == (settings.rise, settings.fall, settings.slow_start_s)
    own = settings.of("sip:a")
    assert (7, 5, 0.0) == (own.rise, own.fall, own.slow_start_s)
    assert settings == settings.of("sip:b")


@given(st.sampled_from([*SPECS, "rise@", "rise@sip:a"]) | st.text(), st.text() | st.from_regex(r"-?[0-9.e]+"))
def test_no_text_breaks_the_reading_of_a_setting(name, text):
    """Any name and value are either read or refused."""
    try:
        setting, _, value = parse_setting(name, text)
    except BadValue:
        return
    assert type(defaults()[setting]) is type(value)
