"""The script that a downstream Kamailio loads to tell its load: wires the parts, names the callbacks."""

import KSR
from steelyard.edge.downstream_node import DownstreamNode, build


def mod_init() -> DownstreamNode:
    """Kamailio calls this once, before it forks; raising stops the start."""
    return build(KSR)
