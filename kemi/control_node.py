"""The script that kamailio.cfg loads: finds the packages, wires the parts, names the callbacks."""

import gc
import locale
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
    # Python has taken the environment's character set, usually UTF-8: with it Kamailio's regular expressions, and there
    # are some for every message, read wide characters and take several times as long. SIP is bytes.
    locale.setlocale(locale.LC_CTYPE, "C")
    node = build(KSR, HOME)
    gc.freeze()  # all that there is now stays, and need not be looked through again and again in every process
    return node
