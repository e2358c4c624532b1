"""The agents of examples/agents, on what their systems' own commands print, against a real Redis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.parts import HOME, RedisServer

AGENTS = HOME / "examples" / "agents"
URI = "sip:192.0.2.10:5060"
KEY = f"steelyard:{{1}}:report:{URI}"

# As FreeSWITCH 1.10 prints it: src/mod/applications/mod_commands/mod_commands.c, status_function.
FREESWITCH = """UP 0 years, 2 days, 3 hours, 4 minutes, 5 seconds, 6 milliseconds, 7 microseconds
FreeSWITCH (Version 1.10.9 -release 64bit) is ready
{total} session(s) since startup
{now} session(s) - peak 60, last 5min 40
2 session(s) per Sec out of max 30, peak 9, last 5min 4
1000 session(s) max
min idle cpu 0.00/75.50
Current Stack Size/Max 240K/8192K
"""
# As Asterisk 18 prints it: main/cli.c, handle_chanlist, and main/asterisk.c, handle_show_settings.
CHANNELS = "{channels} active channels\n{now} active calls\n{total} calls processed\n"
SETTINGS = """
PBX Core settings
-----------------
  Version:                     18.10.0
  Maximum calls:               {max} (Current {now})
  Maximum open file handles:   1024
"""
# As OpenSIPS 3.2 answers get_statistics: core/mi/mi_core.c and the statistics of its modules.
OPENSIPS = """{{
    "load:load": {load},
    "load:load1m": 20,
    "core:rcv_requests": {requests},
    "tm:5xx_transactions": {errors},
    "shmem:total_size": 67108864,
    "shmem:real_used_size": 16777216
}}
"""


@pytest.fixture
def redis(tmp_path):
    """A private Redis."""
    with RedisServer(tmp_path / "redis") as server:
        yield server.run()


class Host:
    """A host whose commands print what a test gives them, one after the other, the last for ever."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.redis = redis
        self.env = {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "STEELYARD_URI": URI,
            "STEELYARD_REDIS_URL": redis.url,
            "INTERVAL_S": "0.5",
        }

    def command(self, name: str, **outputs: list[str]) -> None:
        """Make a command; each keyword is a part of its arguments."""
        rows = []
        for part, texts in outputs.items():
            for number, text in enumerate(texts):
                (self.bin / f"{name}.{part}.{number}").write_text(text)
            last = len(texts) - 1
            counter = self.bin / f"{name}.{part}.n"
            rows.append(
                f"*{part}*) n=$(cat {counter} 2>/dev/null || echo 0); echo $((n + 1)) > {counter}; "
                f"[ $n -gt {last} ] && n={last}; cat {self.bin}/{name}.{part}.$n ;;"
            )
        script = self.bin / name
        script.write_text('#!/bin/sh\ncase "$*" in\n' + "\n".join(rows) + "\n*) exit 1 ;;\nesac\n")
        script.chmod(0o755)

    def run(self, agent: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run an agent for one report."""
        argv = [sys.executable, str(AGENTS / agent)] if agent.endswith(".py") else [str(AGENTS / agent)]
        return subprocess.run(
            [*argv, "--once"], env={**self.env, **env}, capture_output=True, text=True, timeout=20, check=False
        )

    def pushed(self) -> dict[str, str]:
        """Return what the last report says, but for its time."""
        fields = self.redis.client().hgetall(KEY)
        assert int(fields.pop("time")) > 1_700_000_000
        assert 50 <= self.redis.client().ttl(KEY) <= 60
        return fields


@pytest.fixture
def host(tmp_path, redis) -> Host:
    """A host with the private Redis as its control node's."""
    return Host(tmp_path, redis)


def freeswitch(host: Host, totals, paused: str = "false") -> None:
    """Have fs_cli print its status."""
    host.command("fs_cli", status=[FREESWITCH.format(total=n, now=250) for n in totals], pause_check=[paused])


def test_freeswitch_tells_sessions_and_cpu(host):
    """Over its own limit and its own idle figure."""
    freeswitch(host, [1000, 1010])
    done = host.run("freeswitch.sh")
    assert (0, "") == (done.returncode, done.stderr)
    assert {
        "rps_fractional": "20.000",
        "application_utilization": "0.2500",
        "cpu_utilization": "0.2450",
        "state": "ready",
        "down": "0",
    } == host.pushed()


def test_a_paused_freeswitch_drains(host):
    """`fsctl pause inbound`."""
    freeswitch(host, [1000, 1010], paused="true")
    host.run("freeswitch.sh")
    assert "drain" == host.pushed()["state"]


def test_a_freeswitch_that_began_anew_has_no_rate(host):
    """Its counter went back."""
    freeswitch(host, [1000, 3])
    host.run("freeswitch.sh")
    assert "rps_fractional" not in host.pushed()


def test_asterisk_tells_calls_and_the_machines_load(host, tmp_path):
    """Over the limit that is set."""
    (tmp_path / "loadavg").write_text(f"{(os.cpu_count() or 1) / 2} 0.1 0.1 1/100 9\n")
    counts = [CHANNELS.format(channels=12, now=6, total=n) for n in (500, 504)]
    host.command("asterisk", count=counts, settings=[SETTINGS.format(max=100, now=6)])
    done = host.run("asterisk.sh", LOADAVG=str(tmp_path / "loadavg"))
    assert (0, "") == (done.returncode, done.stderr)
    assert {
        "rps_fractional": "8.000",
        "application_utilization": "0.0600",
        "cpu_utilization": "0.5000",
        "state": "ready",
        "down": "0",
    } == host.pushed()


def test_an_asterisk_without_a_limit_tells_no_utilization_of_calls(host):
    """`Maximum calls: Not set`."""
    host.command(
        "asterisk",
        count=[CHANNELS.format(channels=2, now=1, total=500)],
        settings=["  Maximum calls:               Not set\n"],
    )
    host.run("asterisk.sh")
    assert {"rps_fractional", "cpu_utilization", "state", "down"} == host.pushed().keys()


def test_opensips_tells_its_processes_load_and_its_requests(host):
    """Rates over the time that has really passed."""
    statistics = [OPENSIPS.format(load=25, requests=n, errors=e) for n, e in ((1000, 3), (1100, 4))]
    host.command("opensips-cli", get_statistics=statistics)
    done = host.run("opensips.py")
    assert (0, "") == (done.returncode, done.stderr)
    fields = host.pushed()
    assert (200, 2) == pytest.approx((float(fields.pop("rps_fractional")), float(fields.pop("eps"))), rel=0.4)
    assert {
        "application_utilization": "0.2500",
        "mem_utilization": "0.2500",
        "state": "ready",
        "down": "0",
    } == fields


def test_an_opensips_that_began_anew_has_no_rate(host):
    """Its counters went back."""
    host.command("opensips-cli", get_statistics=[OPENSIPS.format(load=1, requests=n, errors=0) for n in (1000, 3)])
    host.run("opensips.py")
    assert "rps_fractional" not in host.pushed()


@pytest.mark.parametrize(
    ("agent", "command"), [("freeswitch.sh", "fs_cli"), ("asterisk.sh", "asterisk"), ("opensips.py", "opensips-cli")]
)
def test_a_system_that_does_not_answer_is_down(host, agent, command):
    """And nothing else is said of it."""
    host.command(command)
    host.run(agent)
    assert {"down": f"{command}-does-not-answer"} == host.pushed()


@pytest.mark.parametrize("agent", ["freeswitch.sh", "asterisk.sh", "opensips.py"])
@pytest.mark.parametrize("name", ["STEELYARD_URI", "STEELYARD_REDIS_URL"])
def test_a_missing_variable_is_named(host, agent, name):
    """And nothing is begun."""
    done = host.run(agent, **{name: ""})
    assert (2, True) == (done.returncode, name in done.stderr)


@pytest.mark.parametrize("agent", ["freeswitch.sh", "opensips.py"])
def test_a_redis_that_is_away_is_told(host, agent):
    """The agent goes on."""
    freeswitch(host, [1])
    host.command("opensips-cli", get_statistics=[OPENSIPS.format(load=1, requests=1, errors=0)])
    done = host.run(agent, STEELYARD_REDIS_URL="redis://127.0.0.1:1")
    assert (0, True) == (done.returncode, "Redis takes no report" in done.stderr)
