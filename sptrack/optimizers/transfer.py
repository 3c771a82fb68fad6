"""The transfer from P to W: read, demodulate, write, track, flip; for whole matrices or by lines.

For the visited cells of each matrix (`column_transfer.py` says which), in this order:

    val = what a read shows of P                              (T1)   exact for whole matrices
    d   = c (val - R)                                         (T2)   demodulate
    W  <- AU(W, beta d), or pulses from the buffer            (T3)   (11b), (18b); (B1)-(B4)
    Q  <- (1 - eta) Q + eta val                               (T4)   (12)
    c  <- -c at random or periodically, then Q~ <- Q          (T5)   (17), Algorithm 3

R is Q or Q~; (T3) takes the old R. By lines, c_j flips with probability p at every read of line j
or at every max(ceil(1/p), 2)th, and an output chopper after a whole pass. AGAD (Rasch et al. 2024,
eqs. 12-13) marks a line at its flip and takes Q~ <- Q at the line's next read: the same, because Q
doesn't change in between.
"""

from typing import Any

import jax
import jax.numpy as jnp

from sptrack._random import leaf_keys, purpose_key
from sptrack._typing import Array, Key, PyTree
from sptrack.optimizers.column_transfer import Visit, visit
from sptrack.optimizers.digital_buffer import fill, pulses_of, release
from sptrack.optimizers.residual_state import (
    Rates,
    ResidualState,
    join_matrices,
    reference_of,
    split_matrices,
)
from sptrack.optimizers.settings import Settings
from sptrack.periphery import read_columns
from sptrack.transforms.arrays import read, write, write_pulses
from sptrack.transforms.chop import chopper_period, draw_flips, flip, kind_of
from sptrack.transforms.counting import count_rewrite
from sptrack.transforms.flip_clock import tick


def transfer(
    key: Key,
    state: ResidualState,
    rates: Rates,
    settings: Settings,
    due: Any = True,
    onto: PyTree | None = None,
) -> ResidualState:
    """One transfer of every matrix.

    Args:
      key: this step's key.
      state: the state after P was written.
      rates: this step's numbers.
      settings: the algorithm.
      due: whether a transfer takes place at all, a boolean.
      onto: signs of W's own chopper, where W is itself a chopped array; W gets them times d.
    """
    keys, treedef = leaf_keys(key, state.weight.hidden), jax.tree.structure(state.weight.hidden)
    signs = [None] * len(keys) if onto is None else treedef.flatten_up_to(onto)
    matrices = [
        _transfer_one(key, k, one, rates, settings, due, sign)
        for k, one, sign in zip(keys, split_matrices(state), signs, strict=True)
    ]
    return join_matrices(state, matrices)


def _transfer_one(
    step_key: Key,
    key: Key,
    state: ResidualState,
    rates: Rates,
    settings: Settings,
    due: Any,
    onto: Array | None,
) -> ResidualState:
    """The transfer of one matrix; fields of `state` are plain arrays here."""
    now = visit(read(state.weight), state.count, settings.transfer, due)
    val = now.get(read(state.residual))
    if settings.transfer is not None:
        val = read_columns(purpose_key(key, "transfer read"), val, settings.transfer.read)  # (T1)
    d = _demodulated(state, now, val - now.get(reference_of(state, settings.w_ref)))  # (T2)
    state = _deliver(key, state, now, d, rates, settings, onto)  # (T3)
    if settings.is_stored and state.demodulated is not None:
        state = state._replace(demodulated=now.put(state.demodulated, d))
    if rates.eta is not None:
        q = now.get(state.tracked_sp)
        tracked = now.put(state.tracked_sp, q + rates.eta * (val - q))  # (T4)
        state = state._replace(tracked_sp=tracked)
    flip_key = step_key if kind_of(settings.chopper) == "scalar" else key  # all matrices alike
    return _flip_output(key, _flip(flip_key, state, now, rates, settings), now, rates)  # (T5)


def _demodulated(state: ResidualState, now: Visit, values: Array) -> Array:
    """The choppers' signs times `values`."""
    if state.chopper is not None:
        values = now.sign(state.chopper) * values
    if state.out_chopper is not None:
        values = now.sign(state.out_chopper, across=True) * values
    return values


def _deliver(
    key: Key,
    state: ResidualState,
    now: Visit,
    d: Array,
    rates: Rates,
    settings: Settings,
    onto: Array | None,
) -> ResidualState:
    """W after the transfer, and the buffer if there is one."""

    def modulated(values):
        return values if onto is None else now.sign(onto) * values

    key = purpose_key(key, "weight")
    ready, cells, buffer = now.due, now.get(state.weight), settings.buffer
    if settings.waits and rates.p is not None:
        ready = ready & (now.number > chopper_period(rates.p))
    if buffer is None:
        increments = jnp.where(ready, rates.beta * modulated(d), 0)
        written = write(key, cells, increments, method=settings.method)
        return state._replace(weight=now.put_array(state.weight, written))
    array = state.weight if buffer.unit == "weight" else state.residual
    unit = buffer.granularity * array.device.dw_min
    unit = unit / now.interval if buffer.over_lines else unit
    n, rest = release(buffer, fill(buffer, now.get(state.buffer), d, rates.beta, unit))
    counts = jnp.where(ready, modulated(pulses_of(key, buffer, n)), 0)
    written = write_pulses(key, cells, counts, method=settings.method)
    return state._replace(
        weight=now.put_array(state.weight, written), buffer=now.put(state.buffer, rest)
    )


def _flip(
    key: Key, state: ResidualState, now: Visit, rates: Rates, settings: Settings
) -> ResidualState:
    """Flips the chopper's signs where their time has come, and Q~ <- Q there."""
    if state.chopper is None or rates.p is None:
        return state
    chopper, sign = state.chopper, now.sign(state.chopper)
    if state.flip_clocks is None:
        flips = _flips(key, state, now, sign, rates.p, settings)
        sign = flip(sign, flips)
    else:  # a relaxed chopper: Q~ goes the share `flips` of the way
        clock, flips = tick(
            key, jax.tree.map(now.sign, state.flip_clocks), rates.p, kind_of(settings.chopper)
        )
        sign = clock.mean_sign()
        clocks = jax.tree.map(now.put_sign, state.flip_clocks, clock)
        state = state._replace(flip_clocks=clocks)
    state = state._replace(chopper=now.put_sign(chopper, sign))
    if state.tracked_sp is None:
        return state
    new, old = now.get(state.tracked_sp), now.get(state.held_sp)
    if state.programming is not None:
        dw_min = state.residual.device.dw_min
        counter = count_rewrite(now.get(state.programming), flips, new - old, dw_min)
        counter = jax.tree.map(now.put, state.programming, counter)
        state = state._replace(programming=counter)
    relaxed = state.flip_clocks is not None
    held = old + flips * (new - old) if relaxed else jnp.where(flips, new, old)
    return state._replace(held_sp=now.put(state.held_sp, held))


def _flips(
    key: Key, state: ResidualState, now: Visit, sign: Array, p: Array, settings: Settings
) -> Array:
    """Which of the visited signs flip at the end of this step."""
    if now.indices is None:
        return draw_flips(key, read(state.weight), now.number, p, settings.chopper)
    if settings.chopper == "periodic":
        return (now.number + 1) % chopper_period(p) == 0
    return jax.random.bernoulli(purpose_key(key, "chopper"), p, sign.shape)


def _flip_output(key: Key, state: ResidualState, now: Visit, rates: Rates) -> ResidualState:
    """Flips signs of the output chopper at the end of a pass, each with probability p_out."""
    if state.out_chopper is None or rates.p_out is None:
        return state
    sign = state.out_chopper
    flips = jax.random.bernoulli(purpose_key(key, "output chopper"), rates.p_out, sign.shape)
    return state._replace(out_chopper=flip(sign, flips & now.due & now.ends_pass))
