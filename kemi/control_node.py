"""The script that kamailio.cfg loads: finds the packages, wires the parts, names the callbacks."""

import site
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
site.addsitedir(
    str(HERE.parent / ".venv" / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages")
)

import KSR  # noqa: E402 - after the path is set
from steelyard.edge.node import ControlNode, build  # noqa: E402


def mod_init() -> ControlNode:
    """Kamailio calls this once, before it forks; raising stops the start."""
    return build(KSR, HERE.parent)
