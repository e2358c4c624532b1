"""The shape of the code: who imports whom, and that every name Kamailio is given exists."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEMI = ROOT / "kemi"
SCRIPTS = sorted(KEMI.glob("*.py"))
CORE = sorted((KEMI / "steelyard" / "core").rglob("*.py"))
EDGE = sorted((KEMI / "steelyard" / "edge").rglob("*.py"))
ALL = sorted(KEMI.rglob("*.py"))

ARMING = {"arm": 2, "arm_probe": 1, "arm_dialog": 1}  # methods of Kamailio and how many callbacks each is given first

# The outside world as the standard library offers it: clocks, randomness, files, processes, network, logging.
OUTSIDE = {
    *("time", "datetime", "sched", "random", "secrets", "uuid"),
    *("os", "sys", "io", "pathlib", "shutil", "tempfile", "glob", "subprocess", "signal", "platform"),
    *("socket", "ssl", "select", "selectors", "asyncio", "http", "urllib", "threading", "multiprocessing", "queue"),
    *("logging", "warnings", "syslog", "sqlite3"),
}


def imported(source, package=()):
    """Return the full names that a module's text imports; `package` is where a relative import starts from."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            path = (*base, *(node.module.split(".") if node.module else ()))
            names |= {".".join(path)} if node.module else {".".join((*path, alias.name)) for alias in node.names}
    return names


def imports_of(path):
    """Return the full names that a file imports."""
    return imported(path.read_text(), path.relative_to(KEMI).parent.parts)


def below(name, package):
    """Say whether a module is the package or inside it."""
    return name == package or name.startswith(f"{package}.")


def standard(name):
    """Say whether a module belongs to Python itself."""
    return name.split(".")[0] in sys.stdlib_module_names


def short(path):
    """Name a file as people do."""
    return path.relative_to(KEMI).as_posix()


def with_import_of(name, paths):
    """Return the files that import a module, once for every import statement."""
    found = []
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            hit = (isinstance(node, ast.Import) and any(below(alias.name, name) for alias in node.names)) or (
                isinstance(node, ast.ImportFrom) and not node.level and below(node.module, name)
            )
            found += [short(path)] if hit else []
    return found


def configured(config="kamailio.cfg"):
    """Return the callback names that a configuration gives to modules and to the KEMI engine."""
    text = "\n".join(line for line in (ROOT / config).read_text().splitlines() if not line.lstrip().startswith("# "))
    return set(re.findall(r'\bpython_exec\("([^"]+)"', text))


def routes(kind):
    """Return the names of kamailio.cfg's routes of a kind."""
    return set(re.findall(rf"^{kind}\[(\w+)\] {{$", (ROOT / "kamailio.cfg").read_text(), re.MULTILINE))


def arming(source):
    """Return what a module's text gives to arm() and arm_probe() in the place of callback names."""
    return [
        argument
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ARMING
        for argument in node.args[: ARMING[node.func.attr]]
    ]


def armed(source):
    """Return the callback names that a module's text arms."""
    return {argument.value for argument in arming(source) if isinstance(argument, ast.Constant)}


def callbacks(file="node", name="ControlNode"):
    """Return the methods of a class that carry the prefix of callbacks."""
    tree = ast.parse((KEMI / "steelyard" / "edge" / f"{file}.py").read_text())
    (node,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    return {n.name for n in node.body if isinstance(n, ast.FunctionDef) and n.name.startswith("ksr_")}


def test_relative_imports_are_read_as_what_they_name():
    """The other tests see through every way to write an import."""
    source = "import a.b\nfrom c import d\nfrom . import e\nfrom .f import g\nfrom ..h import i\nfrom .. import j"
    wanted = {"a.b", "c", "steelyard.core.e", "steelyard.core.f", "steelyard.h", "steelyard.j"}
    assert wanted == imported(source, ("steelyard", "core"))


@pytest.mark.parametrize("path", CORE, ids=short)
def test_core_imports_only_the_standard_library_and_core(path):
    """Imports run one way: script -> edge -> core."""
    wrong = {name for name in imports_of(path) if not standard(name) and not below(name, "steelyard.core")}
    assert set() == wrong


@pytest.mark.parametrize("path", CORE, ids=short)
def test_core_does_not_touch_the_outside_world(path):
    """No clock, randomness, environment, file, network or logging inside."""
    assert set() == {name for name in imports_of(path) if name.split(".")[0] in OUTSIDE}


@pytest.mark.parametrize("path", EDGE, ids=short)
def test_edge_imports_only_the_standard_library_core_edge_and_redis(path):
    """An adapter knows the core and its neighbours, never a script."""
    allowed = ("steelyard.core", "steelyard.edge", "redis")
    wrong = {n for n in imports_of(path) if not standard(n) and not any(below(n, package) for package in allowed)}
    assert set() == wrong


@pytest.mark.parametrize("path", SCRIPTS, ids=short)
def test_a_script_imports_only_the_standard_library_edge_and_kamailio(path):
    """A script wires; what it wires is in edge."""
    allowed = ("steelyard.edge", "KSR")
    wrong = {n for n in imports_of(path) if not standard(n) and not any(below(n, package) for package in allowed)}
    assert set() == wrong


@pytest.mark.parametrize("name", ["destination", "ewma", "outcome", "health", "snapshot"])
def test_the_leaves_of_core_import_nothing_of_ours(name):
    """The words of the domain stand on their own."""
    assert set() == {n for n in imports_of(KEMI / "steelyard" / "core" / f"{name}.py") if not standard(n)}


def test_kamailio_is_imported_once_by_every_script_and_nowhere_else():
    """Everybody else is handed it."""
    assert [short(path) for path in SCRIPTS] == with_import_of("KSR", ALL)


def test_redis_is_imported_by_the_store_alone():
    """One module speaks to Redis."""
    assert {"steelyard/edge/store.py"} == set(with_import_of("redis", ALL))


def test_nothing_but_loaded_scripts_and_the_package_is_directly_in_kemi():
    """A .py file there shadows the module of that name, so that only what a .cfg file loads may be there."""
    configs = [*ROOT.glob("*.cfg"), *ROOT.glob("*/*.cfg")]
    pattern = r'"load",\s*"[^"]*(?:kemi|STEELYARD_KEMI\))/(\w+\.py)"'
    loaded = {name for path in configs for name in re.findall(pattern, path.read_text())}
    present = {path.name for path in KEMI.iterdir() if path.name != "__pycache__"}
    assert {"steelyard", *loaded} == present


def test_every_callback_that_is_configured_or_armed_exists():
    """Kamailio finds a callback by its name, and only when it is called."""
    names = configured()
    assert {"ksr_local_request", "ksr_tick", "ksr_reply", "ksr_failure", "ksr_pong"} <= names
    assert set() == names - callbacks()


def test_every_callback_that_exists_is_configured_or_armed():
    """By kamailio.cfg in the end: what the script arms is a route there."""
    names = configured()
    assert callbacks() == names


def test_every_route_that_is_armed_exists():
    """What the script names is a route in kamailio.cfg, under the name of the callback that it leads to."""
    names = set().union(*(armed(path.read_text()) for path in EDGE))
    assert names == routes("onreply_route") | routes("failure_route")
    assert names <= configured()


def test_every_route_of_a_timer_exists():
    """Under the name of its callback."""
    names = set(re.findall(r'"rtimer", "exec", "timer=\w+;route=(\w+)"', (ROOT / "kamailio.cfg").read_text()))
    assert {"ksr_tick", "ksr_probe_tick"} == names
    assert names <= routes("route") & configured()


def test_every_callback_of_a_downstream_proxy_is_configured_or_armed():
    """The other script's; ksr_request_route is called without being told."""
    names = configured("examples/load-report.cfg") | armed((KEMI / "steelyard" / "edge" / "plain_proxy.py").read_text())
    assert callbacks("downstream_node", "DownstreamNode") == names | {"ksr_request_route"}


def test_callbacks_are_armed_by_plain_texts():
    """A name that is put together at run time could not be checked."""
    arguments = [argument for path in EDGE for argument in arming(path.read_text())]
    assert all(isinstance(argument, ast.Constant) for argument in arguments)


def test_callbacks_come_first_where_they_are_armed():
    """Where the other tests look for names is where Kamailio's adapter takes them."""
    tree = ast.parse((KEMI / "steelyard" / "edge" / "kamailio.py").read_text())
    taken = {
        node.name: [argument.arg.startswith("on_") for argument in node.args.args[1:]]
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("arm")
    }
    assert ARMING.keys() == taken.keys()
    for name, count in ARMING.items():
        assert [True] * count + [False] * (len(taken[name]) - count) == taken[name]


@pytest.mark.parametrize("path", ALL, ids=short)
def test_no_file_is_longer_than_400_lines(path):
    """A file holds one idea, and a person reads it in one go."""
    assert len(path.read_text().splitlines()) <= 400
