"""
The guard around every callback: nothing that is raised reaches Kamailio.

An exception that escapes would leave the request unanswered and poison the worker's next call.
"""

import traceback
from collections.abc import Callable

from .kamailio import Kamailio


class Guard:
    """Runs a callback's work; what it raises is logged with the message's Call-ID."""

    def __init__(self, kamailio: Kamailio) -> None:
        """Take the message's reader, which is also the log."""
        self._sip = kamailio

    def run(self, work: Callable[[], object]) -> bool:
        """Run `work`; True when nothing was raised."""
        try:
            work()
        except Exception:  # noqa: BLE001 - the outermost guard: nothing may pass
            self._sip.error(f"exception, Call-ID {self._call_id()}: {traceback.format_exc()}")
            return False
        return True

    def _call_id(self) -> str:
        try:
            return self._sip.call_id() or "none"
        except Exception:  # noqa: BLE001
            return "unreadable"
