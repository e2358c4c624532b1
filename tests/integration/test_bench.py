"""The benchmark itself runs, and says what it is meant to say; how fast anything is, is no matter of tests."""

import json

from bench import compare, summary


def test_a_short_comparison_prints_and_writes_its_rows(tmp_path, monkeypatch, capsys):
    """Two contenders, three seconds each, calls that are held for a moment."""
    monkeypatch.setenv("BENCH_SECONDS", "3")
    monkeypatch.setenv("BENCH_HOLDS", "0.3")
    monkeypatch.setenv("BENCH_SEED", "7")
    monkeypatch.setenv("BENCH_ONLY", "Steelyard,dispatcher 4")
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    assert compare.main() == 0
    names = ["Steelyard (equal weights)", "dispatcher 4 (round robin)"]
    printed = capsys.readouterr().out
    assert names == [name for name in names if f"\n{name} " in printed]
    assert "seed 7" in printed
    written = json.loads((tmp_path / "compare.json").read_text())
    assert names == [row["balancer"] for row in written["rows"]]
    for row in written["rows"]:
        assert 600 < row["calls"] < 1100
        assert sum(row["shares"]) > 99.9
        assert row["cpu_us"] > 0
    assert len(names) + 1 == len((tmp_path / "compare.csv").read_text().splitlines())
    assert (tmp_path / "compare-hold-0.3s.png").stat().st_size > 1000
    assert summary.main() == 0
    assert "| dispatcher 4 (round robin) |" in capsys.readouterr().out
