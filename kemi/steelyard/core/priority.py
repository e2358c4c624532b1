"""
Which requests are turned away last when there are too many: emergencies, and what belongs to a call that was let in.

Source: RFC 7339 section 5.10.1, RFC 5031 (sos), RFC 4412 (Resource-Priority).
Does not know how many are too many.
"""

import re
from typing import Final

_SOS: Final = re.compile(r"urn:service:sos(?:[.;]|$)", re.IGNORECASE)
ROUTINE: Final = frozenset(
    {"dsn.routine", "drsn.routine", "q735.4"}
)  # the values of ordinary calls in their namespaces


def is_priority(uri: str, resource_priority: str, *, in_dialog: bool) -> bool:
    """
    Say whether a request is one of the last to be turned away.

    Args:
        uri: the Request-URI.
        resource_priority: the value of that header, empty when there is none.
        in_dialog: whether it belongs to a dialog.
    """
    if in_dialog or _SOS.match(uri):
        return True
    if not resource_priority:
        return False
    values = {value.strip().lower() for value in resource_priority.split(",")} - {""}
    return bool(values - ROUTINE)
