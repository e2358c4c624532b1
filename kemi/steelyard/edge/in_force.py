"""
The snapshot in force in this worker, read again when the control process has published another.

Does not know what a snapshot is used for.
"""

from collections.abc import Mapping

from ..core.picker import Picker
from ..core.snapshot import Entry, Snapshot, decode
from .gate import Gate
from .kamailio import Kamailio
from .shared import Board


class InForce:
    """What one worker goes by."""

    def __init__(self, kamailio: Kamailio, board: Board, picker: Picker, gate: Gate) -> None:
        """Take the log, where snapshots are published, and whom to tell of each."""
        self._sip = kamailio
        self._board = board
        self._picker = picker
        self._gate = gate
        self._snapshot = Snapshot()
        self._controlled: dict[str, Entry] = {}
        self._seen_version = 0

    def controlled(self) -> Mapping[str, Entry]:
        """Return the destinations under overload control, by address."""
        self.snapshot()
        return self._controlled

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the moment."""
        version = self._board.version()
        if version != self._seen_version:
            self._seen_version = version
            try:
                self._snapshot = decode(self._board.text())
                self._picker.refresh(self._snapshot)
                self._controlled = {e.address: e for e in self._snapshot.entries if e.overload_control}
                self._gate.refresh(self._controlled)
            except ValueError as error:
                self._sip.error(f"snapshot {version} cannot be read, the last one stays in force: {error}")
        return self._snapshot
