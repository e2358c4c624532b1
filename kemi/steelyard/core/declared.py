"""
The operator's list: five hashes of text in, checked destinations and settings out.

A value that cannot be used is refused by name and the last good one stays; nothing else of the list is touched.
Does not know Redis: a hash is a dict, and one that could not be read is None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from .destination import (
    BadValue,
    Destination,
    Mode,
    State,
    parse_priority,
    parse_uri,
    parse_weight,
    parse_word,
)
from .settings import Settings, build, parse_setting

Raw = Mapping[str, Mapping[str, str] | None]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A field that was refused: which key's, what it said, and what was expected."""

    hash: str
    field: str
    value: str
    reason: str


@dataclass(frozen=True)
class Declared:
    """The last good list; `good` keeps every field's value as it was read, for the next reading to fall back on."""

    good: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    text: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    destinations: Mapping[str, Destination] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)


def _of_uri(parse: Callable[[str], Any]) -> Callable[[str, str], Any]:
    """Return the reader of a hash whose fields are destinations and whose values `parse` reads."""

    def read(uri: str, text: str) -> Any:  # noqa: ANN401 - what parse returns
        parse_uri(uri)
        return parse(text)

    return read


READERS: Final[dict[str, Callable[[str, str], Any]]] = {
    "weight": _of_uri(parse_weight),
    "state": _of_uri(partial(parse_word, State)),
    "mode": _of_uri(partial(parse_word, Mode)),
    "priority": _of_uri(parse_priority),
    "settings": parse_setting,
}
HASHES: Final = tuple(READERS)


def read_list(raw: Raw, last: Declared) -> tuple[Declared, list[Rejected]]:
    """
    Read the operator's five hashes.

    Args:
        raw: hash name -> field -> text; None for a hash that could not be read at all.
        last: the list in force, whose values stay where the new ones are no good.

    Returns:
        The new list and what was refused, in the order of HASHES.
    """
    good: dict[str, dict[str, Any]] = {}
    text: dict[str, dict[str, str]] = {}
    rejected: list[Rejected] = []
    for name, reader in READERS.items():
        old_good, old_text = last.good.get(name, {}), last.text.get(name, {})
        fields = raw.get(name)
        if fields is None:
            good[name], text[name] = dict(old_good), dict(old_text)
            continue
        good[name], text[name] = {}, {}
        for key, value in fields.items():
            try:
                good[name][key] = reader(key, value)
                text[name][key] = value
            except BadValue as error:
                rejected.append(Rejected(name, key, value, str(error)))
                if key in old_good:
                    good[name][key], text[name][key] = old_good[key], old_text[key]
    return Declared(good, text, _destinations(good), build(good["settings"])), rejected


def _destinations(good: Mapping[str, Mapping[str, Any]]) -> dict[str, Destination]:
    return {
        uri: Destination(
            uri,
            weight,
            good["state"].get(uri, State.READY),
            good["mode"].get(uri, Mode.AUTO),
            good["priority"].get(uri, 0),
        )
        for uri, weight in sorted(good["weight"].items())
    }
