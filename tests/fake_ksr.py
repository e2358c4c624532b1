"""
Kamailio's API for Python, as far as Steelyard calls it: what exists, which arguments it takes, and its shared tables.

FakeKSR has the functions that Kamailio 5.6.3 exports and refuses all others, and any argument that the server would
refuse. Htable and Mqueue keep state as the server's do, mistakes included. tests/ksr_contract.py holds what is claimed
here, and runs against both. Messages and transactions are in tests/edge/fake_sip.py, the server around it all in
tests/edge/fake_kamailio.py.
"""

import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# What `kamcmd app_python.api_list` of Kamailio 5.6.3 says: module -> function -> (s and i parameters, what it returns).
EXPORTS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "": {
        "dbg": ("s", "none"),
        "info": ("s", "none"),
        "notice": ("s", "none"),
        "warn": ("s", "none"),
        "err": ("s", "none"),
        "crit": ("s", "none"),
        "is_myself_ruri": ("", "bool"),
        "seturi": ("s", "bool"),
        "setdsturi": ("s", "bool"),
    },
    "pv": {
        "get": ("s", "xval"),
        "gete": ("s", "xval"),
        "sets": ("ss", "bool"),
        "seti": ("si", "bool"),
        "unset": ("s", "bool"),
        "is_null": ("s", "bool"),
    },
    "hdr": {
        "append": ("s", "int"),
        "remove": ("s", "int"),
        "get": ("s", "xval"),
        "gete": ("s", "xval"),
        "get_idx": ("si", "xval"),
        "append_to_reply": ("s", "int"),
        "is_present": ("s", "int"),
    },
    "pvx": {"xavp_child_sets": ("sss", "int")},
    "corex": {"via_add_xavp_params": ("i", "int")},
    "textops": {"replace_hdrs_str": ("sss", "int")},
    "textopsx": {"msg_apply_changes": ("", "int")},
    "htable": {
        "sht_get": ("ss", "xval"),
        "sht_gete": ("ss", "xval"),
        "sht_sets": ("sss", "int"),
        "sht_seti": ("ssi", "int"),
        "sht_setxs": ("sssi", "int"),
        "sht_inc": ("ss", "int"),
        "sht_dec": ("ss", "int"),
        "sht_rm": ("ss", "int"),
        "sht_setxi": ("ssii", "int"),
        "sht_lock": ("ss", "int"),
        "sht_unlock": ("ss", "int"),
        "sht_reset": ("s", "int"),
        "sht_iterator_start": ("ss", "int"),
        "sht_iterator_next": ("s", "int"),
        "sht_iterator_end": ("s", "int"),
    },
    "mqueue": {
        "mq_add": ("sss", "int"),
        "mq_fetch": ("s", "int"),
        "mq_size": ("s", "int"),
    },
    "tm": {
        "t_check_trans": ("", "int"),
        "t_newtran": ("", "int"),
        "t_relay": ("", "int"),
        "t_reply": ("is", "int"),
        "t_send_reply": ("is", "int"),
        "t_on_reply": ("s", "int"),
        "t_on_failure": ("s", "int"),
        "t_set_fr": ("ii", "int"),
        "t_set_disable_internal_reply": ("i", "int"),
        "t_is_canceled": ("", "int"),
        "t_uac_send": ("ssssss", "int"),
    },
    "tmx": {"t_precheck_trans": ("", "int")},
    "sl": {"send_reply": ("is", "int")},
    "rr": {"loose_route": ("", "int"), "record_route": ("", "int")},
    "maxfwd": {"process_maxfwd": ("i", "int")},
    "sanity": {"sanity_check": ("ii", "int")},
    "jsonrpcs": {"exec": ("s", "int")},
}

NO_INTEGER: Final = -255  # htable: nothing there to count with
EMPTY: Final = -2  # mqueue


class FakeKSR:
    """The module KSR: other modules by name, and the core's own functions."""

    def __init__(self, models: Mapping[str, object]) -> None:
        """Take the model of each module; that of the core is named by an empty text."""
        self._modules = {name: _Module(name, model) for name, model in models.items()}

    def __getattr__(self, name: str) -> Any:  # noqa: D105
        if name and name in self._modules:
            return self._modules[name]
        return getattr(self._modules[""], name)


class _Module:
    def __init__(self, name: str, model: object) -> None:
        self._name = name
        self._model = model

    def __getattr__(self, name: str) -> Callable[..., Any]:
        full = f"KSR.{self._name}.{name}".replace("..", ".")
        if name not in EXPORTS[self._name]:
            raise AttributeError(f"{full} is not exported by Kamailio 5.6.3, or is not modelled here")
        params, returns = EXPORTS[self._name][name]
        run = getattr(self._model, name)

        def call(*args: object) -> Any:
            _check(full, params, args)
            value = run(*args)
            if isinstance(value, str):
                value = value.encode(errors="surrogateescape").decode()  # a text that is no UTF-8 raises
            return bool(value) if returns == "bool" else value

        return call


def _check(name: str, params: str, args: tuple[object, ...]) -> None:
    """Raise what Kamailio 5.6.3 raises for arguments that PyArg_ParseTuple refuses."""
    fits = len(params) == len(args) and all(
        (isinstance(arg, str) and "\0" not in arg)
        if kind == "s"
        else (isinstance(arg, int) and -(2**31) <= arg < 2**31)
        for kind, arg in zip(params, args, strict=True)
    )
    if not fits:
        raise SystemError(f"{name} takes {params or 'nothing'}, was given {args}")


@dataclass
class Table:
    """One htable: key -> (value, the second it expires in or 0)."""

    initval: int | None
    autoexpire_s: int
    cells: dict[str, tuple[str | int, int]] = field(default_factory=dict)


@dataclass
class Queue:
    """One mqueue, and what was fetched from it last."""

    size: int
    items: deque[tuple[str, str]] = field(default_factory=deque)
    fetched: tuple[str, str] | None = None


class Htable:
    """The module htable, on the tables of one server."""

    def __init__(self, tables: dict[str, Table], clock_s: Callable[[], float]) -> None:
        """Take the tables and the clock, in Unix seconds."""
        self._tables = tables
        self._clock_s = clock_s
        self._iterators: dict[str, tuple[str, Iterator[str] | None]] = {}  # table, and what is left of its keys
        self.iterated: dict[str, tuple[str, str | int]] = {}  # what each iterator is at
        self._locked: list[tuple[str, str]] = []

    def held(self) -> list[object]:
        """Return what keeps other processes waiting: cells that are locked, iterators that were not ended."""
        return [*self._locked, *self._iterators]

    def sht_get(self, name: str, key: str) -> str | int | None:
        table = self._tables.get(name)
        if table is None:
            return None
        cell = self._live(table, key)
        return table.initval if cell is None else cell[0]

    def sht_gete(self, name: str, key: str) -> str | int:
        value = self.sht_get(name, key)
        return "" if value is None else value

    def sht_sets(self, name: str, key: str, text: str) -> int:
        return self.sht_setxs(name, key, text, 0)

    sht_seti = sht_sets

    def sht_setxs(self, name: str, key: str, value: str | int, expire_s: int) -> int:
        table = self._tables.get(name)
        if table is None:
            return -1
        old = table.cells.get(key)
        expires_s = self._now(table) + (expire_s if expire_s > 0 else table.autoexpire_s)
        grows = old is not None and isinstance(value, str) and (isinstance(old[0], int) or len(old[0]) < len(value))
        if grows and expire_s > 0:
            expires_s = 0  # ht_set_cell_ex() of 5.6.3 writes the time into the cell that it frees
        table.cells[key] = value, expires_s
        return 1

    def sht_setxi(self, name: str, key: str, value: int, expire_s: int) -> int:
        return min(self.sht_setxs(name, key, value, expire_s), 0)  # unlike its siblings

    def sht_lock(self, name: str, key: str) -> int:
        """Lock a cell's slot; whoever holds it already does so once more."""
        if name not in self._tables:
            return -1
        self._locked.append((name, key))
        return 1

    def sht_unlock(self, name: str, key: str) -> int:
        if name not in self._tables:
            return -1
        if (name, key) in self._locked:
            self._locked.remove((name, key))
        return 1

    def sht_reset(self, name: str) -> int:
        if name not in self._tables:
            return -1
        self._tables[name].cells.clear()
        return 0

    def sht_iterator_start(self, iterator: str, name: str) -> int:
        if name not in self._tables:
            return -1
        self._iterators[iterator] = (name, None)
        self.iterated.pop(iterator, None)
        return 1

    def sht_iterator_next(self, iterator: str) -> int:
        """Go to the next cell, also to one that has expired; after the last one it begins again."""
        if iterator not in self._iterators:
            return -1
        name, keys = self._iterators[iterator]
        cells = self._tables[name].cells
        keys = iter(list(cells)) if keys is None else keys
        key = next(keys, None)
        self._iterators[iterator] = (name, None if key is None else keys)
        if key is None:
            self.iterated.pop(iterator, None)
            return -1
        self.iterated[iterator] = (key, cells[key][0])
        return 1

    def sht_iterator_end(self, iterator: str) -> int:
        self.iterated.pop(iterator, None)
        return 1 if self._iterators.pop(iterator, None) else -1

    def sht_inc(self, name: str, key: str) -> int:
        return self._add(name, key, 1)

    def sht_dec(self, name: str, key: str) -> int:
        return self._add(name, key, -1)

    def sht_rm(self, name: str, key: str) -> int:
        table = self._tables.get(name)
        if table is None:
            return -1
        table.cells.pop(key, None)
        return 1

    def _add(self, name: str, key: str, amount: int) -> int:
        table = self._tables.get(name)
        if table is None:
            return NO_INTEGER
        cell = self._live(table, key)
        value = table.initval if cell is None else cell[0]
        if not isinstance(value, int):
            return NO_INTEGER
        table.cells[key] = value + amount, self._now(table) + table.autoexpire_s
        return value + amount

    def _live(self, table: Table, key: str) -> tuple[str | int, int] | None:
        cell = table.cells.get(key)
        return None if cell is None or 0 < cell[1] < self._now(table) else cell

    def _now(self, table: Table) -> int:
        """Return the time, which a table without autoexpire does not know."""
        return int(self._clock_s()) if table.autoexpire_s else 0


class Mqueue:
    """The module mqueue."""

    def __init__(self, queues: dict[str, Queue]) -> None:
        """Take the queues."""
        self._queues = queues

    def mq_add(self, name: str, key: str, value: str) -> int:
        queue = self._queues.get(name)
        if queue is None:
            return -1
        queue.items.append((key, value))
        if 0 < queue.size < len(queue.items):
            queue.items.popleft()
        return 1

    def mq_fetch(self, name: str) -> int:
        queue = self._queues.get(name)
        if queue is None:
            return -1
        queue.fetched = queue.items.popleft() if queue.items else None
        return 1 if queue.fetched else EMPTY

    def mq_size(self, name: str) -> int:
        return len(self._queues[name].items) if name in self._queues else -1


def read_tables(config: str) -> Iterator[tuple[str, Table]]:
    for name, options in re.findall(r'^modparam\("htable", "htable", "(\w+)=>([^"]*)"\)', config, re.MULTILINE):
        values = dict(option.split("=") for option in options.split(";"))
        yield name, Table(int(values["initval"]) if "initval" in values else None, int(values.get("autoexpire", 0)))


def read_queues(config: str) -> Iterator[tuple[str, Queue]]:
    for options in re.findall(r'^modparam\("mqueue", "mqueue", "([^"]*)"\)', config, re.MULTILINE):
        values = dict(option.split("=") for option in options.split(";"))
        yield values["name"], Queue(int(values.get("size", 0)))
