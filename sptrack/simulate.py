"""The one driver of runs: outer steps that are recorded, inner steps that aren't.

`run` compiles `inner_steps` steps and a record as one program and calls it `outer_steps` times from
Python: so a progress bar counts finished work without a callback in the program, the state is
donated from call to call, and a long run can keep it on disk. A population is a step under
`jax.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._checkpoint import Checkpoint
from sptrack._digest import program_digest, values_digest
from sptrack._progress import bar
from sptrack._typing import Array, PyTree

if TYPE_CHECKING:
    import os

__all__ = ["run"]


def run(
    step: Callable[[PyTree, Array, Any], PyTree],
    state: PyTree,
    *,
    outer_steps: int,
    inner_steps: int,
    record: Callable[[PyTree, Any], PyTree] | None = None,
    data: Any = None,
    progress: bool | str = False,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 1,
    donate: bool = False,
) -> tuple[PyTree, PyTree]:
    """Does `outer_steps * inner_steps` steps and records after every outer one.

    With a checkpoint the same call continues where a killed one stopped, and ends with the same
    bits as an undisturbed one on the same kind of machine; what is lost is the work since the last
    checkpoint. A finished run is read, not done again, and more `outer_steps` extend it.

    Args:
      step: (state, t, data) -> state; t counts steps from 0 and is a scalar int32.
      state: where to start, arrays and typed keys.
      outer_steps: recorded steps, >= 1.
      inner_steps: steps per recorded one, >= 1.
      record: (state, data) -> small pytree of arrays to keep; None keeps nothing.
      data: arrays that the steps read, passed on unchanged.
      progress: True or a title shows a bar over outer steps if standard error is a terminal.
      checkpoint: file for state and records, e.g. "runs/long.npz". It is replaced whole, and
        belongs to this run: the same step, record, state at the start, data and JAX version.
      checkpoint_every: outer steps between two checkpoints, >= 1.
      donate: gives `state` away: less memory, and the caller's arrays are gone. Otherwise the run
        works on a copy.

    Returns:
      (final state, records): records have a leading axis of length `outer_steps`, as NumPy arrays;
      None without `record`.

    Raises:
      ValueError: if a number of steps is not a positive integer, or the checkpoint is further on.
      FileExistsError: if the checkpoint is another run's, or no checkpoint.
      OSError: if it can't be written; the last one stays.

    Example:
      >>> final, records = spt.simulate.run(
      ...     lambda x, t, data: x + data, 0.0, outer_steps=3, inner_steps=2,
      ...     record=lambda x, data: {"x": x}, data=0.5)
      >>> print(final, records["x"])
      3.0 [1. 2. 3.]
    """
    for name, value in (
        ("outer_steps", outer_steps),
        ("inner_steps", inner_steps),
        ("checkpoint_every", checkpoint_every),
    ):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"run: {name} must be an integer >= 1, got {value!r}.")

    def chunk(state, start, data):
        def body(state, t):
            return step(state, t, data), None

        state, _ = jax.lax.scan(body, state, start + jnp.arange(inner_steps, dtype=jnp.int32))
        return state, None if record is None else record(state, data)

    compiled = jax.jit(chunk, donate_argnums=0)
    state = jax.tree.map(lambda x: jnp.array(x, copy=not donate), state)  # ours, to be donated
    kept, finished, records = None, 0, []
    if checkpoint is not None:
        traced = compiled.trace(state, jnp.asarray(0, jnp.int32), data)
        kept = Checkpoint(Path(checkpoint), _identity(traced.jaxpr, inner_steps, state, data))
        finished, state, records = kept.read(state, traced.out_info[1])
        if finished > outer_steps:
            raise ValueError(f"run: {checkpoint} has {finished} outer steps, not {outer_steps}.")
        if not finished:
            kept.write(0, state, [])  # a place that can't be written to shows before the work
    with bar(outer_steps, progress, finished=finished) as shown:
        for outer in range(finished, outer_steps):
            state, new = compiled(state, jnp.asarray(outer * inner_steps, jnp.int32), data)
            records.append(jax.device_get(new))
            if kept and ((outer + 1) % checkpoint_every == 0 or outer + 1 == outer_steps):
                kept.write(outer + 1, state, records)
            shown.update(1)
    if record is None:
        return state, None
    return state, jax.tree.map(lambda *xs: np.stack(xs), *records)


def _identity(program: Any, inner_steps: int, start: PyTree, data: Any) -> dict[str, str]:
    """All that decides about the numbers of a run."""
    return {
        "schema": "1",
        "program": program_digest(program),
        "inner_steps": str(inner_steps),
        "state": values_digest(start),
        "data": values_digest(data),
        "backend": jax.default_backend(),
        "jax": jax.__version__,
    }
