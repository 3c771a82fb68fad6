"""Training with a residual array: the one loop behind all two-array algorithms.

P is the residual array, which sees gradients; W the main array, which integrates the residual;
R the reference that stands for P's symmetric point; c the chopper (1 where there is none).
One step, with the equations of arXiv 2602.21321:

    g   = grad f(W_bar_k)                                     by the caller, at params = W_bar_k
    P  <- AU(P, -alpha c g)                                   (11a), (18a)
    W, Q, c, Q~: the transfer                                 (11b)/(18b), (12), (17); `transfer.py`
    W_bar = W + gamma c (P - R)                               what the model sees next

The transfer takes the new P and the old Q. R is Q ("tracked_sp") or Q~ ("held_sp"); without
tracking Q~ is a static reference. The chopper and the synchronisation for step k + 1 are drawn at
the end of step k, because params must be the weights at which the next gradient is taken.

That is the whole-matrix update of the theory. With a `ColumnTransfer` single lines of P are read,
and with a `DigitalBuffer` W gets single pulses.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from sptrack._random import as_key, purpose_key
from sptrack._typing import Array, Key, PyTree, ScalarOrSchedule, check_rate
from sptrack.devices.sampling import is_off
from sptrack.optimizers.residual_state import Rates, ResidualState, chopped, residual_of
from sptrack.optimizers.settings import Settings
from sptrack.optimizers.starts import Start
from sptrack.optimizers.transfer import transfer
from sptrack.transforms.apply_device import check_spec, difference
from sptrack.transforms.arrays import ArrayState, init_array, relax_array, write
from sptrack.transforms.chop import init_chopper, init_sign, value_at
from sptrack.transforms.counting import init_rewrites


def residual_training(
    learning_rate: ScalarOrSchedule,
    *,
    residual_spec: Any,
    weight_spec: Any,
    key: Key,
    transfer_rate: ScalarOrSchedule,
    gamma: ScalarOrSchedule,
    start: Callable[[Key, ArrayState], Start],
    settings: Settings,
    eta: ScalarOrSchedule | None = None,
    chop_prob: ScalarOrSchedule | None = None,
    out_chop_prob: ScalarOrSchedule | None = None,
) -> optax.GradientTransformationExtraArgs:
    """The algorithm of the module's docstring; optimizers in this folder are its named settings.

    Args:
      learning_rate: alpha, on the array that sees gradients.
      residual_spec: spec of P.
      weight_spec: spec of W.
      key: a JAX random key.
      transfer_rate: beta; with a buffer, the rate at which it is filled.
      gamma: weight of the residual in what the model sees.
      start: (key, residual array at zero) -> where training starts.
      settings: the algorithm.
      eta: rate of the filter; None tracks nothing.
      chop_prob: p; None has no chopper.
      out_chop_prob: flip probability of an output chopper; None has none.

    Returns:
      An optax gradient transformation that must be the last link of a chain.
    """
    hyper = Rates(learning_rate, transfer_rate, gamma, eta, chop_prob, out_chop_prob)
    check_spec("residual_spec", residual_spec)
    check_spec("weight_spec", weight_spec)
    check_rates(hyper)
    settings.check(has_chopper=chop_prob is not None)
    root, how = as_key(key), {"method": settings.method, "count": settings.count}

    def init(params) -> Any:
        zeros = jax.tree.map(jnp.zeros_like, params)
        residual = init_array(purpose_key(root, "residual"), residual_spec, zeros, **how)
        begin = start(purpose_key(root, "calibration"), residual)
        signs, outer, clocks = init_choppers(root, zeros, hyper, settings)
        state = ResidualState(
            count=jnp.zeros([], jnp.int32),
            key=root,
            residual=begin.residual,
            weight=init_array(purpose_key(root, "weight"), weight_spec, params, **how),
            tracked_sp=None if eta is None else begin.reference,
            held_sp=begin.reference,
            chopper=signs,
            out_chopper=outer,
            buffer=None if settings.buffer is None else zeros,
            demodulated=None,
            gamma=value_at(gamma, jnp.zeros([], jnp.int32)),
            calibration_pulses=begin.calibration_pulses,
            programming=init_programming(zeros, eta, chop_prob, settings.count),
            flip_clocks=clocks,
        )
        hidden = not callable(gamma) and is_off(gamma)
        return state if hidden else state._replace(demodulated=residual_of(state, "held_sp"))

    def update(updates, state, params=None, **extra_args) -> tuple[Any, Any]:
        del extra_args
        step_key = jax.random.fold_in(state.key, state.count)
        rates = rates_at(hyper, state.count)
        moved = descended(step_key, state, updates, rates, settings)
        moved = transfer(step_key, moved, rates, settings)
        state = relaxed(step_key, moved, state)
        if state.demodulated is not None and not settings.is_stored:
            live = chopped(state, residual_of(state, settings.wbar_ref))
            state = state._replace(demodulated=live)
        state = state._replace(count=state.count + 1, gamma=rates.gamma)
        return difference(state.effective_weights(), params), state

    return optax.GradientTransformationExtraArgs(init, update)


def descended(
    key: Key, state: ResidualState, updates: PyTree, rates: Rates, settings: Settings
) -> ResidualState:
    """P after this step's gradient, (11a) and (18a)."""
    descent = jax.tree.map(lambda g: -rates.alpha * g, chopped(state, updates))
    how = {"method": settings.method, "train": settings.train}
    residual = write(purpose_key(key, "residual"), state.residual, descent, **how)
    return state._replace(residual=residual)


def relaxed(key: Key, state: ResidualState, before: ResidualState) -> ResidualState:
    """Both arrays at the next update, after what the time until then does to their cells."""
    arrays = {
        name: relax_array(purpose_key(key, name), getattr(state, name), getattr(before, name))
        for name in ("residual", "weight")
    }
    return state._replace(**arrays)


def init_choppers(
    key: Key, zeros: PyTree, hyper: Rates, settings: Settings
) -> tuple[PyTree | None, PyTree | None, PyTree | None]:
    """First signs of the chopper and of the output chopper, and the clocks of a relaxed one.

    Each is None where there is no such thing.
    """
    rows = settings.transfer is not None and settings.transfer.rows
    signs = clocks = None
    if hyper.p is not None:
        signs, clocks = init_chopper(
            key, zeros, hyper.p, settings.chopper, rows=rows, staggered=settings.transfer is None
        )
    outer = None if hyper.p_out is None else init_sign(zeros, "random", rows=not rows)
    return signs, outer, clocks


def init_programming(zeros: PyTree, eta: Any, chop_prob: Any, count: str) -> PyTree | None:
    """Counters of the synchronisations of Q~, where it is synchronised and that is counted."""
    if count != "detailed" or eta is None or chop_prob is None:
        return None
    return jax.tree.map(init_rewrites, zeros)


def check_rates(hyper: Rates) -> None:
    """Refuses numbers out of range; schedules pass."""
    names = ("learning_rate", "transfer_rate", "gamma", "eta", "chop_prob", "out_chop_prob")
    for name, value in zip(names, hyper, strict=True):
        if value is not None:
            high = jnp.inf if name in ("learning_rate", "transfer_rate", "gamma") else 1.0
            check_rate("optimizer", name, value, high=high)


def rates_at(hyper: Rates, count: Array) -> Rates:
    """Schedules evaluated at `count`, numbers as arrays; None stays."""
    return Rates(*(None if x is None else value_at(x, count) for x in hyper))
