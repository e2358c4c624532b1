"""The last run of every command as Markdown, from the JSON files that they have written."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from . import compare, cpu, faults, overload, rate, results, table
from .table import Column

COMMANDS: Final[dict[str, Sequence[Column]]] = {
    "compare": compare.COLUMNS,
    "faults": faults.COLUMNS,
    "overload": overload.COLUMNS,
    "cpu": cpu.COLUMNS,
    "rate": rate.HIGHEST,
}


def main() -> int:
    """Print a section for each command that has been run."""
    for name, columns in COMMANDS.items():
        run = results.read(name)
        if run["rows"]:
            print(_section(run, columns))
    return 0


def _section(run: dict[str, Any], columns: Sequence[Column]) -> str:
    """Return where, when and how a command was run, and its rows; one table for each hold of the calls."""
    lines = [_heading(run)]
    rows = run["rows"]
    for hold_s in dict.fromkeys(row.get("hold_s") for row in rows):
        if hold_s is not None:
            lines += [f"Calls of {hold_s:g} s on average:" if hold_s else "Calls without a hold:", ""]
        lines += [table.markdown(columns, [row for row in rows if row.get("hold_s") == hold_s]), ""]
    return "\n".join(lines)


def _heading(run: dict[str, Any]) -> str:
    machine, programs = run["machine"], ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    words = [f"`{run['command']}` on {machine['cores']} cores of {machine['model']}, {run['date']}; {programs}."]
    if "reference_ms" in run:
        times = run["reference_ms"]
        words.append(
            f"Central queue: mean {times['mean_s']:.1f} ms, p99 {times['p99_s']:.0f} ms; "
            f"bound of the mean {times['bound_s']:.1f} ms; seed {run['seed']}."
        )
    return "\n".join([*words, ""])


if __name__ == "__main__":
    sys.exit(main())
