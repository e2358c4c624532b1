"""The search for the highest rate."""

import pytest

from bench.search import MAX_RUNS, Search


def searched(limit_cps: float) -> Search:
    """Return a search that is over, where all rates up to a limit pass."""
    search = Search(400.0)
    while cps := search.next_cps():
        search.on_run(cps, passed=cps <= limit_cps)
    return search


@pytest.mark.parametrize("limit_cps", [150.0, 399.0, 400.0, 1234.0, 3000.0])
def test_the_highest_rate_is_found_within_five_percent(limit_cps):
    """From below and above the start."""
    search = searched(limit_cps)
    assert search.passed_cps <= limit_cps < 1.05 * search.passed_cps + 1e-9
    assert search.runs <= MAX_RUNS


def test_a_search_ends_where_nothing_passes():
    """After so many runs, with none that passed."""
    search = searched(0.0)
    assert MAX_RUNS == search.runs
    assert search.passed_cps == pytest.approx(0.0)


def test_a_search_ends_where_everything_passes():
    """After so many runs."""
    assert MAX_RUNS == searched(1e9).runs
