"""
The last good list on disk, for a start without Redis.

Does not know what the values mean: it keeps the text that the operator typed.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FILE_NAME: Final = "last_good.json"


class LastGood:
    """One file, replaced whole, so that a crash leaves the old or the new one."""

    def __init__(self, run_dir: Path) -> None:
        """Take the run folder."""
        self._path = run_dir / FILE_NAME

    def save(self, text: Mapping[str, Mapping[str, str]]) -> None:
        """
        Keep the operator's hashes as text.

        Raises:
            OSError: the disk refuses.
        """
        part = self._path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump({name: dict(fields) for name, fields in text.items()}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)

    def load(self) -> dict[str, dict[str, str]] | None:
        """
        Return what was kept, None when nothing was.

        Raises:
            ValueError: the file is damaged; the message names it.
        """
        try:
            hashes = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(n): {str(f): str(v) for f, v in fields.items()} for n, fields in hashes.items()}
        except FileNotFoundError:
            return None
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{self._path} is damaged ({error}); remove it") from error
