"""The second toy of `python -m experiments.theory`: pulses with stochastic rounding, real W array.

Both arrays are of the same kind, each with symmetric points of its own, N(0.4, 0.2); optimum
N(0, 0.3), dw_min = 1e-3, alpha = 0.05, beta = 0.02, gamma = 0.5, eta = 0.01, sigma = mu = 1. Means
over the last fifth of 40 000 steps. The reference is one run of 400 cells whose pulses all act at
the weight before the step; here they act one after the other, which matters by some percent.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sptrack as spt
from experiments import tables

REFERENCE = Path(__file__).parent / "reference" / "pulsed_toy.csv"
CELLS = spt.LinearResponse(asymmetry_mean=0.4, asymmetry_std=0.2, dw_min=1e-3)
QUANTITIES = ("MSE_W", "MSE_Wbar", "mean_PminusQ_sq", "P_minus_SP_sq", "Q_minus_SP_sq")
ALPHA = 0.05


def reference_runs() -> list[dict[str, str]]:
    """The table's lines: algorithm, p, and the quantities that it gives."""
    return tables.read_csv(REFERENCE)


def algorithm(name: str, chop_prob: Any, key: Any) -> Any:
    """The optimizer of a line of the table."""
    if name == "analog_SGD":
        return spt.analog_sgd(ALPHA, weight_spec=CELLS, key=key)
    common = {"residual_spec": CELLS, "weight_spec": CELLS, "transfer_rate": 0.02, "gamma": 0.5}
    if name.startswith("residual_learning"):
        reference = "true" if name.endswith("true_SP") else "zero"
        return spt.residual_learning(ALPHA, reference=reference, key=key, **common)
    if name == "RIDER":
        return spt.rider(ALPHA, eta=0.01, key=key, **common)
    references = {
        "E-RIDER_Qtilde": {},
        "E-RIDER_Q": {"w_ref": "tracked_sp", "wbar_ref": "tracked_sp"},
        "E-RIDER_WQtilde_WbarQ": {"wbar_ref": "tracked_sp"},
    }[name]
    return spt.erider(ALPHA, eta=0.01, chop_prob=chop_prob, key=key, **common, **references)


@functools.partial(jax.jit, static_argnames=("name", "steps", "cells"))
def pulsed(keys: Any, chop_prob: Any, *, name: str, steps: int, cells: int) -> Any:
    """The quantities of every key, shape (keys, 2 or 5); p is traced."""

    def one(key):
        device_key, optimum_key, noise_key = (jax.random.fold_in(key, n) for n in range(3))
        tx = algorithm(name, chop_prob, device_key)
        optimum = 0.3 * jax.random.normal(optimum_key, (cells,))

        def step(carry, k):
            params, state, total = carry
            noise = jax.random.normal(jax.random.fold_in(noise_key, k), (cells,))
            updates, state = tx.update(params - optimum + noise, state, params)
            params = optax.apply_updates(params, updates)
            late = (k >= 0.8 * steps) / (0.2 * steps)
            return (params, state, total + late * squares(params, state, optimum)), None

        start = jnp.zeros(cells)
        begin = tx.init(start)
        total = jnp.zeros_like(squares(start, begin, optimum))
        return jax.lax.scan(step, (start, begin, total), jnp.arange(steps))[0][2]

    return jax.vmap(one)(keys)


def squares(params: Any, state: Any, optimum: Any) -> Any:
    """The quantities of one state; only the first two without a residual array."""
    arrays = spt.read_arrays(state)
    gaps = [arrays["weight"] - optimum, params - optimum]
    if "residual" in arrays:
        point = spt.optimizers.residual_symmetric_points(state)
        reference = arrays.get("tracked_sp", arrays.get("held_sp"))
        residual = arrays["residual"]
        gaps += [residual - reference, residual - point, reference - point]
    return jnp.stack([jnp.mean(gap**2) for gap in gaps])


def pulsed_table(key: Any, seeds: int, cells: int, steps: int) -> list[dict[str, Any]]:
    """One line per line of the reference: mean and std over seeds, the reference in brackets."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.arange(seeds))
    table = []
    for known in reference_runs():
        chop_prob = float(known["p"] or 0)
        values = pulsed(keys, chop_prob, name=known["algorithm"], steps=steps, cells=cells)
        line = {"algorithm": known["algorithm"], "p": known["p"]}
        for quantity, runs in zip(QUANTITIES, np.asarray(values).T, strict=False):
            line[quantity] = f"{runs.mean():.4f} ± {runs.std(ddof=1):.4f}"
            if known[quantity]:
                line[quantity] += f" ({float(known[quantity]):.4f})"
        table.append({quantity: "" for quantity in QUANTITIES} | line)
    order = ("algorithm", "p", *QUANTITIES)
    return [{name: line[name] for name in order} for line in table]
