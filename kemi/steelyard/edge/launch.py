"""
`make run`: the control node in the foreground, with a private Redis when no other is named.

Looks at the environment, the programs and the ports before anything starts, so that what is wrong is said in one line.
Stops what it started, and nothing else.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from . import environment
from .environment import BadEnvironment, Environment
from .store import Store, StoreUnavailable

HOME: Final = Path(__file__).resolve().parents[3]
DEFAULT_LISTEN: Final = "udp:127.0.0.1:5060 tcp:127.0.0.1:5060"
START_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 10.0


class CannotStart(Exception):
    """What is wrong and what to do, in one line."""


def main() -> int:
    """Run until interrupted; return an exit status."""
    try:
        env = environment.read(os.environ, HOME)
        environment.prepare(env)
        check_sockets(os.environ)
        check_workers(os.environ)
        check_programs()
        return _run(env)
    except (BadEnvironment, CannotStart) as error:
        print(f"steelyard: {error}", file=sys.stderr)
        return 1


def check_programs() -> None:
    """
    Check that what kamailio.cfg needs is installed.

    Raises:
        CannotStart: a program or Kamailio's Python module is missing.
    """
    for program in ("kamailio", "redis-server"):
        if shutil.which(program, path=_path()) is None:
            raise CannotStart(f"{program} is not installed: run `make packages`")
    folders = re.findall(r'^mpath="(.*)"$', (HOME / "kamailio.cfg").read_text(), re.MULTILINE)[0].split(":")
    if not any((Path(folder) / "app_python3.so").exists() for folder in folders):
        raise CannotStart("Kamailio's module app_python3 is not installed: run `make packages`")


def check_workers(environ: Mapping[str, str]) -> None:
    """
    Check what kamailio.cfg takes as `children`.

    Raises:
        BadEnvironment: no whole number from 1 to 64.
    """
    workers = environ.get("STEELYARD_WORKERS") or "4"
    if not re.fullmatch(r"[0-9]{1,2}", workers) or not 1 <= int(workers) <= 64:
        raise BadEnvironment(f"STEELYARD_WORKERS={workers}: expected a whole number from 1 to 64")


def check_sockets(environ: Mapping[str, str]) -> None:
    """
    Check that Kamailio can listen where it is told to.

    Raises:
        BadEnvironment: not a list of udp:ADDRESS:PORT or tcp:ADDRESS:PORT.
        CannotStart: another program listens there.
    """
    listen = environ.get("STEELYARD_LISTEN") or DEFAULT_LISTEN
    for text in listen.split():
        match = re.fullmatch(r"(?:(udp|tcp):)?(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})", text)
        if match is None or not 1 <= int(match[3]) <= 65535:
            expected = "sockets such as udp:192.0.2.1:5060, several separated by spaces"
            raise BadEnvironment(f"STEELYARD_LISTEN={listen}: expected {expected}")
        for proto in [match[1]] if match[1] else ["udp", "tcp"]:
            _check_free(proto, match[2].strip("[]"), int(match[3]))


def _check_free(proto: str, host: str, port: int) -> None:
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=kind)[0]
    except OSError as error:
        raise BadEnvironment(f"STEELYARD_LISTEN: {host} is no address of this machine ({error})") from None
    with socket.socket(family, kind) as probe:
        if proto == "tcp":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            hint = "another program has it, perhaps Debian's own kamailio service (`systemctl status kamailio`), "
            hint += "which is left alone: choose another socket with STEELYARD_LISTEN"
            raise CannotStart(f"cannot listen on {proto}:{host}:{port}, {error.strerror}; {hint}") from None


def _run(env: Environment) -> int:
    private = None if os.environ.get("STEELYARD_REDIS_URL") else _start_redis(env)
    try:
        if private is None:
            _look_at_redis(env)
        return _run_kamailio(env)
    finally:
        if private is not None:
            _stop(private)


def _start_redis(env: Environment) -> "subprocess.Popen[bytes]":
    path = env.run_dir / "redis.sock"
    if _answers(path):
        raise CannotStart(f"a Redis answers on {path} already: is another control node running in {env.run_dir}?")
    argv = ["redis-server", "--port", "0", "--unixsocket", str(path), "--dir", str(env.run_dir)]
    argv += ["--appendonly", "yes", "--save", "", "--daemonize", "no", "--loglevel", "warning"]
    redis = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.DEVNULL)  # noqa: S603
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _answers(path):
        if redis.poll() is not None or time.monotonic() > deadline_s:
            _stop(redis)
            raise CannotStart(f"the private Redis did not start; its data is in {env.run_dir}")
        time.sleep(0.02)
    print(f"steelyard: private Redis, tune it with: redis-cli -s {path}", file=sys.stderr)
    return redis


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.settimeout(1.0)
        probe.connect(str(path))
        probe.sendall(b"PING\r\n")
        return probe.recv(64).startswith((b"+PONG", b"-"))
    return False


def _look_at_redis(env: Environment) -> None:
    try:
        Store(env.redis_url, env.set_id, time.monotonic).read_list()
    except ValueError:
        raise environment.bad_redis_url(env.redis_url) from None
    except StoreUnavailable as error:
        print(f"steelyard: Redis cannot be used yet, starting from the last good list: {error}", file=sys.stderr)


def _run_kamailio(env: Environment) -> int:
    argv = ["kamailio", "-f", str(HOME / "kamailio.cfg"), "-DD", "-E"]
    variables = {**os.environ, "PATH": _path(), "STEELYARD_HOME": str(HOME), "STEELYARD_RUN_DIR": str(env.run_dir)}
    for name in ("STEELYARD_LISTEN", "STEELYARD_WORKERS"):
        if not variables.get(name):
            variables.pop(name, None)  # an empty one would hide kamailio.cfg's default
    kamailio = subprocess.Popen(argv, env=variables, start_new_session=True)  # noqa: S603
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: kamailio.terminate())
    print(
        f"steelyard: kamcmd -s unix:{env.run_dir}/kamailio.ctl dispatcher.list shows the destinations", file=sys.stderr
    )
    status = kamailio.wait()
    return 0 if status in (0, -signal.SIGTERM) else 1


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _path() -> str:
    """Return PATH with the folders where Debian keeps daemons, which an ordinary user's lacks."""
    return os.environ.get("PATH", "/usr/bin") + ":/usr/sbin:/sbin"


if __name__ == "__main__":
    sys.exit(main())
