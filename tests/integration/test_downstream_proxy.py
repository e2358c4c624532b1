"""A real Kamailio that tells its load and keeps too much of it away; s1 and the like are RFC 7339's rules."""

import os
import re
import signal
import time

import pytest

from lab.parts import Kamailio, Phone, Queue, SippCaller
from lab.process import await_condition
from tests.integration.playing import dialog_of, route_of
from tests.integration.sip_peer import OFFER, Peer, parameters

QUERY = "Endpoint-Load-Metrics-Request: TEXT"


def fields(report: str) -> dict[str, float]:
    """Return a report's fields."""
    return {name: float(value) for name, _, value in (pair.partition("=") for pair in report[5:].split(",") if pair)}


def load(caller: Peer, proxy: Kamailio) -> dict[str, float]:
    """Ask for the load."""
    answer = caller.ask(proxy.port, "OPTIONS", QUERY, uri=proxy.uri)
    return fields(answer.header("Endpoint-Load-Metrics"))


def await_load(caller: Peer, proxy: Kamailio) -> dict[str, float]:
    """Wait for the first report."""
    await_condition(lambda: load(caller, proxy), "a report")
    return load(caller, proxy)


def test_options_and_the_invite_probe_are_answered_with_the_load(downstream, peers):
    """200 and 483; without the question, without the load."""
    caller = peers()
    seen = await_load(caller, downstream)
    assert {"cpu_utilization", "mem_utilization", "application_utilization", "rps_fractional", "eps"} <= seen.keys()
    assert {"named_metrics.workers_busy", "named_metrics.shm", "named_metrics.pkg"} <= seen.keys()
    assert all(0 <= value < 1 for name, value in seen.items() if "utilization" in name or "shm" in name)
    probe = caller.ask(downstream.port, "INVITE", QUERY, "Max-Forwards: 0")
    assert (483, seen.keys()) == (probe.status, fields(probe.header("Endpoint-Load-Metrics")).keys())
    plain = caller.ask(downstream.port, "OPTIONS", uri=downstream.uri)
    assert (200, "") == (plain.status, plain.header("Endpoint-Load-Metrics"))


def test_a_downstream_proxy_relays_and_stays_in_its_dialogs(downstream, peers):
    """A call to a phone behind it, to its end."""
    caller, phone = peers(), peers()
    answer = caller.ask(downstream.port, "INVITE", uri=phone.uri)
    assert 200 == answer.status
    bye = caller.ask(downstream.port, "BYE", route_of(answer), uri=phone.uri, cseq="2", **dialog_of(answer))
    assert 200 == bye.status
    assert [1, 1] == [len(phone.requests(method)) for method in ("INVITE", "BYE")]


def test_a_native_configuration_tells_its_load_and_goes_on_with_its_own_routing(native, peers):
    """One line in its request_route."""
    caller = peers()
    await_load(caller, native)
    assert 483 == caller.ask(native.port, "INVITE", QUERY, "Max-Forwards: 0").status
    answer = caller.ask(native.port, "MESSAGE", via=OFFER)
    assert "SIP/2.0 200 Native" == answer.lines[0]
    assert ("0", "loss", "0") == tuple(parameters(answer.via)[name] for name in ("oc", "oc-algo", "oc-validity"))


def test_a_worker_that_is_blocked_is_busy_though_it_burns_no_cpu(native, peers):
    """One of two all the time."""
    caller = peers()
    await_load(caller, native)
    end_s, seen = time.monotonic() + 4, []
    while time.monotonic() < end_s:
        caller.ask(native.port, "MESSAGE", uri=f"sip:block@127.0.0.1:{native.port}")
        seen.append(load(caller, native))
    assert max(each["application_utilization"] for each in seen) > 0.35
    assert max(each["cpu_utilization"] for each in seen) < 0.3


def test_a_report_whose_writer_has_stopped_is_not_told_and_calls_go_on(native, peers):
    """After three seconds; it is there again when the writer is."""
    caller = peers()
    await_load(caller, native)
    pid = int(re.search(r"PID: (\d+)\s+DSC: RTIMER EXEC child=0 timer=measure", native.rpc("core.psx"))[1])
    os.kill(pid, signal.SIGSTOP)
    try:
        await_condition(lambda: not load(caller, native), "no report", 8)
        assert 200 == caller.ask(native.port).status
    finally:
        os.kill(pid, signal.SIGCONT)
    await_load(caller, native)


@pytest.mark.parametrize("load_percent", [20, 50, 80])
def test_utilization_is_within_five_points_of_the_truth(bench, load_percent):
    """Rate times time over workers, for workers that sleep 20 ms a call."""
    phone = bench.add(Phone(bench.folder))
    queue = bench.add(Queue(bench.folder, phone, workers=4, service_ms=20, reports=True, constant=True))
    rate = load_percent / 100 * queue.capacity_cps
    options = ("-set", "spread_ms", "1000", "-l", "5000")
    target = f"127.0.0.1:{queue.port}"
    caller = SippCaller("uac_poisson", bench.folder, target, *options, calls=int(rate * 11), rate=rate)
    seen: dict[str, float] = {}
    with caller.start():
        await_condition(lambda: queue.served() > rate * 1.5, "a steady stream")
        began_s, before = time.monotonic(), queue.served()

        def collect() -> bool:
            report = re.search(r"value: (\d+) (TEXT .*)", queue.rpc("htable.get", "load", "report"))
            if report:
                seen[report[1]] = fields(report[2])["application_utilization"]
            return time.monotonic() - began_s > 8

        await_condition(collect, "eight seconds of reports", 12)
        truth = (queue.served() - before) / (time.monotonic() - began_s) * 0.02 / 4
        caller.finish()
    assert len(seen) >= 6
    assert truth == pytest.approx(sum(seen.values()) / len(seen), abs=0.05)


# --- overload ---


@pytest.fixture
def full(bench):
    """Return a queue of two workers that keeps three times its capacity coming, and a peer beside it."""
    phone = bench.add(Phone(bench.folder))
    queue = bench.add(Queue(bench.folder, phone, workers=2, service_ms=20, reports=True))
    options = ("-key", "called", "sip:service@localhost", "-set", "spread_ms", "500", "-l", "9000")
    caller = SippCaller("uac_overload", bench.folder, f"127.0.0.1:{queue.port}", *options, calls=6000, rate=300)
    with caller.start(), Peer() as peer:
        peer.run()
        await_condition(lambda: percent(queue) > 20, "overload", 15)
        yield queue, peer, caller


def percent(queue: Queue) -> int:
    """Return the overload that a queue announces."""
    match = re.search(r"value: (\d+) ;oc=", queue.rpc("htable.get", "load", "overload"))
    return int(match[1]) if match else 0


def told(peer: Peer, queue: Queue) -> dict[str, str]:
    """Return what a client that offers is told."""
    return parameters(peer.ask(queue.port, "OPTIONS", via=OFFER, uri=queue.uri).via)


def test_s3_without_overload_the_value_is_0(downstream, peers):
    """With a validity of 0, to each client that offers; s1."""
    caller = peers()
    await_load(caller, downstream)
    said = parameters(caller.ask(downstream.port, "OPTIONS", via=OFFER, uri=downstream.uri).via)
    assert ("0", "0", "loss") == (said["oc"], said["oc-validity"], said["oc-algo"])


def test_s1_s2_s4_s5_s7_a_full_proxy_says_how_much_to_shed(full):
    """One algorithm, a percentage, a validity, and numbers that rise as long as it goes on."""
    queue, peer, _ = full
    seen: list[dict[str, str]] = []
    await_condition(lambda: (seen.append(told(peer, queue)), len({s["oc-seq"] for s in seen}) >= 4)[1], "news", 8)
    under = [said for said in seen if said["oc"] != "0"]
    assert {"loss"} == {said["oc-algo"] for said in seen}
    assert {"1000"} == {said["oc-validity"] for said in under}
    assert all(1 <= int(said["oc"]) <= 100 for said in under)
    numbers = [tuple(map(int, said["oc-seq"].split("."))) for said in seen]
    assert numbers == sorted(numbers)


def test_s6_the_end_is_said_with_a_larger_number(full):
    """Validity 0, value 0."""
    queue, peer, caller = full
    before = told(peer, queue)
    caller.stop()
    await_condition(lambda: told(peer, queue)["oc-validity"] == "0", "the end", 20)
    after = told(peer, queue)
    assert ("0", True) == (after["oc"], float(after["oc-seq"]) > float(before["oc-seq"]))


def test_s9_who_does_not_offer_is_refused_with_503_without_retry_after(full):
    """A part of its requests, and not of those of a client that offers."""
    queue, peer, _ = full
    strangers = [peer.ask(queue.port, "OPTIONS", uri=queue.uri) for _ in range(100)]
    refused = [answer for answer in strangers if answer.status == 503]
    assert 5 <= len(refused) < 100
    assert {""} == {answer.header("Retry-After") for answer in refused}
    listening = [peer.ask(queue.port, "OPTIONS", via=OFFER, uri=queue.uri).status for _ in range(50)]
    assert [200] * 50 == listening


def test_s8_what_the_100_says_is_said_again(downstream, peers):
    """A 100 Trying and the final answer of a transaction carry the value alike."""
    caller, phone = peers(), peers()
    await_load(caller, downstream)
    answer = caller.ask(downstream.port, "INVITE", uri=phone.uri, via=OFFER)
    responses = caller.responses(answer.header("Call-ID"))
    assert [100, 200] == [response.status for response in responses]
    assert ["0", "0"] == [parameters(response.via).get("oc") for response in responses]


def test_s10_a_client_that_offers_and_does_not_shed_is_refused_like_a_stranger(bench):
    """After five seconds of it."""
    phone = bench.add(Phone(bench.folder))
    queue = bench.add(Queue(bench.folder, phone, workers=1, service_ms=20, reports=True))
    with Peer() as peer:
        peer.run()

        def send_for(seconds: float, rate: float) -> None:
            """Send evenly for a while."""
            began_s, sent = time.monotonic(), 0

            def is_over() -> bool:
                nonlocal sent
                elapsed_s = time.monotonic() - began_s
                while sent < elapsed_s * rate:
                    sent += 1
                    peer.send(queue.port, "INVITE", via=OFFER)
                return elapsed_s >= seconds

            await_condition(is_over, "sent", seconds + 5)

        def offends() -> bool:
            send_for(1, 400)
            return "offends" in queue.rpc("htable.dump", "clients")

        send_for(4, 15)
        assert "offends" not in queue.rpc("htable.dump", "clients")
        await_condition(offends, "blame", 30)


def test_s11_only_those_who_may_be_told_are_told(downstream, peers):
    """By networks that can be changed while it runs."""
    caller = peers()
    await_load(caller, downstream)
    downstream.rpc("pv.shvSet", "steelyard_clients", "str", "192.0.2.0/24")
    assert {} == load(caller, downstream)
    assert {"oc": "", "oc-algo": "loss"} == parameters(
        caller.ask(downstream.port, "OPTIONS", via=OFFER, uri=downstream.uri).via
    )
    downstream.rpc("pv.shvSet", "steelyard_clients", "str", "127.0.0.0/8")
    assert load(caller, downstream)
