"""C10: which requests are turned away last."""

import pytest
from steelyard.core.priority import is_priority


@pytest.mark.parametrize(
    ("uri", "resource_priority", "expected"),
    [
        ("sip:alice@example.com", "", False),
        ("urn:service:sos", "", True),
        ("urn:service:sos.fire", "", True),
        ("URN:SERVICE:SOS", "", True),
        ("urn:service:sosage", "", False),
        ("urn:service:counseling", "", False),
        ("sip:sos@example.com", "", False),
        ("sip:alice@example.com", "ets.0", True),
        ("sip:alice@example.com", "dsn.routine", False),
        ("sip:alice@example.com", " Q735.4 , drsn.routine", False),
        ("sip:alice@example.com", "dsn.routine, dsn.flash", True),
    ],
)
def test_c10_emergencies_and_resource_priorities_come_last(uri, resource_priority, expected):
    """RFC 5031's sos, and any Resource-Priority above an ordinary call's."""
    assert expected is is_priority(uri, resource_priority, in_dialog=False)


def test_c10_what_belongs_to_a_call_that_was_let_in_comes_last():
    """Whatever it is."""
    assert is_priority("sip:alice@example.com", "", in_dialog=True)
