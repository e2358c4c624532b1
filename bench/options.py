"""
What the benchmark's environment variables say.

    BENCH_SECONDS  30             length of each measurement
    BENCH_HOLDS    0,10           mean hold of the calls in each pass of bench.compare, seconds; 0: no hold
    BENCH_SEED     drawn anew     of the order in which the queues are listed
    BENCH_CALLS    50000          calls of each run of bench.rate
    BENCH_ONLY     all            contenders to run: their names, or the beginnings of them, with commas between
    BENCH_RESULTS  bench/results  folder for tables and plots
"""

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from lab.parts import HOME


class Named(Protocol):
    """Whatever has a name."""

    @property
    def name(self) -> str:
        """What it is called in tables."""


NamedT = TypeVar("NamedT", bound=Named)


def seconds() -> int:
    """Return the length of each measurement."""
    return int(os.environ.get("BENCH_SECONDS") or "30")


def holds_s() -> list[float]:
    """Return the mean hold of each pass."""
    return [float(text) for text in (os.environ.get("BENCH_HOLDS") or "0,10").split(",")]


def seed() -> int:
    """Return the seed that is given, or a new one."""
    text = os.environ.get("BENCH_SEED")
    return int(text) if text else secrets.randbelow(10_000)


def calls() -> int:
    """Return how many calls a rate has to stand."""
    return int(os.environ.get("BENCH_CALLS") or "50000")


def results() -> Path:
    """Return the folder for tables and plots."""
    return Path(os.environ.get("BENCH_RESULTS") or HOME / "bench" / "results")


def chosen(contenders: Sequence[NamedT]) -> list[NamedT]:
    """Return the contenders that BENCH_ONLY names, in their order."""
    wanted = [text.strip() for text in (os.environ.get("BENCH_ONLY") or "").split(",") if text.strip()]
    return [one for one in contenders if not wanted or any(_is_named(one.name, text) for text in wanted)]


def _is_named(name: str, text: str) -> bool:
    """Say whether a name begins with these words: "dispatcher 1" is not the beginning of "dispatcher 10"."""
    return f"{name} ".startswith(f"{text} ")
