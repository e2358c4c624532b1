"""
OpenSIPS as a balancer, where the variable OPENSIPS names its program.

OPENSIPS_MODULES is the folder of its modules; without it they are looked for beside the program, where `make install`
puts them. Needed: dialog, dispatcher, load_balancer, db_text, maxfwd, mi_fifo, rr, signaling, sipmsgops, sl, tm.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from lab.parts import HOME, answers_options
from lab.process import NotReady, Process, free_port

COLUMNS: Final = {
    "version": "table_name(string) table_version(int)",
    "load_balancer": "id(int,auto) group_id(int) dst_uri(string) resources(string) probe_mode(int) attrs(string,null) "
    "description(string,null)",
    "dispatcher": "id(int,auto) setid(int) destination(string) socket(string,null) state(int) probe_mode(int) "
    "weight(string) priority(int) attrs(string,null) description(string,null)",
}
VERSIONS: Final = (("load_balancer", "3"), ("dispatcher", "9"))
PROBE_ALWAYS: Final = "2"  # the load balancer's probe_mode


def is_there() -> bool:
    """Say whether OPENSIPS names a program."""
    return bool(os.environ.get("OPENSIPS"))


class OpenSips(Process):
    """An OpenSIPS with one of its two balancing modules."""

    def __init__(self, folder: Path, module: str, rows: Sequence[Sequence[str]], *, flags: str = "") -> None:
        """Prepare; `rows` are the lines of the module's table."""
        self.port = free_port()
        config = folder / "opensips.cfg"
        config.write_text(self._config(folder, module, flags))
        tables = {"version": VERSIONS, "load_balancer": (), "dispatcher": (), module: rows}
        for name, lines in tables.items():
            _write_table(folder / "db" / name, COLUMNS[name], lines)
        program = os.environ["OPENSIPS"]
        super().__init__("opensips", [program, "-F", "-f", str(config), "-m", "512", "-M", "16"], folder)

    def run(self) -> Self:
        """Start and wait until it answers."""
        return self.start(lambda: answers_options(self.port))

    def _config(self, folder: Path, module: str, flags: str) -> str:
        parts = [HOME / "bench" / name for name in ("opensips.cfg", f"opensips_{module}.cfg")]
        text = "".join(part.read_text() for part in parts)
        words = {
            "OPENSIPS_LISTEN": f"127.0.0.1:{self.port}",
            "OPENSIPS_WORKERS": "4",
            "OPENSIPS_MODULES": str(_modules()),
            "OPENSIPS_FOLDER": str(folder),
            "OPENSIPS_FLAGS": flags,
        }
        for word, value in words.items():
            text = text.replace(word, value)
        return text


def load_balancer_row(number: int, uri: str, calls: int) -> list[str]:
    """Return a destination that may have so many calls in progress."""
    return [str(number), "1", uri, f"calls={calls}", PROBE_ALWAYS, "", ""]


def dispatcher_row(number: int, uri: str, weight: int) -> list[str]:
    """Return a destination that is active, probed and has this weight."""
    return [str(number), "1", uri, "", "0", "1", str(weight), "0", "", ""]


def _modules() -> Path:
    """Return the folder of its modules."""
    if os.environ.get("OPENSIPS_MODULES"):
        return Path(os.environ["OPENSIPS_MODULES"])
    home = Path(os.environ["OPENSIPS"]).resolve().parent.parent
    machine = os.uname().machine
    for library in ("lib64", "lib", f"lib/{machine}-linux-gnu"):
        folder = home / library / "opensips" / "modules"
        if folder.is_dir():
            return folder
    raise NotReady(f"OPENSIPS={os.environ['OPENSIPS']}: no modules beside it; set OPENSIPS_MODULES")


def _write_table(path: Path, columns: str, rows: Sequence[Sequence[str]]) -> None:
    """Write a table of db_text: colons between the fields, those within them escaped."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [":".join(field.replace(":", "\\:") for field in row) for row in rows]
    path.write_text("\n".join([columns, *lines]) + "\n")
