"""The one driver of runs: outer steps that are recorded, inner steps that aren't.

`run` compiles `inner_steps` steps and a record as one program and calls it `outer_steps` times from
Python: so a progress bar counts finished work without a callback in the program, and the state is
donated from call to call. A population is a step under `jax.vmap`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._progress import bar
from sptrack._typing import Array, PyTree

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
) -> tuple[PyTree, PyTree]:
    """Does `outer_steps * inner_steps` steps and records after every outer one.

    Args:
      step: (state, t, data) -> state; t counts steps from 0 and is a scalar int32.
      state: where to start; the caller's arrays stay valid.
      outer_steps: recorded steps, >= 1.
      inner_steps: steps per recorded one, >= 1.
      record: (state, data) -> small pytree of arrays to keep; None keeps nothing.
      data: arrays that the steps read, passed on unchanged.
      progress: True or a title shows a bar over outer steps if standard error is a terminal.

    Returns:
      (final state, records): records have a leading axis of length `outer_steps`, as NumPy arrays;
      None without `record`.

    Raises:
      ValueError: if a number of steps is not a positive integer.

    Example:
      >>> import sptrack as spt
      >>> final, records = spt.simulate.run(
      ...     lambda x, t, data: x + data, 0.0, outer_steps=3, inner_steps=2,
      ...     record=lambda x, data: {"x": x}, data=0.5)
      >>> print(final, records["x"])
      3.0 [1. 2. 3.]
    """
    for name, value in (("outer_steps", outer_steps), ("inner_steps", inner_steps)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"run: {name} must be an integer >= 1, got {value!r}.")

    def chunk(state, start, data):
        def body(state, t):
            return step(state, t, data), None

        state, _ = jax.lax.scan(body, state, start + jnp.arange(inner_steps, dtype=jnp.int32))
        return state, None if record is None else record(state, data)

    compiled = jax.jit(chunk, donate_argnums=0)
    state = jax.tree.map(lambda x: jnp.array(x, copy=True), state)  # ours, so it can be donated
    records = []
    with bar(outer_steps, progress) as shown:
        for outer in range(outer_steps):
            state, kept = compiled(state, jnp.asarray(outer * inner_steps, jnp.int32), data)
            records.append(jax.device_get(kept))
            shown.update(1)
    if record is None:
        return state, None
    return state, jax.tree.map(lambda *xs: np.stack(xs), *records)
