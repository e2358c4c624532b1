"""Rows as aligned text, one line as soon as it is known, and as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]


class Column(NamedTuple):
    """One column: its heading, the key of its values in a row, their format, and its width in plain text."""

    heading: str
    key: str
    form: str = ""
    width: int = 7


def heading(columns: Sequence[Column]) -> str:
    """Return the line above the rows; the first column stands to the left."""
    return _line(columns, [column.heading for column in columns])


def line(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    """Return a row as a line of plain text."""
    return _line(columns, [_cell(column, row) for column in columns])


def markdown(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = [[column.heading for column in columns], *([_cell(column, row) for column in columns] for row in rows)]
    texts = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([texts[0], f"|{'---|' * len(columns)}", *texts[1:]])


def _line(columns: Sequence[Column], cells: Sequence[str]) -> str:
    first = f"{cells[0]:{columns[0].width}}"
    return " ".join([first, *(f"{cell:>{column.width}}" for column, cell in zip(columns[1:], cells[1:], strict=True))])


def _cell(column: Column, row: Mapping[str, Any]) -> str:
    value = row.get(column.key)
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(format(part, column.form) for part in value)
    return format(value, column.form)
