"""The agents of examples/agents, on what their systems' own commands print, against a real Redis."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.parts import HOME, RedisServer
from lab.process import Process, await_condition

AGENTS = HOME / "examples" / "agents"
URI = "sip:192.0.2.10:5060"
KEY = f"steelyard:{{1}}:report:{URI}"

# As FreeSWITCH 1.10 prints it: src/mod/applications/mod_commands/mod_commands.c, status_function; two of its lines end
# with a blank.
FREESWITCH = """UP 0 years, 2 days, 3 hours, 4 minutes, 5 seconds, 6 milliseconds, 7 microseconds
FreeSWITCH (Version 1.10.9 -release 64bit) is ready
{total} session(s) since startup
{now} session(s) - peak 260, last 5min 255{end}
2 session(s) per Sec out of max 30, peak 9, last 5min 4{end}
1000 session(s) max
min idle cpu 0.00/75.50
Current Stack Size/Max 240K/8192K
"""
# As Asterisk 18 prints it: main/cli.c, handle_chanlist without and with a limit, and ast_cli_command_full.
CHANNELS = "{channels} active channels\n{now} active calls\n{total} calls processed\n"
CHANNELS_OF_MAX = "12 active channels\n6 of 100 max active calls ( 6.00% of capacity)\n{total} calls processed\n"
STOPPING = "Command 'core show channels count' cannot be run during shutdown\n"
# As opensips-cli prints it: opensipscli/modules/mi.py (JSON, indented by 4) of what OpenSIPS 3 answers: statistics.c
# (CLASS:NAME and a number), with the names of pt.c, core_stats.c, modules/tm/tm.c, modules/sl/sl.c and shm_mem.c.
OPENSIPS = """{{
    "load:load": {load},
    "load:load1m": 20,
    "core:rcv_requests": {requests},
    "tm:5xx_transactions": {errors},
    "sl:5xx_replies": 7,
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


def freeswitch(host: Host, totals, paused: str = "false", stopping: str = "false") -> None:
    """Have fs_cli print its status."""
    status = [FREESWITCH.format(end=" ", total=n, now=250) for n in totals]
    host.command("fs_cli", status=status, pause_check=[paused], shutdown_check=[stopping])


def rate_of(fields: dict[str, str], name: str = "rps_fractional") -> float:
    """Take a rate out of a report."""
    return float(fields.pop(name))


def take_cpu(fields: dict[str, str]) -> None:
    """Take the machine's CPU, whatever it is, out of a report."""
    assert 0 <= float(fields.pop("cpu_utilization")) <= 1


def test_freeswitch_tells_sessions(host):
    """Over its own limit."""
    freeswitch(host, [1000, 1010])
    done = host.run("freeswitch.sh")
    assert (0, "") == (done.returncode, done.stderr)
    fields = host.pushed()
    take_cpu(fields)
    assert pytest.approx(20, rel=0.25) == rate_of(fields)
    assert {"application_utilization": "0.2500", "state": "ready", "down": "0"} == fields


def test_a_slow_answer_does_not_raise_the_rate(host):
    """Rates are over the time that has really passed: a busy system answers late."""
    host.command("fs_cli", status=[])
    script = host.bin / "fs_cli"
    text = FREESWITCH.format(end=" ", total="$(awk '{printf \"%d\", $1 * 100}' /proc/uptime)", now=250)
    script.write_text(f'#!/bin/sh\nsleep 0.3\n[ "$2" = status ] || exit 0\ncat <<EOT\n{text}\nEOT\n')
    host.run("freeswitch.sh")
    assert pytest.approx(100, rel=0.1) == rate_of(host.pushed())


def test_a_paused_freeswitch_drains(host):
    """`fsctl pause inbound`."""
    freeswitch(host, [1000, 1010], paused="true")
    host.run("freeswitch.sh")
    assert "drain" == host.pushed()["state"]


def test_a_freeswitch_that_is_to_be_shut_down_drains(host):
    """`fsctl shutdown elegant` takes new calls and waits for there to be none."""
    freeswitch(host, [1000, 1010], stopping="true")
    host.run("freeswitch.sh")
    assert "drain" == host.pushed()["state"]


def test_a_freeswitch_that_began_anew_has_no_rate(host):
    """Its counter went back."""
    freeswitch(host, [1000, 3])
    host.run("freeswitch.sh")
    assert "rps_fractional" not in host.pushed()


def test_asterisk_tells_calls(host):
    """Over the limit that is set."""
    host.command("asterisk", count=[CHANNELS_OF_MAX.format(total=n) for n in (500, 504)])
    done = host.run("asterisk.sh")
    assert (0, "") == (done.returncode, done.stderr)
    fields = host.pushed()
    take_cpu(fields)
    assert pytest.approx(8, rel=0.25) == rate_of(fields)
    assert {"application_utilization": "0.0600", "state": "ready", "down": "0"} == fields


def test_an_asterisk_without_a_limit_tells_no_utilization_of_calls(host):
    """Its channels are counted against nothing."""
    host.command("asterisk", count=[CHANNELS.format(channels=2, now=1, total=n) for n in (500, 504)])
    host.run("asterisk.sh")
    assert {"rps_fractional", "cpu_utilization", "state", "down"} == host.pushed().keys()


def test_an_asterisk_that_stops_gracefully_drains(host):
    """It is up and says only that it will not say."""
    host.command("asterisk", count=[CHANNELS.format(channels=2, now=1, total=500), STOPPING])
    host.run("asterisk.sh")
    fields = host.pushed()
    take_cpu(fields)
    assert {"state": "drain", "down": "0"} == fields


def test_the_machines_cpu_is_that_of_the_same_interval(host, tmp_path):
    """Of 200 ticks between the samples 150 were idle or waiting for disks."""
    (tmp_path / "uptime").write_text("100.00 90.00\n")
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 100 1000 100 0 0 0 0 0\ncpu0 9 9 9 9 9 9 9 9 9 9\n")
    host.command("asterisk", count=[])
    later = "cpu  120 10 110 1100 150 5 5 0 0 0"
    (host.bin / "asterisk").write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/asked ] && echo '{later}' > {stat}\n: > {tmp_path}/asked\n"
        "echo '500 calls processed'\n"
    )
    done = host.run("asterisk.sh", PROC=str(tmp_path))
    assert (0, "") == (done.returncode, done.stderr)
    assert "0.2500" == host.pushed()["cpu_utilization"]


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
    done = host.run(agent)
    assert (0, "") == (done.returncode, done.stderr)
    assert {"down": f"{command}-does-not-answer"} == host.pushed()


def test_a_system_that_hangs_is_down(host):
    """Within five seconds; its report of before would say that it is ready for another minute."""
    host.command("asterisk", count=[])
    asked = host.bin / "asked"
    count = CHANNELS.format(channels=2, now=1, total=500)
    (host.bin / "asterisk").write_text(f"#!/bin/sh\n[ -e {asked} ] && exec sleep 60\n: > {asked}\necho '{count}'\n")
    host.run("asterisk.sh")
    assert {"down": "asterisk-does-not-answer"} == host.pushed()


def test_opensips_cli_is_told_to_print_json(host):
    """Whatever its own configuration says."""
    host.command("opensips-cli", **{"output_type=pretty-print": [OPENSIPS.format(load=25, requests=1, errors=0)]})
    host.run("opensips.py")
    assert "ready" == host.pushed()["state"]


@pytest.mark.parametrize("text", ["[1]", '{"load:load": null}', "no JSON", "{}"])
def test_an_opensips_whose_answer_is_no_statistics_is_down(host, text):
    """An agent that ended instead would leave its last report in force for a minute."""
    host.command("opensips-cli", get_statistics=[text])
    done = host.run("opensips.py")
    assert (0, "") == (done.returncode, done.stderr)
    assert {"down": "opensips-cli-does-not-answer"} == host.pushed()


def test_statistics_that_an_opensips_lacks_are_left_out(host):
    """Another version may count less; numbers may come as texts."""
    host.command("opensips-cli", get_statistics=['{"load:load": "12", "shmem:total_size": "5"}'])
    done = host.run("opensips.py")
    assert (0, "") == (done.returncode, done.stderr)
    assert {"application_utilization": "0.1200", "state": "ready", "down": "0"} == host.pushed()


def test_a_redis_url_that_redis_py_cannot_read_is_named(host):
    """Its port is no number."""
    done = host.run("opensips.py", STEELYARD_REDIS_URL="redis://192.0.2.1:abc")
    assert (2, True) == (done.returncode, "STEELYARD_REDIS_URL" in done.stderr), done.stderr


BAD = {
    "STEELYARD_URI": ["", "192.0.2.10:5060", "sip:a b", 'sip:a"b', "sip:a\\b", "sip:a'b"],
    "STEELYARD_REDIS_URL": ["", "192.0.2.1:6379", "unix://redis.sock"],
    "STEELYARD_SET": ["one", "0"],
    "INTERVAL_S": ["abc", "0", "-1", "."],
}


@pytest.mark.parametrize("agent", ["freeswitch.sh", "asterisk.sh", "opensips.py"])
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_variable_that_cannot_be_used_is_named(host, agent, name, value):
    """And nothing is begun."""
    done = host.run(agent, **{name: value})
    assert (2, True) == (done.returncode, name in done.stderr), done.stderr
    assert [] == host.redis.client().keys()


@pytest.mark.parametrize("agent", ["freeswitch.sh", "opensips.py"])
@pytest.mark.parametrize("trouble", ["away", "read-only"])
def test_a_redis_that_takes_no_report_is_told(host, agent, trouble):
    """With what Redis said; the status tells cron."""
    freeswitch(host, [1])
    host.command("opensips-cli", get_statistics=[OPENSIPS.format(load=1, requests=1, errors=0)])
    if trouble == "read-only":
        host.redis.client().replicaof("127.0.0.1", 1)
    url = "redis://127.0.0.1:1" if trouble == "away" else host.redis.url
    done = host.run(agent, STEELYARD_REDIS_URL=url)
    assert 1 == done.returncode
    assert "Redis takes no report: " in done.stderr
    assert ("refused" if trouble == "away" else "read only") in done.stderr


@pytest.mark.parametrize("agent", ["freeswitch.sh", "opensips.py"])
def test_an_agent_that_is_not_told_once_goes_on(host, agent):
    """Report after report, also past a Redis that was away."""
    freeswitch(host, [1])
    host.command("opensips-cli", get_statistics=[OPENSIPS.format(load=1, requests=1, errors=0)])
    host.redis.client().replicaof("127.0.0.1", 1)
    argv = [sys.executable, str(AGENTS / agent)] if agent.endswith(".py") else [str(AGENTS / agent)]
    with Process("agent", argv, host.bin.parent, {**host.env, "INTERVAL_S": "0.1"}) as process:
        process.start(lambda: "Redis takes no report" in process.log)
        host.redis.client().replicaof("NO", "ONE")
        await_condition(lambda: host.redis.client().exists(KEY), "a report")
        host.redis.client().delete(KEY)
        await_condition(lambda: host.redis.client().exists(KEY), "another report")
