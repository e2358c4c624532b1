"""What a command has measured, as CSV and JSON in the folder of results, with the machine and the versions."""

import csv
import datetime as dt
import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.parts import KAMAILIO, REDIS_SERVER, SIPP

from . import options
from .table import Row

VERSIONS = {"kamailio": [KAMAILIO, "-v"], "sipp": [SIPP, "-v"], "redis": [REDIS_SERVER, "--version"]}


def write(name: str, rows: Sequence[Row], **facts: object) -> Path:
    """
    Write `name`.csv and `name`.json and return the latter.

    Args:
        name: of the command, as in `python -m bench.name`.
        rows: the table, each row with the same keys; lists are told with blanks between in the CSV.
        facts: what else is to be kept, for the JSON alone.
    """
    folder = options.results()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows({key: _flat(value) for key, value in row.items()} for row in rows)
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**_circumstances(name), **facts, "rows": list(rows)}, indent=1) + "\n")
    return path


def read(name: str) -> dict[str, Any]:
    """Return what the last run of a command has written; without rows when there is none."""
    path = options.results() / f"{name}.json"
    return dict(json.loads(path.read_text())) if path.exists() else {"rows": []}


def _flat(value: object) -> object:
    return " ".join(f"{part:g}" for part in value) if isinstance(value, list) else value


def _circumstances(name: str) -> dict[str, Any]:
    given = {key: value for key, value in os.environ.items() if key.startswith("BENCH_") and key != "BENCH_RESULTS"}
    return {
        "command": " ".join([*(f"{key}='{given[key]}'" for key in sorted(given)), f"python -m bench.{name}"]),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "versions": _versions(),
    }


def _machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {"cores": os.cpu_count(), "model": models[0] if models else os.uname().machine}


def _versions() -> dict[str, str]:
    commands = dict(VERSIONS)
    if os.environ.get("OPENSIPS"):
        commands["opensips"] = [os.environ["OPENSIPS"], "-V"]
    return {name: _version(command) for name, command in commands.items()}


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - our own programs
    found = re.search(r"\d+\.\d+[.\d]*", done.stdout)
    return found[0] if found else "?"
