"""What the parts of the benchmark share: programs that take turns, a copy of the same bytes, rows.

A program is called `repeats` times and the least time counts, because everything else on a machine
only adds. Programs take turns, so that a change of the machine's load meets all of them.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments import study


class Program(NamedTuple):
    """Something that is timed.

    Attributes:
      name: its name.
      call: does it, and returns when it is done.
      amount: how much one call does: pulses of cells, or training steps of nets.
      moved: bytes that one unit of `amount` has to read and write; 0 if unknown.
      about: further numbers for its row.
      after: gives more of them, once all turns are over.
      peer: name of the program of aihwkit that does the like.
    """

    name: str
    call: Callable[[], Any]
    amount: float
    moved: float = 0.0
    about: dict[str, float] = {}  # noqa: RUF012 (never changed)
    after: Callable[[], dict[str, float]] = dict
    peer: str = ""


def finished(values: Any) -> Any:
    """The values of a JAX computation when it is done."""
    return jax.block_until_ready(values)


def take_turns(programs: Sequence[Program], repeats: int) -> study.Records:
    """Times of all programs, shape (programs, repeats), and what is known of them.

    Beside each program whose bytes are known, a copy of the same bytes is timed in the same turn.
    """
    copies = {index: _copy(p.moved * p.amount) for index, p in enumerate(programs) if p.moved}
    seconds, copying = (np.full((len(programs), repeats), np.nan) for _ in range(2))
    for turn in range(-1, repeats):  # the first turn warms up
        for index, program in enumerate(programs):
            for times, call in ((seconds, program.call), (copying, copies.get(index))):
                if call is None:
                    continue
                begin = time.perf_counter()
                call()
                if turn >= 0:
                    times[index, turn] = time.perf_counter() - begin
    known = [program.about | program.after() for program in programs]
    names = dict.fromkeys(name for about in known for name in about)
    more = {name: np.array([about.get(name, np.nan) for about in known]) for name in names}
    return more | {
        "program": np.array([program.name for program in programs]),
        "peer": np.array([program.peer for program in programs]),
        "seconds": seconds,
        "copy_seconds": copying,
        "amount": np.array([float(program.amount) for program in programs]),
        "load": np.full(len(programs), os.getloadavg()[0]),
    }


def _copy(moved: float) -> Callable[[], Any]:
    """Reads and writes `moved` bytes, half each; in pieces of 64 MB if they are more."""
    numbers = max(int(moved) // 8, 1)
    size = min(numbers, 2**24)
    times = max(1, round(numbers / size))
    add = jax.jit(lambda x: jax.lax.fori_loop(0, times, lambda _, x: x + 1, x), donate_argnums=0)
    held = [jnp.zeros(size, jnp.float32)]

    def call():
        held[0] = finished(add(held[0]))

    return call


FIXED = ("program", "peer", "seconds", "copy_seconds", "amount")


def rows(records: study.Records, unit: str, scale: float) -> list[dict[str, Any]]:
    """One row per program: least and median time per unit, ratios, and what else is known.

    Args:
      records: of `take_turns`.
      unit: name of the unit, e.g. "ms_per_step".
      scale: units of time in a second.

    Returns:
      Rows with times_copy, the least time over that of a copy of the same bytes, and
      times_aihwkit, over that of the program's peer; None where there is none.
    """
    per_unit = records["seconds"] / records["amount"][:, None]
    least, copied = per_unit.min(1), (records["copy_seconds"] / records["amount"][:, None]).min(1)
    by_name = dict(zip(records["program"].tolist(), least, strict=True))
    table = []
    for index, name in enumerate(records["program"].tolist()):
        peer = by_name.get(str(records["peer"][index]), np.nan)
        numbers = {
            unit: scale * least[index],
            "median": scale * np.median(per_unit[index]),
            "times_copy": least[index] / copied[index],
            "times_aihwkit": least[index] / peer,
        }
        numbers |= {key: records[key][index] for key in records if key not in FIXED}
        table.append({"program": name} | {key: _number(n) for key, n in numbers.items()})
    return table


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
