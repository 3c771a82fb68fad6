"""Pulse traces: what was read of some cells before and after every pulse, from a file or simulated.

A table has one line per read: `cell, pulse, direction, weight`. `pulse` counts from 1 within a
cell; `direction` is that pulse's (1 or up, -1 or down) and `weight` what was read after it, empty
where nothing was. Pulse 0, without a direction, is the read before the first pulse and may be
missing. Lines in any order; lines of pulses that were not read may be left out where the pulses
before and after have the same direction. Weights in any unit.
"""

import csv
import math
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._csv import read_rows
from sptrack._files import write_whole
from sptrack._random import as_key
from sptrack._typing import Array, Key, check_number
from sptrack.pulses.apply import check_weight
from sptrack.pulses.read_train import pulse_and_read

COLUMNS = ("cell", "pulse", "direction", "weight")
_reads = jax.jit(pulse_and_read)
_MOST_PULSES = 10_000_000  # a number beyond is no count of pulses
_DIRECTIONS = {"1": 1, "+1": 1, "+": 1, "up": 1, "-1": -1, "-": -1, "down": -1}


class Traces(NamedTuple):
    """Reads of some cells between pulses.

    Attributes:
      directions: 1 (up), -1 (down) or 0 (no pulse), shape (pulses, cells).
      weights: what was read before the first and after every pulse, NaN where nothing was, shape
        (pulses + 1, cells).
      cells: names of the cells.

    Example:
      >>> traces = spt.Traces(np.array([[1], [1]]), np.array([[0.0], [0.1], [0.18]]), ("a",))
      >>> traces.weights.shape
      (3, 1)
    """

    directions: Any
    weights: Any
    cells: tuple[str, ...]


def simulate_traces(
    key: Key, device: Any, w: Array, directions: Array, *, read_noise_std: float = 0.0
) -> Traces:
    """Pulses the cells of a device and reads every one of them after each pulse.

    Args:
      key: a JAX random key (cycle, write and read noise).
      device: a device of shape (cells,).
      w: hidden weights to start from, shape (cells,).
      directions: 1 (up), -1 (down) or 0 (no pulse): shape (pulses,) for all cells alike, or
        (pulses, cells).
      read_noise_std: std of the noise of one read, beside the device's write noise; weight units.

    Returns:
      `Traces`, with the cells numbered from 0.

    Raises:
      TypeError: if `key` is no key or `w` not floating.
      ValueError: if a shape doesn't fit, a direction is not -1, 0 or 1, or the noise is negative.

    Example:
      >>> device = spt.sample_device(jax.random.key(0), spt.LinearResponse(dw_min=0.1), (2,))
      >>> up = jnp.ones(2, int)
      >>> print(spt.simulate_traces(jax.random.key(1), device, jnp.zeros(2), up).weights)
      [[0.   0.  ]
       [0.1  0.1 ]
       [0.19 0.19]]
    """
    w, signs = jnp.asarray(w), np.asarray(directions)
    check_weight(device, w)
    check_number("simulate_traces", "read_noise_std", read_noise_std, 0.0, math.inf)
    if w.ndim != 1 or signs.shape not in (signs.shape[:1], signs.shape[:1] + w.shape):
        raise ValueError(
            "w must have the shape (cells,), directions (pulses,) or (pulses, cells), got "
            f"{w.shape} and {signs.shape}."
        )
    if not np.isin(signs, (-1, 0, 1)).all():
        raise ValueError("directions must be -1, 0 or 1.")
    signs = np.broadcast_to(signs.reshape(len(signs), -1), (len(signs), len(w)))
    weights = _reads(as_key(key), device, w, jnp.asarray(signs), read_noise_std)[1]
    return Traces(signs, np.asarray(weights), tuple(map(str, range(len(w)))))


def read_traces(path: Any) -> Traces:
    """Reads traces from a CSV file with the columns cell, pulse, direction, weight.

    The module's docstring has the format. Lines that start with # are skipped, further columns too.

    Args:
      path: the file.

    Returns:
      `Traces`; cells in the order in which they appear.

    Raises:
      ValueError: for what is no such table, with the number of the line.
      OSError: if the file cannot be read.

    Example:
      >>> lines = ["cell,pulse,direction,weight", "a,0,,0.0", "a,1,up,0.1", "a,3,up,0.25"]
      >>> with open("traces.csv", "w") as file:
      ...     print(*lines, sep=chr(10), file=file)
      >>> spt.read_traces("traces.csv").weights[:, 0]
      array([0.  , 0.1 ,  nan, 0.25])
    """
    cells: dict[str, dict[int, tuple[int, int, float]]] = {}
    for line, row in read_rows(path, COLUMNS):
        number = _pulse(path, line, row["pulse"])
        entry = (line, _direction(path, line, row["direction"], number), _weight(path, line, row))
        trace = cells.setdefault(row["cell"], {})
        if number in trace:
            raise ValueError(
                f"{path}, line {line}: pulse {number} of cell {row['cell']!r} was already given in "
                f"line {trace[number][0]}."
            )
        trace[number] = entry
    if not cells:
        raise ValueError(f"{path}: there is no read in this file.")
    pulses = max(max(trace) for trace in cells.values())
    directions = np.zeros((pulses, len(cells)), np.int8)
    weights = np.full((pulses + 1, len(cells)), np.nan)
    for column, trace in enumerate(cells.values()):
        _fill(path, trace, directions[:, column], weights[:, column])
    return Traces(directions, weights, tuple(cells))


def write_traces(traces: Traces, path: Any) -> None:
    """Writes traces as the CSV file that `read_traces` reads.

    Args:
      traces: the traces.
      path: the file, written whole or not at all.

    Example:
      >>> traces = spt.Traces(np.array([[1], [-1]]), np.array([[0.0], [0.1], [np.nan]]), ("a",))
      >>> spt.write_traces(traces, "written.csv")
      >>> with open("written.csv") as file:
      ...     print(file.read())
      cell,pulse,direction,weight
      a,0,,0.0
      a,1,1,0.1
      a,2,-1,
      <BLANKLINE>
    """
    directions, weights = np.asarray(traces.directions), np.asarray(traces.weights)

    def write(new: pathlib.Path) -> None:
        with new.open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            for column, cell in enumerate(traces.cells):
                for pulse, weight in enumerate(weights[:, column]):
                    direction = int(directions[pulse - 1, column]) if pulse else ""
                    if direction != 0:
                        shown = "" if np.isnan(weight) else repr(float(weight))
                        table.writerow([cell, pulse, direction, shown])

    write_whole(pathlib.Path(path), write)


def _pulse(path, line: int, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"{path}, line {line}: pulse must be a whole number >= 0, got {text!r}.")
    number = int(text)
    if number > _MOST_PULSES:
        raise ValueError(
            f"{path}, line {line}: pulse {text} is beyond {_MOST_PULSES}; count the pulses of each "
            "cell from 1."
        )
    return number


def _direction(path, line: int, text: str, pulse: int) -> int:
    if pulse == 0:
        if text not in ("", "0"):
            raise ValueError(
                f"{path}, line {line}: pulse 0 is the read before the first pulse and has no "
                f"direction, got {text!r}; count pulses from 1."
            )
        return 0
    if text.lower() not in _DIRECTIONS:
        raise ValueError(
            f"{path}, line {line}: direction must be 1 (up) or -1 (down), got {text!r}."
        )
    return _DIRECTIONS[text.lower()]


def _weight(path, line: int, row: dict[str, str]) -> float:
    if row["weight"].lower() in ("", "nan"):
        return math.nan
    try:
        value = float(row["weight"])
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise ValueError(
            f"{path}, line {line}: weight must be a finite number, or empty where nothing was "
            f"read, got {row['weight']!r}."
        )
    return value


def _fill(path, trace: dict[int, tuple[int, int, float]], directions, weights) -> None:
    """One cell's columns; pulses between two of the same direction are taken to have it too."""
    before, last = None, 0
    for pulse in sorted(trace):
        line, direction, weight = trace[pulse]
        weights[pulse] = weight
        if pulse == 0:
            continue
        if pulse > last + 1 and direction != before:
            raise ValueError(
                f"{path}, line {line}: pulses {last + 1} to {pulse - 1} before it are missing and "
                "their direction is unknown; give their lines, with an empty weight where nothing "
                "was read."
            )
        directions[last:pulse] = direction
        before, last = direction, pulse
