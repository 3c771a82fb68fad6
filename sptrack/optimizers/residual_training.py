"""Residual training on two arrays, from which every algorithm of this family is configured.

P is the residual array, which sees gradients; W the main array, which integrates the residual;
R the reference that stands for P's symmetric point; c the chopper (1 where there is none).
One step, with the equations of arXiv 2602.21321:

    g   = grad f(W_bar_k)                                     by the caller, at params = W_bar_k
    P  <- AU(P, -alpha c g)                                   (11a), (18a)
    d   = c (P_{k+1} - R_k)                                   new P, old reference
    W  <- AU(W, beta d)                                       (11b), (18b)
    Q  <- (1 - eta) Q + eta P_{k+1}                           (12)
    c  <- -c with probability p, and where it flips Q~ <- Q   (17), Algorithm 3
    W_bar = W + gamma c (P - R)                               what the model sees next

R is Q ("tracked_sp") or Q~ ("held_sp"); without tracking Q~ is a static reference. The chopper and
the synchronisation for step k + 1 are drawn at the end of step k, because params must be the
weights at which the next gradient is taken.

That is the whole-matrix update of the theory. With a `ColumnTransfer` only one column of P is read
per step and W gets single pulses from a digital buffer (`column_transfer.py`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from sptrack._random import as_key, purpose_key
from sptrack._typing import Array, Key, PyTree, ScalarOrSchedule, check_rate
from sptrack.optimizers.column_transfer import ColumnTransfer, check_columns, transfer_columns
from sptrack.optimizers.residual_state import (
    Rates,
    ResidualState,
    chopped,
    effective_weights,
    residual_of,
)
from sptrack.pulses.apply import check_method
from sptrack.transforms.apply_device import check_spec, difference
from sptrack.transforms.arrays import ArrayState, init_array, read, write
from sptrack.transforms.chop import (
    check_chopper,
    draw_flips,
    flip,
    init_sign,
    value_at,
)
from sptrack.transforms.low_pass import filtered

REFERENCES = ("tracked_sp", "held_sp")


class Start(NamedTuple):
    """Where training starts: the residual array, its reference, and pulses spent on finding it."""

    residual: ArrayState
    reference: PyTree
    calibration_pulses: Array


def residual_training(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    key: Key,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule,
    start: Callable[[Key, ArrayState], Start],
    eta: ScalarOrSchedule | None = None,
    chop_prob: ScalarOrSchedule | None = None,
    chopper: str = "scalar",
    w_ref: str = "held_sp",
    wbar_ref: str = "held_sp",
    transfer: ColumnTransfer | None = None,
    method: str = "aggregate",
) -> optax.GradientTransformationExtraArgs:
    """The algorithm of the module's docstring; optimizers in this folder are its named settings.

    Args:
      learning_rate: alpha, on the array that sees gradients.
      residual_spec: spec of P.
      weight_spec: spec of W.
      key: a JAX random key.
      transfer_rate: beta; with `transfer`, the rate of the buffer.
      gamma: weight of the residual in what the model sees.
      start: (key, residual array at zero) -> where training starts.
      eta: rate of the filter; None tracks nothing.
      chop_prob: p; None has no chopper.
      chopper: kind of chopper.
      w_ref: reference in W's update, "tracked_sp" or "held_sp".
      wbar_ref: reference in what the model sees.
      transfer: the schedule of real arrays; None updates whole matrices.
      method: as in `spt.analog_update`.

    Returns:
      An optax gradient transformation that must be the last link of a chain.
    """
    _check(locals())
    root = as_key(key)

    def init(params) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        residual = init_array(purpose_key(root, "residual"), residual_spec, zeros, method=method)
        begin = start(purpose_key(root, "calibration"), residual)
        state = ResidualState(
            count=jnp.zeros([], jnp.int32),
            key=root,
            residual=begin.residual,
            weight=init_array(purpose_key(root, "weight"), weight_spec, params, method=method),
            tracked_sp=None if eta is None else begin.reference,
            held_sp=begin.reference,
            chopper=None if chop_prob is None else init_sign(zeros, chopper),
            buffer=None if transfer is None else zeros,
            demodulated=zeros,
            gamma=value_at(gamma, jnp.zeros([], jnp.int32)),
            calibration_pulses=begin.calibration_pulses,
        )
        return state._replace(demodulated=residual_of(state, "held_sp"))

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        del extra_args
        step_key = jax.random.fold_in(state.key, state.count)
        hyper = (learning_rate, transfer_rate, gamma, eta, chop_prob)
        rates = Rates(*(None if x is None else value_at(x, state.count) for x in hyper))
        descent = jax.tree.map(lambda g: -rates.alpha * g, chopped(state, updates))
        residual = write(
            purpose_key(step_key, "residual"), state.residual, descent, method=method
        )  # (11a), (18a)
        state = state._replace(residual=residual)
        if transfer is None:
            state = transfer_matrix(step_key, state, rates, chopper, w_ref, method)
            state = state._replace(demodulated=chopped(state, residual_of(state, wbar_ref)))
        else:
            state = transfer_columns(step_key, state, rates, transfer, chopper, w_ref, method)
        state = state._replace(count=state.count + 1, gamma=rates.gamma)
        return difference(effective_weights(state), params), state

    return optax.GradientTransformationExtraArgs(init, update)


def transfer_matrix(
    key: Key, state: ResidualState, rates: Rates, chopper: str, w_ref: str, method: str
) -> ResidualState:
    """(11b)/(18b), (12), (17) and the synchronisation of Q~, for all cells at once."""
    d = chopped(state, residual_of(state, w_ref))
    increments = jax.tree.map(lambda x: rates.beta * x, d)
    weight = write(purpose_key(key, "weight"), state.weight, increments, method=method)
    state = state._replace(weight=weight)
    if rates.eta is not None:
        tracked = filtered(state.tracked_sp, read(state.residual), rates.eta)
        state = state._replace(tracked_sp=tracked)
    if rates.p is not None:
        flips = draw_flips(key, state.held_sp, state.count, rates.p, chopper)
        state = state._replace(
            chopper=jax.tree.map(flip, state.chopper, flips),
            held_sp=jax.tree.map(jnp.where, flips, state.tracked_sp, state.held_sp),
        )
    return state


def _check(options: dict) -> None:
    """Refuses wrong settings, naming the value and what would be right."""
    check_spec("residual_spec", options["residual_spec"])
    check_spec("weight_spec", options["weight_spec"])
    check_method(options["method"])
    check_chopper(options["chopper"])
    for name in ("learning_rate", "transfer_rate", "gamma"):
        check_rate("optimizer", name, options[name])
    for name in ("eta", "chop_prob"):
        if options[name] is not None:
            check_rate("optimizer", name, options[name], high=1.0)
    for name in ("w_ref", "wbar_ref"):
        if options[name] not in REFERENCES:
            raise ValueError(f"{name} must be one of {REFERENCES}, got {options[name]!r}.")
    if options["transfer"] is not None:
        kind = None if options["chop_prob"] is None else options["chopper"]
        check_columns(options["transfer"], kind, options["w_ref"], options["wbar_ref"])
