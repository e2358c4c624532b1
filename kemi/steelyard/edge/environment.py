"""
The environment variables, read once at start; a wrong one stops the start with its name and what was expected.

Does not open anything.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

REDIS_SCHEMES = ("redis", "rediss", "unix")


class BadEnvironment(ValueError):
    """A variable that cannot be used; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the operator set from outside."""

    redis_url: str
    set_id: str
    run_dir: Path


def read(environ: Mapping[str, str], home: Path) -> Environment:
    """
    Check the variables that the script uses; kamailio.cfg uses the others.

    Args:
        environ: the process's environment.
        home: the folder that holds kamailio.cfg, where the default run folder lies.

    Raises:
        BadEnvironment: a variable that cannot be used.
    """
    run_dir = Path(environ.get("STEELYARD_RUN_DIR") or home / "var")
    if not run_dir.is_absolute():
        raise _bad("STEELYARD_RUN_DIR", str(run_dir), "a path that begins with /")
    redis_url = environ.get("STEELYARD_REDIS_URL") or f"unix://{run_dir}/redis.sock"
    _check_redis_url(redis_url)
    set_id = environ.get("STEELYARD_SET") or "1"
    if not re.fullmatch(r"[0-9]{1,9}", set_id) or int(set_id) < 1:
        raise _bad("STEELYARD_SET", set_id, "a whole number from 1")
    return Environment(redis_url, set_id, run_dir)


def prepare(environment: Environment) -> None:
    """
    Make the run folder.

    Raises:
        BadEnvironment: it cannot be made or written to.
    """
    try:
        environment.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _bad(
            "STEELYARD_RUN_DIR", str(environment.run_dir), f"a folder that can be made ({error.strerror})"
        ) from None
    if not os.access(environment.run_dir, os.W_OK):
        raise _bad("STEELYARD_RUN_DIR", str(environment.run_dir), "a folder this user may write to")


def _check_redis_url(url: str) -> None:
    try:
        usable = urlsplit(url).scheme in REDIS_SCHEMES and urlsplit(url).port != 0
    except ValueError:  # brackets or a port that are none
        usable = False
    if not usable:
        raise bad_redis_url(url)


def bad_redis_url(url: str) -> BadEnvironment:
    """Return the error for a Redis URL that cannot be used, without its password."""
    expected = "a URL such as redis://:password@192.0.2.1:6379/0 or unix:///run/redis.sock"
    return _bad("STEELYARD_REDIS_URL", _without_password(url), expected)


def _bad(name: str, value: str, expected: str) -> BadEnvironment:
    return BadEnvironment(f"{name}={value}: expected {expected}")


def _without_password(url: str) -> str:
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/@]*:).*@", r"\1***@", url))
