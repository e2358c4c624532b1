"""The script that kamailio.cfg loads: finds the packages, wires the parts, names the callbacks."""

import site
import sys
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
VENV = HOME / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
site.addsitedir(str(VENV))

import KSR  # noqa: E402 - after the path is set

try:
    from steelyard.edge.node import ControlNode, build
except ModuleNotFoundError as error:
    raise ImportError(f"{error.name} is neither installed nor in {VENV}: run `make run` once") from None


def mod_init() -> ControlNode:
    """Kamailio calls this once, before it forks; raising stops the start."""
    return build(KSR, HOME)
