"""The benchmark's references against closed forms."""

from math import factorial

import pytest

from bench.reference import central_queue, lower_bound

UNEQUAL = [(4, 0.080), (4, 0.040), (4, 0.020)]


def erlang_c_mean(rate: float, workers: int, mean_s: float) -> float:
    """Return the mean response time of M/M/k, by Erlang's C formula."""
    offered = rate * mean_s
    waiting = offered**workers / factorial(workers) * workers / (workers - offered)
    busy = sum(offered**n / factorial(n) for n in range(workers))
    return waiting / (busy + waiting) * mean_s / (workers - offered) + mean_s


@pytest.mark.parametrize(("rate", "workers", "mean_s"), [(0.5, 1, 1.0), (90.0, 4, 0.040), (280.0, 12, 0.040)])
def test_with_equal_workers_the_bound_is_erlangs(rate, workers, mean_s):
    """Moving calls between equal workers gains nothing: M/M/k."""
    assert erlang_c_mean(rate, workers, mean_s) == pytest.approx(lower_bound(rate, [(workers, mean_s)]))


def test_how_equal_workers_are_grouped_is_irrelevant():
    """The bound knows workers, not queues."""
    assert lower_bound(280.0, [(12, 0.040)]) == pytest.approx(lower_bound(280.0, [(4, 0.040)] * 3))


def test_a_single_call_now_and_then_takes_the_fastest_workers_time():
    """Without load the bound is the shortest mean service time."""
    assert lower_bound(1e-6, UNEQUAL) == pytest.approx(0.020, rel=1e-4)


@pytest.mark.parametrize("rate", [50.0, 200.0, 280.0, 330.0])
def test_the_central_queue_without_moves_is_no_better_than_the_bound(rate):
    """A call that stays with its worker can only take longer; with much load by little."""
    times = central_queue(rate, UNEQUAL, calls=100_000)
    mean_s = sum(times) / len(times)
    assert lower_bound(rate, UNEQUAL) < 1.05 * mean_s
    assert mean_s < 2 * lower_bound(rate, UNEQUAL)


def test_the_simulated_central_queue_is_erlangs_with_equal_workers():
    """The simulation against the closed form."""
    times = central_queue(90.0, [(4, 0.040)])
    assert erlang_c_mean(90.0, 4, 0.040) == pytest.approx(sum(times) / len(times), rel=0.05)
