"""The highest rate that passes, looked for by doubling and halving; knows nothing of what is tried."""

from dataclasses import dataclass
from typing import Final

PRECISION: Final = 1.05  # the lowest rate that failed over the highest that passed
MAX_RUNS: Final = 8


@dataclass
class Search:
    """What was tried so far: doubled until one rate fails, then halved between the two."""

    start_cps: float
    passed_cps: float = 0.0  # the highest; 0: none yet
    failed_cps: float = 0.0  # the lowest; 0: none yet
    runs: int = 0

    def next_cps(self) -> float | None:
        """Return the rate to try next, None when the search is over."""
        if self.runs >= MAX_RUNS:
            return None
        if not self.failed_cps:
            return 2 * self.passed_cps or self.start_cps
        if not self.passed_cps:
            return self.failed_cps / 2
        if self.failed_cps <= PRECISION * self.passed_cps:
            return None
        return (self.passed_cps + self.failed_cps) / 2

    def on_run(self, cps: float, *, passed: bool) -> None:
        """Take note of a run."""
        self.runs += 1
        if passed:
            self.passed_cps = max(self.passed_cps, cps)
        else:
            self.failed_cps = min(self.failed_cps or cps, cps)
