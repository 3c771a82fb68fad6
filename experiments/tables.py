"""Tables as text and as CSV, from rows that are dicts with the same keys."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, told apart by everybody.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def text(rows: Sequence[dict[str, Any]]) -> str:
    """Columns of words to the left, columns of numbers to the right; floats as they are given."""
    columns = [[name, *(cell(row[name]) for row in rows)] for name in rows[0]]
    aligned = []
    for column in columns:
        width = max(map(len, column))
        numeric = all(map(_is_number, column[1:]))
        aligned.append([cell.rjust(width) if numeric else cell.ljust(width) for cell in column])
    head, *body = ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]
    return "\n".join([head, "-" * len(head), *body])


def read_csv(path: Path) -> list[dict[str, str]]:
    """The lines of a CSV file, by the names in its head."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_csv(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One line per row, floats with six digits, None as nothing."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)


def cell(value: Any, form: str = ".6g") -> str:
    """A float in this format, None as nothing, anything else as it is."""
    if value is None:
        return ""
    return format(value, form) if isinstance(value, float) else str(value)


def with_spread(row: dict[str, Any], name: str, form: str) -> str:
    """A column of a row as text, with the standard deviation in `name`_std where there is one."""
    error = row[f"{name}_std"]
    return format(row[name], form) + ("" if error is None else f" ± {error:{form}}")


def _is_number(cell: str) -> bool:
    """Whether a cell is a number, or empty."""
    try:
        float(cell or 0)
    except ValueError:
        return False
    return True
