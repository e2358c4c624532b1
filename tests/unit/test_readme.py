"""What the README says in tables is what the code does."""

import re
from pathlib import Path

from steelyard.core import declared, load_report, settings
from steelyard.core.observed import Observed
from steelyard.core.picker import price_of
from steelyard.core.snapshot import Entry, Rule
from steelyard.core.weight import capacity_factors, error_factor, error_rate, shares

HOME = Path(__file__).resolve().parents[2]
README = (HOME / "README.md").read_text()


def _rows(first_column: str) -> list[list[str]]:
    """Return the rows of the table whose first column has this heading."""
    table = re.search(rf"^\| {first_column} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def test_every_setting_is_in_the_readme_with_its_default_and_meaning():
    """The table of settings is SPECS and the defaults of Settings, in that order."""
    shown = {row[0].strip("`"): (row[1].strip("`"), " | ".join(row[2:])) for row in _rows("setting")}
    wanted = {
        name: (f"{default:g}" if isinstance(default, float) else str(default), settings.SPECS[name].meaning)
        for name, default in settings.defaults().items()
    }
    assert wanted == shown
    assert list(wanted) == list(shown)


def test_every_field_of_a_report_is_in_the_readme_with_its_meaning():
    """The table of fields is load_report.FIELDS, in that order."""
    shown = {row[0].strip("`"): row[1].removesuffix(" (pushed only)") for row in _rows("field")}
    assert {name: field.meaning for name, field in load_report.FIELDS.items()} == shown
    pushed = {row[0].strip("`") for row in _rows("field") if row[1].endswith("(pushed only)")}
    assert {name for name, field in load_report.FIELDS.items() if field.agent} == pushed


def test_every_hash_that_the_operator_writes_is_in_the_readme():
    """The table of keys names the five hashes, and who writes each."""
    shown = {row[0].strip("`").rpartition(":")[2]: row[2] for row in _rows("key")}
    assert set(declared.HASHES) == {name for name, writer in shown.items() if writer == "operator"}


def test_every_variable_of_the_readme_is_used():
    """The table of variables names what the Makefile passes on and the code or kamailio.cfg reads."""
    used = (HOME / "kamailio.cfg").read_text() + (HOME / "kemi/steelyard/edge/environment.py").read_text()
    names = [row[0].strip("`") for row in _rows("variable")]
    assert names
    for name in names:
        assert name in used
        assert name in (HOME / "Makefile").read_text()


def test_the_commands_of_the_readme_exist():
    """Every `make` target that is named is one."""
    targets = set(re.findall(r"^([a-z]+):", (HOME / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z]+)", README))
    assert {"demo", "test", "run", "bench", "check"} <= named
    assert named <= targets


def test_the_pins_are_those_of_the_project():
    """What is installed is what pyproject.toml gives a reason for, at the same version."""
    reasons = set(re.findall(r'"([a-z-]+==[0-9.]+)"', (HOME / "pyproject.toml").read_text()))
    assert reasons
    assert reasons <= set((HOME / "requirements.txt").read_text().splitlines())


def test_the_worked_example_is_what_the_code_computes():
    """The numbers of the README's example, from what calls show to shares and prices."""
    factors = capacity_factors({"a": 50.0, "b": 100.0, "c": 200.0})
    assert "0.5, 1 and 2" == "{:g}, {:g} and {:g}".format(*factors.values())
    bends = [
        Observed("d", base_s=t, capacity=c).bend(100.0)
        for t, c in zip((0.08, 0.04, 0.02), factors.values(), strict=True)
    ]
    assert "4, 4 and 4" == "{:g}, {:g} and {:g}".format(*bends)
    assert "14.3, 28.6 and 57.1" == "{:.1f}, {:.1f} and {:.1f}".format(*shares(factors).values())
    entries = [
        Entry(name, name, weight, base=base, bend=4.0)
        for (name, weight), base in zip(factors.items(), (8.0, 4.0, 2.0), strict=True)
    ]
    prices = [price_of(entry, Rule.SOONEST, 3) for entry in entries]
    for in_flight, words in (((0, 3, 7), "8.0, 4.6 and 7.2"), ((0, 5, 9), "8.0, 9.5 and 9.7")):
        assert words == "{:.1f}, {:.1f} and {:.1f}".format(*(p.at(n) for p, n in zip(prices, in_flight, strict=True)))
        assert words in README
    errors = error_factor(error_rate(100, 4), 4)
    factors["c"] *= errors
    assert "0.125 0.25" == f"{errors:.3f} {factors['c']:.2f}"
    assert "28.6, 57.1 and 14.3" == "{:.1f}, {:.1f} and {:.1f}".format(*shares(factors).values())
    assert "16" == f"{2.0 / errors:g}"
    for words in ("0.5, 1 and 2", "4, 4 and 4", "14.3, 28.6 and 57.1", "28.6, 57.1 and 14.3", "its base 16"):
        assert words in README
