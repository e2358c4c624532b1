"""
Kamailio's own commands, those that kamcmd runs, from inside.

Does not know any of them.
"""

import json
from typing import Any


def run(ksr: Any, method: str, params: list[Any] | None = None) -> dict[str, Any]:  # noqa: ANN401 - KSR has no types
    """
    Run a command.

    Returns:
        JSON-RPC's answer: its `result`, or its `error`; empty when Kamailio gave none.
    """
    request: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "id": 1}
    if params is not None:
        request["params"] = params
    ksr.jsonrpcs.exec(json.dumps(request))
    answer: dict[str, Any] = json.loads(ksr.pv.gete("$jsonrpl(body)") or "{}")
    return answer
