"""`make run` and `make demo`: what is wrong is said in one line, what was started is stopped."""

import contextlib
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from lab.parts import HOME, RedisServer, answers_options
from lab.process import Process, free_port

COMMAND = [str(HOME / ".venv" / "bin" / "python"), "-m", "steelyard.edge.launch"]


def _environment(folder: Path, **variables: str) -> dict[str, str]:
    port = variables.pop("port", "") or str(free_port())
    return {
        "PYTHONPATH": str(HOME / "kemi"),
        "STEELYARD_RUN_DIR": str(folder),
        "STEELYARD_LISTEN": f"udp:127.0.0.1:{port}",
        **variables,
    }


def _refused(folder: Path, **variables: str) -> str:
    """Start with these variables, expect a refusal and return its one line."""
    done = subprocess.run(
        COMMAND,
        env={**os.environ, **_environment(folder, **variables)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert 1 == done.returncode
    assert 1 == done.stderr.count("\n"), done.stderr
    return done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STEELYARD_LISTEN", "127.0.0.1"),
        ("STEELYARD_LISTEN", "udp:127.0.0.1:99999"),
        ("STEELYARD_LISTEN", "udp:203.0.113.7.9:5060"),
        ("STEELYARD_REDIS_URL", "http://localhost"),
        ("STEELYARD_REDIS_URL", "redis://localhost?socket_timeout=soon"),
        ("STEELYARD_SET", "one"),
        ("STEELYARD_WORKERS", "0"),
        ("STEELYARD_WORKERS", "many"),
        ("STEELYARD_RUN_DIR", "var"),
        ("STEELYARD_RUN_DIR", "/proc/nowhere"),
    ],
)
def test_a_wrong_variable_stops_the_start_with_its_name(tmp_path, name, value):
    """The line names the variable, what it says and what was expected."""
    line = _refused(tmp_path, **{name: value})
    assert name in line
    assert "expected" in line or "no address" in line


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_port_in_use_is_named_with_what_to_do(tmp_path, kind):
    """Another program's port is left alone, and the way out is said."""
    port = free_port()
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", port))
        if kind is socket.SOCK_STREAM:
            other.listen()
        line = _refused(tmp_path, STEELYARD_LISTEN=f"127.0.0.1:{port}")
    assert str(port) in line
    assert "STEELYARD_LISTEN" in line


def test_a_node_with_a_redis_of_its_own_stops_it_at_the_end(tmp_path):
    """Without STEELYARD_REDIS_URL a private Redis is started, and at SIGTERM nothing stays behind."""
    port = free_port()
    node = Process("run", COMMAND, tmp_path, _environment(tmp_path / "run", port=str(port)))
    with node.start(lambda: answers_options(port)):
        assert (tmp_path / "run" / "redis.sock").exists()
        os.kill(node.pid, signal.SIGTERM)
        assert 0 == node.wait(20)
    assert not answers_options(port)
    with socket.socket(socket.AF_UNIX) as probe, pytest.raises(OSError, match=r"refused|No such file"):
        probe.connect(str(tmp_path / "run" / "redis.sock"))


def test_a_second_node_in_the_same_folder_is_refused(tmp_path):
    """Two nodes must not share a private Redis by accident."""
    port = free_port()
    node = Process("run", COMMAND, tmp_path, _environment(tmp_path / "run", port=str(port)))
    with node.start(lambda: answers_options(port)):
        assert "already" in _refused(tmp_path / "run")


def test_a_redis_that_refuses_the_password_is_told_with_what_to_do(tmp_path):
    """The node starts from its last good list, and the line says where the password belongs."""
    port = free_port()
    with RedisServer(tmp_path / "redis", "--requirepass", "secret") as redis:
        redis.start(redis.socket_path.exists)
        env = _environment(tmp_path / "run", port=str(port), STEELYARD_REDIS_URL=redis.url)
        with Process("run", COMMAND, tmp_path, env).start(lambda: answers_options(port)) as node:
            assert "password" in node.log
            assert "STEELYARD_REDIS_URL" in node.log
            assert "secret" not in node.log


def test_kamailio_alone_runs_the_configuration(tmp_path):
    """`kamailio -f kamailio.cfg` works without make, from the folder of the configuration."""
    port = free_port()
    env = {"PWD": str(HOME), "STEELYARD_LISTEN": f"udp:127.0.0.1:{port}", "STEELYARD_RUN_DIR": str(tmp_path / "run")}
    argv = ["kamailio", "-f", str(HOME / "kamailio.cfg"), "-DD", "-E"]
    with Process("kamailio", argv, tmp_path, env).start(lambda: answers_options(port)) as node:
        assert node.is_running()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(tmp_path, number):
    """Ctrl-C in the middle: every program it started is gone."""
    python = str(HOME / ".venv" / "bin" / "python")
    env = {"PYTHONPATH": f"{HOME / 'kemi'}:{HOME}", "DEMO_SECONDS": "60", "TMPDIR": str(tmp_path)}
    demo = Process("demo", [python, "-m", "lab.demo"], tmp_path, env)
    with demo.start(lambda: "learning" in demo.log, timeout_s=30):
        started = _running(str(tmp_path))
        assert any("kamailio" in program for program in started)
        os.kill(demo.pid, number)
        assert 130 == demo.wait(30)
    assert [] == _running(str(tmp_path))


def _running(folder: str) -> list[str]:
    """Return the command lines of the programs that have to do with a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                text = (entry / "cmdline").read_text() + (entry / "environ").read_text()
                command = (entry / "cmdline").read_text().replace("\0", " ").strip()
                if folder in text and command and "pytest" not in command and "lab.demo" not in command:
                    found.append(command)
    return found
