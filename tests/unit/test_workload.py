"""The fields of a load report, from what was counted."""

from dataclasses import replace

import pytest
from steelyard.core.workload import Busy, Counters, fields_of

BEFORE = Counters(100.0, 7.0, 1000, 10, 5, 3, 0.1, 0.2, 0.3)


def looked(**groups):
    """Return looks at groups of workers, each given as (busy, seen)."""
    busy = Busy()
    for group, (hits, seen) in groups.items():
        for number in range(seen):
            busy.add(group, busy=number < hits)
    return busy


def test_the_busiest_group_of_workers_is_the_most_constrained():
    """The workers of one socket cannot help another's."""
    busy = looked(udp=(3, 4), tcp=(0, 4))
    assert (0.75, 0.375) == (busy.most_constrained(), busy.of_all())


def test_nothing_seen_is_nothing_busy():
    """Before the first look."""
    assert (0.0, 0.0) == (Busy().most_constrained(), Busy().of_all())


def test_rates_are_over_the_window():
    """Everything is of one and the same time."""
    now = replace(BEFORE, at_s=102.0, cpu_s=8.0, requests=1100, errors=14, transactions=9, shm=0.4, pkg=0.5, memory=0.6)
    assert {
        "cpu_utilization": 0.25,
        "mem_utilization": 0.6,
        "application_utilization": 0.5,
        "rps_fractional": 50.0,
        "eps": 2.0,
        "named_metrics.workers_busy": 0.5,
        "named_metrics.shm": 0.4,
        "named_metrics.pkg": 0.5,
        "named_metrics.transactions": 9,
    } == pytest.approx(fields_of(BEFORE, now, looked(udp=(1, 2)), cpus=2))


def test_what_was_refused_for_overload_is_neither_work_nor_failure():
    """It cost next to nothing, and answering it with 503 was right."""
    now = replace(BEFORE, at_s=101.0, requests=1100, errors=30, refused=25)
    fields = fields_of(BEFORE, now, Busy(), cpus=2)
    assert (80.0, 0.0) == (fields["rps_fractional"], fields["eps"])


def test_no_part_exceeds_all_of_it():
    """Clocks and counters are read one after the other."""
    now = replace(BEFORE, at_s=101.0, cpu_s=99.0, memory=1.1)
    fields = fields_of(BEFORE, now, Busy(), cpus=2)
    assert (1.0, 1.0) == (fields["cpu_utilization"], fields["mem_utilization"])
