"""Measured tables of steps: read from CSV, checked line by line."""

import math
from typing import NamedTuple

import numpy as np

from sptrack._csv import read_rows

COLUMNS = ("weight", "step_up", "step_down")


class Steps(NamedTuple):
    """Mean steps at equally spaced weights, in the table's unit.

    Attributes:
      low, high: first and last weight.
      up, down: steps at the nodes, shape (nodes,).
      middle: mean of both steps in the middle of the range.
    """

    low: float
    high: float
    up: np.ndarray
    down: np.ndarray
    middle: float


def read_steps(path, num_nodes: int | None = None) -> Steps:
    """Reads and checks a table with the columns of `COLUMNS`; errors name the file and the line."""
    lines, rows = _read(path)
    weight, up, down = np.array(rows, float).T
    for index in range(1, len(rows)):
        if weight[index] <= weight[index - 1]:
            raise ValueError(
                f"{path}, line {lines[index]}: weight {weight[index]:g} does not rise above the "
                f"{weight[index - 1]:g} before it; sort the rows and merge equal weights."
            )
    if num_nodes is not None and (not isinstance(num_nodes, int) or num_nodes < 2):
        raise ValueError(f"num_nodes must be an integer >= 2 or None, got {num_nodes!r}.")
    nodes = np.linspace(weight[0], weight[-1], num_nodes or len(rows))
    middle = (weight[0] + weight[-1]) / 2
    step = float(np.interp(middle, weight, up) + np.interp(middle, weight, down)) / 2
    if step == 0:
        raise ValueError(f"{path}: both steps are zero in the middle of the range, at {middle:g}.")
    return Steps(
        low=float(weight[0]),
        high=float(weight[-1]),
        up=np.interp(nodes, weight, up),
        down=np.interp(nodes, weight, down),
        middle=step,
    )


def _read(path) -> tuple[list[int], list[list[float]]]:
    """Line numbers and numbers of all rows, at least two."""
    lines, rows = [], []
    for line, row in read_rows(path, COLUMNS):
        lines.append(line)
        rows.append([_number(path, line, name, row[name]) for name in COLUMNS])
    if len(rows) < 2:
        raise ValueError(f"{path}: at least two rows of numbers are needed, got {len(rows)}.")
    return lines, rows


def _number(path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{path}, line {line}: {name} must be a finite number, got {text!r}.")
    if name != "weight" and value < 0:
        raise ValueError(
            f"{path}, line {line}: {name} is the size of a step and must be >= 0, got {text!r}."
        )
    return value
