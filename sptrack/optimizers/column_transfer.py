"""The schedule of real arrays: P is read column by column, W gets single pulses.

What the released experiments of arXiv 2602.21321 do (they build on Rasch et al. 2024). At step t
column j = t mod (number of columns) of every matrix is read, with read noise, and

    val = P_j + noise                                         a transfer read
    d_j = c_j (val - R_j)                                     kept until the column's next read
    H_j <- H_j + beta d_j / g,   g = dw_min(P) auto_granularity / (columns transfer_every)
    n_j = clip(trunc(H_j), +-max_pulses)                      pulses on column j of W
    H_j <- momentum H_j where n_j != 0                        (the buffer forgets)
    Q_j <- (1 - eta) Q_j + eta val
    c_j flips every max(ceil(1/p), 2) reads of the column, and then Q~_j <- Q_j

The model sees W + gamma d with the stored, stale d. W is not written before the first chopper
period has passed. Differences from the released code are options elsewhere: reads here have white
noise of `read_noise_std` and no quantisation.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sptrack._random import leaf_keys, normal, purpose_key
from sptrack._typing import Array, Key, number, spec
from sptrack.optimizers.residual_state import (
    Rates,
    ResidualState,
    join_matrices,
    reference_of,
    split_matrices,
)
from sptrack.pulses import apply_pulses, show_written
from sptrack.transforms.arrays import ArrayState, columns, num_columns, read, set_columns
from sptrack.transforms.chop import chopper_period, flip


@spec
class ColumnTransfer:
    """Settings of the column-wise transfer from P to W; the module's docstring has the equations.

    Attributes:
      read_noise_std: std of the noise of a transfer read; weight units. The default is the output
        noise of the released experiments.
      auto_granularity: how many steps' worth of pulses fill the buffer, scaled by the number of
        columns so that large and small matrices transfer at the same rate per step.
      momentum: what is left in the buffer after a pulse, in [0, 1).
      max_pulses: most pulses per transfer and cell.
      transfer_every: steps between two transfers, an integer >= 1.
      reads_per_transfer: columns read at each transfer, one after the other, an integer >= 1; all
        columns of a matrix that has fewer. Released experiments read one.
      warm_up: whether W waits for the first chopper period.

    Example:
      >>> import sptrack as spt
      >>> spt.ColumnTransfer(read_noise_std=0.0).auto_granularity
      1000.0
    """

    read_noise_std: float = number(0.06, low=0)
    auto_granularity: float = number(1000.0, low=0, above=True)
    momentum: float = number(0.0, low=0, high=1)
    max_pulses: float = number(1, low=1)
    transfer_every: int = 1
    reads_per_transfer: int = 1
    warm_up: bool = True

    def check(self):
        """Refuses counts that are no positive integers."""
        for name in ("transfer_every", "reads_per_transfer"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"ColumnTransfer: {name} must be an integer >= 1, got {value!r}.")


def check_columns(transfer: Any, chopper: str | None, w_ref: str, wbar_ref: str) -> None:
    """Refuses options that have no meaning when single columns are read."""
    if not isinstance(transfer, ColumnTransfer):
        raise TypeError(f"transfer must be a spt.ColumnTransfer or None, got {transfer!r}.")
    if chopper == "scalar":
        raise ValueError(
            "chopper='scalar' flips all columns in one step, but a ColumnTransfer reads one column "
            "per step; use chopper='periodic' (released experiments) or 'random'."
        )
    if w_ref != wbar_ref:
        raise ValueError(
            f"with a ColumnTransfer one stored residual serves both W and the model, so w_ref and "
            f"wbar_ref must agree; got {w_ref!r} and {wbar_ref!r}."
        )


def transfer_columns(
    key: Key,
    state: ResidualState,
    rates: Rates,
    transfer: ColumnTransfer,
    chopper: str,
    w_ref: str,
    method: str,
) -> ResidualState:
    """One step of the schedule: the due columns of every matrix are transferred."""
    keys = leaf_keys(key, state.weight.hidden)
    matrices = [
        _transfer_one(k, one, rates, transfer, chopper, w_ref, method)
        for k, one in zip(keys, split_matrices(state), strict=True)
    ]
    return join_matrices(state, matrices)


def _transfer_one(
    key: Key,
    state: ResidualState,
    rates: Rates,
    transfer: ColumnTransfer,
    chopper: str,
    w_ref: str,
    method: str,
) -> ResidualState:
    """Transfers the due columns of one matrix; fields of `state` are plain arrays here."""
    shape = state.weight.hidden.shape
    size = num_columns(state.weight.hidden)
    due = state.count % transfer.transfer_every == 0
    at_once = min(transfer.reads_per_transfer, size)
    reads = (state.count // transfer.transfer_every) * at_once + jnp.arange(at_once)
    j, passes = reads % size, (reads // size).reshape(-1, 1)

    def get(matrix):
        return columns(matrix, j, matrix.shape)

    def put(matrix, values):
        return set_columns(matrix, j, jnp.where(due, values, get(matrix)))

    val = get(read(state.residual))
    val = val + transfer.read_noise_std * normal(key, "transfer read", val)
    c = jnp.ones((at_once, 1), val.dtype) if state.chopper is None else get(state.chopper)
    d = c * (val - get(reference_of(state, w_ref)))

    granularity = state.residual.device.dw_min * transfer.auto_granularity
    granularity = granularity / (size * transfer.transfer_every)
    filled = get(state.buffer) + rates.beta * d / granularity
    counts = jnp.clip(jnp.trunc(filled), -transfer.max_pulses, transfer.max_pulses)
    emptied = jnp.where(counts != 0, transfer.momentum * filled, filled)
    period = None if rates.p is None else chopper_period(rates.p)
    ready = due if period is None or not transfer.warm_up else due & (passes > period)
    counts = jnp.where(ready, counts, 0).astype(jnp.int32)
    state = state._replace(
        weight=_pulse_columns(key, state.weight, counts, j, shape, method),
        buffer=put(state.buffer, emptied),
        demodulated=put(state.demodulated, d),
    )
    if rates.eta is not None:
        q = get(state.tracked_sp)
        state = state._replace(tracked_sp=put(state.tracked_sp, q + rates.eta * (val - q)))
    if period is not None and rates.p is not None:
        if chopper == "periodic":
            flips = (passes + 1) % period == 0
        else:
            flips = jax.random.bernoulli(purpose_key(key, "chopper"), rates.p, c.shape)
        held = jnp.where(flips, get(state.tracked_sp), get(state.held_sp))
        state = state._replace(
            chopper=put(state.chopper, flip(c, flips)), held_sp=put(state.held_sp, held)
        )
    return state


def _pulse_columns(
    key: Key, array: ArrayState, counts: Array, j: Array, shape: tuple[int, ...], method: str
) -> ArrayState:
    """Sends `counts` pulses to columns j of one matrix and counts them."""
    cells = columns(array.device, j, shape)
    hidden = apply_pulses(key, cells, columns(array.hidden, j, shape), counts, method=method)
    shown = show_written(key, cells, hidden, columns(read(array), j, shape), counts)
    pulses = columns(array.pulses, j, shape)
    pulses = pulses + jnp.abs(counts).astype(pulses.dtype)
    return array._replace(
        hidden=set_columns(array.hidden, j, hidden),
        shown=None if array.shown is None else set_columns(array.shown, j, shown),
        pulses=set_columns(array.pulses, j, pulses),
    )
