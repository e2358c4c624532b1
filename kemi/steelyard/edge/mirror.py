"""
Kamailio's dispatcher, made to show the same destinations and to ping them.

The list goes to dispatcher's file and is reloaded; up and down follow with set_state. What an operator disables with
`dispatcher.set_state d` is read back, survives our reloads and is honoured.
Does not decide who is up.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from . import rpc

ACTIVE: Final = 0
DISABLED: Final = 4  # dispatcher's flag
# A paced round of pings lasts nearly a second and walks the list that a second reload would free under it.
MIN_RELOAD_INTERVAL_S: Final = 2.0
LOOK_INTERVAL_S: Final = 0.25

FILE_NAME: Final = "dispatcher.list"


class Mirror:
    """The dispatcher set that mirrors one destination set."""

    def __init__(self, ksr: Any, run_dir: Path, set_id: str, clock_s: Callable[[], float]) -> None:  # noqa: ANN401
        """Take Kamailio's API, the run folder, the set's number and the monotonic clock."""
        self._ksr = ksr
        self._path = run_dir / FILE_NAME
        self._set_id = int(set_id)
        self._clock_s = clock_s
        self._written: dict[str, bool] = {}
        self._shown_up: dict[str, bool] = {}
        self._reloaded_s = float("-inf")
        self._looked_s = float("-inf")

    def write_file(self, uris: Mapping[str, bool]) -> None:
        """Write the list, each URI with whether it is disabled, whole or not at all."""
        lines = [f"{self._set_id} {uri} {DISABLED if off else ACTIVE} 0\n" for uri, off in uris.items()]
        part = self._path.with_suffix(".part")
        text = "# written by Steelyard from Redis; changes made here are lost\n" + "".join(lines)
        part.write_text(text, encoding="utf-8")
        part.replace(self._path)

    def sync(self, uris: Mapping[str, bool], up: Mapping[str, bool]) -> bool:
        """
        Bring dispatcher up to date where it differs.

        Args:
            uris: URI -> disabled (in maint, or by the operator's set_state).
            up: URI -> up, by our own count of pings.

        Returns:
            Whether a list was written.

        Raises:
            OSError: the list cannot be written; it is tried again.
        """
        wrote = False
        if uris != self._written and self._clock_s() - self._reloaded_s >= MIN_RELOAD_INTERVAL_S:
            if self._is_news_from_the_operator(uris):
                self._looked_s = float("-inf")  # a reload would undo it: to be heard first, then mirrored
                return False
            self._reloaded_s = self._clock_s()
            self.write_file(uris)
            wrote = True
            if self._call("dispatcher.reload") is not None:
                self._written = dict(uris)
                self._shown_up = dict.fromkeys(uris, True)
        for uri, disabled in self._written.items():
            is_up = up.get(uri, True)
            # What is to be disabled by the next reload is left alone: set_state would enable it until then.
            if not disabled and not uris.get(uri, True) and self._shown_up.get(uri) is not is_up:
                self._call("dispatcher.set_state", ["ap" if is_up else "ip", self._set_id, uri])
                self._shown_up[uri] = is_up
        return wrote

    def disabled_by_operator(self) -> dict[str, bool] | None:
        """
        Look at dispatcher's flags for what an operator changed with set_state.

        Returns:
            URI -> disabled, for every URI whose flag differs from what we wrote or can only be the operator's;
            None when it was not time to look.
        """
        now_s = self._clock_s()
        if now_s - self._looked_s < LOOK_INTERVAL_S or not self._written:
            return None
        self._looked_s = now_s
        seen = {}
        for uri, flags in self._flags().items():
            disabled, ours = "D" in flags, self._written.get(uri)
            # Our own mark says nothing about the operator, unless it has been taken away.
            if ours is False or (ours is True and not disabled):
                seen[uri] = disabled
        return seen

    def _is_news_from_the_operator(self, uris: Mapping[str, bool]) -> bool:
        """Say whether dispatcher shows a destination as disabled that neither we nor the list to come disable."""
        if not self._written:
            return False
        return any(
            "D" in flags and self._written.get(uri) is False and uris.get(uri) is False
            for uri, flags in self._flags().items()
        )

    def _flags(self) -> dict[str, str]:
        answer = self._call("dispatcher.list")
        flags = {}
        for record in answer.get("RECORDS", []) if isinstance(answer, dict) else []:
            for target in record["SET"]["TARGETS"]:
                flags[target["DEST"]["URI"]] = target["DEST"]["FLAGS"]
        return flags

    def _call(self, method: str, params: list[Any] | None = None) -> Any:  # noqa: ANN401 - an answer has any shape
        """Run one of dispatcher's RPC commands; return its result, None when it failed, which is logged."""
        answer = rpc.run(self._ksr, method, params)
        if "error" in answer:
            self._ksr.warn(f"{method} {params or ''} failed: {answer['error'].get('message')}\n")
            return None
        return answer.get("result", True)
