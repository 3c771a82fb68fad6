"""Tables with named columns, read from CSV line by line; errors name the file and the line."""

import csv
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any


def read_rows(path: Any, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by column, of every line with content after the header.

    Lines that start with # are skipped; columns beyond those asked for are allowed.

    Raises:
      ValueError: if the file is no text or no CSV, a column is missing, or a line has more or
        fewer cells than the header.
      OSError: if the file can't be read.
    """
    header = None
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or cells[0].startswith("#"):
                continue
            if header is None:
                header = _header(path, reader.line_num, cells, columns)
            elif len(cells) != len(header):
                raise ValueError(
                    f"{path}, line {reader.line_num}: expected {len(header)} values, got "
                    f"{len(cells)}."
                )
            else:
                yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: this is no CSV ({error}).") from None


def _text(path: Any) -> str:
    data = pathlib.Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}, line {line}: this is no text in UTF-8 ({error}).") from None


def _header(path: Any, line: int, cells: list[str], columns: Sequence[str]) -> list[str]:
    missing = [name for name in columns if name not in cells]
    if missing:
        raise ValueError(
            f"{path}, line {line}: the header must name the columns {', '.join(columns)}; "
            f"{', '.join(missing)} not found in {cells}."
        )
    return cells
