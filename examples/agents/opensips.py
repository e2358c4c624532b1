#!/usr/bin/env python3
"""
Tells an OpenSIPS' load to Steelyard: asks its statistics every INTERVAL_S seconds and pushes them into Redis.

Changes nothing in OpenSIPS. Its variables and what it tells: README.md beside this file. Needs redis-py.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import redis

# opensips-cli's own configuration may have it print something else than JSON
ASK = ["opensips-cli", "-o", "output_type=pretty-print", "-x", "mi", "get_statistics"]
CLASSES = ["load:", "core:", "tm:", "sl:", "shmem:"]
RATES = {
    "rps_fractional": ("core:rcv_requests",),
    "eps": ("tm:5xx_transactions", "sl:5xx_replies"),  # answered with state and without
}
EXPIRE_S = 60


def sample() -> dict[str, float]:
    """Return the statistics, empty when OpenSIPS does not answer."""
    try:
        done = subprocess.run([*ASK, *CLASSES], capture_output=True, text=True, timeout=5, check=True)
        return {name: float(value) for name, value in json.loads(done.stdout).items()}
    except (OSError, ValueError, TypeError, AttributeError, subprocess.SubprocessError):
        return {}


def report(before: dict[str, float], now: dict[str, float], seconds: float) -> dict[str, str]:
    """Return the fields of a report; rates only where the counters have gone on."""
    if not now:
        return {"down": "opensips-cli-does-not-answer"}
    fields = {"down": "0", "state": "ready"}
    if "load:load" in now:
        fields["application_utilization"] = f"{min(now['load:load'] / 100, 1):.4f}"
    if now.get("shmem:total_size") and "shmem:real_used_size" in now:
        fields["mem_utilization"] = f"{now['shmem:real_used_size'] / now['shmem:total_size']:.4f}"
    for field, counters in RATES.items():
        gone_on = [now[name] - before[name] for name in counters if name in before and name in now]
        if gone_on and min(gone_on) >= 0:
            fields[field] = f"{sum(gone_on) / seconds:.3f}"
    return fields


def is_redis_url(url: str) -> bool:
    """Say whether redis-py can use it."""
    try:
        redis.Redis.from_url(url)
    except ValueError:
        return False
    return re.match(r"(rediss?://|unix:///).", url) is not None


def expected(environ: Mapping[str, str], arguments: Sequence[str]) -> str:
    """Return what is wrong with the variables or the arguments; empty when nothing is."""
    if not re.fullmatch(r"sip:[^\s\"'\\]+", environ.get("STEELYARD_URI", "")):
        return "STEELYARD_URI: expected a SIP URI such as sip:192.0.2.10:5060"
    if not is_redis_url(environ.get("STEELYARD_REDIS_URL", "")):
        return "STEELYARD_REDIS_URL: expected a URL such as redis://192.0.2.1:6379"
    if not re.fullmatch(r"[1-9][0-9]*", environ.get("STEELYARD_SET") or "1"):
        return "STEELYARD_SET: expected a whole number from 1"
    interval = environ.get("INTERVAL_S") or "2"
    if not re.fullmatch(r"[0-9]*\.?[0-9]*", interval) or not re.search(r"[1-9]", interval):
        return "INTERVAL_S: expected seconds above 0"
    if list(arguments) not in ([], ["--once"]):
        return f"{arguments[0]}: expected --once or nothing"
    return ""


def main() -> int:
    """Report for ever, or once with --once."""
    wrong = expected(os.environ, sys.argv[1:])
    if wrong:
        print(f"{sys.argv[0]}: {wrong}; README.md beside this file says what it is", file=sys.stderr)
        return 2
    key = f"steelyard:{{{os.environ.get('STEELYARD_SET') or 1}}}:report:{os.environ['STEELYARD_URI']}"
    interval_s = float(os.environ.get("INTERVAL_S") or 2)
    client = redis.Redis.from_url(os.environ["STEELYARD_REDIS_URL"], socket_timeout=2)
    before, began_s = sample(), time.monotonic()
    while True:
        time.sleep(interval_s)
        now, now_s = sample(), time.monotonic()
        fields = {**report(before, now, now_s - began_s), "time": str(int(time.time()))}
        taken = True
        try:
            client.pipeline().delete(key).hset(key, mapping=fields).expire(key, EXPIRE_S).execute()
        except redis.RedisError as error:
            taken = False
            print(f"{sys.argv[0]}: Redis takes no report: {error}", file=sys.stderr)
        if "--once" in sys.argv:
            return 0 if taken else 1
        before, began_s = now, now_s


if __name__ == "__main__":
    sys.exit(main())
