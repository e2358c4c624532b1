#!/usr/bin/env python3
"""
Tells an OpenSIPS' load to Steelyard: asks its statistics every INTERVAL_S seconds and pushes them into Redis.

Changes nothing in OpenSIPS. Its variables and what it tells: README.md beside this file. Needs redis-py.
"""

import json
import os
import subprocess
import sys
import time

import redis

ASK = ["opensips-cli", "-x", "mi", "get_statistics", "load:", "core:", "tm:", "shmem:"]
EXPIRE_S = 60


def sample() -> dict[str, float]:
    """Return the statistics, empty when OpenSIPS does not answer."""
    try:
        done = subprocess.run(ASK, capture_output=True, text=True, timeout=5, check=True)
        return {name: float(value) for name, value in json.loads(done.stdout).items()}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def report(before: dict[str, float], now: dict[str, float], seconds: float) -> dict[str, str]:
    """Return the fields of a report; rates only where the counters have gone on."""
    if not now:
        return {"down": "opensips-cli-does-not-answer"}
    fields = {"down": "0", "state": "ready"}
    if "load:load" in now:
        fields["application_utilization"] = f"{min(now['load:load'] / 100, 1):.4f}"
    if now.get("shmem:total_size"):
        fields["mem_utilization"] = f"{now['shmem:real_used_size'] / now['shmem:total_size']:.4f}"
    for field, counter in (("rps_fractional", "core:rcv_requests"), ("eps", "tm:5xx_transactions")):
        if counter in before and now.get(counter, -1) >= before[counter]:
            fields[field] = f"{(now[counter] - before[counter]) / seconds:.3f}"
    return fields


def main() -> int:
    """Report for ever, or once with --once."""
    missing = [name for name in ("STEELYARD_URI", "STEELYARD_REDIS_URL") if not os.environ.get(name)]
    if missing:
        print(f"{sys.argv[0]}: {missing[0]} is not set; README.md beside this file says what it is", file=sys.stderr)
        return 2
    key = f"steelyard:{{{os.environ.get('STEELYARD_SET') or 1}}}:report:{os.environ['STEELYARD_URI']}"
    interval_s = float(os.environ.get("INTERVAL_S") or 2)
    client = redis.Redis.from_url(os.environ["STEELYARD_REDIS_URL"], socket_timeout=2)
    before, began_s = sample(), time.monotonic()
    while True:
        time.sleep(interval_s)
        now, now_s = sample(), time.monotonic()
        fields = {**report(before, now, now_s - began_s), "time": str(int(time.time()))}
        try:
            client.pipeline().delete(key).hset(key, mapping=fields).expire(key, EXPIRE_S).execute()
        except redis.RedisError as error:
            print(f"{sys.argv[0]}: Redis takes no report: {error}", file=sys.stderr)
        if "--once" in sys.argv:
            return 0
        before, began_s = now, now_s


if __name__ == "__main__":
    sys.exit(main())
