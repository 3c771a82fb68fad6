# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training a population: a sweep with names on it
#
# How far off may symmetric points be before training fails? One run of training is a pure function
# of a key and of numbers; `spt.sweep` calls it at every point of named axes, in one compiled
# program, and returns an `xarray` dataset.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax
import xarray

import sptrack as spt

# %% [markdown]
# ## One run
#
# A linear layer learns a random target from noisy examples. Both arrays are made of cells with 200
# states, whose symmetric points are off by `offset` on average. What is returned is small: the
# error of the weights every 50 steps, and the error of the reference at the end.

# %%
STEPS, EVERY = 1500, 50


def make_run(make_optimizer):
    def run(key, offset):
        target_key, data_key, array_key = jax.random.split(key, 3)
        target = jax.random.uniform(target_key, (8, 8), minval=-0.3, maxval=0.3)
        cells = spt.SoftBoundsReference(
            dw_min=0.01, subtract_symmetry_point=True, reference_mean=offset, reference_std=0.1
        )
        tx = make_optimizer(residual_spec=cells, weight_spec=cells, key=array_key)

        def step(carry, t):
            params, state = carry
            x_key, noise_key = jax.random.split(jax.random.fold_in(data_key, t))
            x = jax.random.normal(x_key, (16, 8))
            y = x @ target + 0.1 * jax.random.normal(noise_key, (16, 8))
            grads = jax.grad(lambda w: jnp.mean((x @ w - y) ** 2) / 2)(params)
            updates, state = tx.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), None

        def block(carry, start):
            carry, _ = jax.lax.scan(step, carry, start + jnp.arange(EVERY))
            return carry, jnp.sqrt(jnp.mean((carry[0] - target) ** 2))

        params = jnp.zeros((8, 8))
        carry = (params, tx.init(params))
        (params, state), error = jax.lax.scan(block, carry, EVERY * jnp.arange(STEPS // EVERY))
        truth = spt.optimizers.residual_symmetric_points(state)
        reference = spt.read_arrays(state)["held_sp"]
        return {"weight_error": error, "sp_error": jnp.sqrt(jnp.mean((reference - truth) ** 2))}

    return run


# %% [markdown]
# ## Three algorithms on the same cells
#
# Residual learning that takes zero for the symmetric point, the same with the true points, and
# E-RIDER, which tracks them. `paired` makes all offsets share keys, so that points along that axis
# differ in nothing but the offset. `chunk` bounds memory and changes no result.

# %%
common = {"transfer_rate": 0.02, "gamma": 0.1}
algorithms = {
    "zero reference": lambda **arrays: spt.residual_learning(
        1.0, reference="zero", **common, **arrays
    ),
    "true reference": lambda **arrays: spt.residual_learning(
        1.0, reference="true", **common, **arrays
    ),
    "E-RIDER": lambda **arrays: spt.erider(1.0, eta=0.02, chop_prob=0.02, **common, **arrays),
}
axes = {"seed": 8, "offset": [0.0, 0.1, 0.2, 0.3, 0.4]}
parts = [
    spt.sweep(
        make_run(make_optimizer),
        axes,
        jax.random.key(0),
        paired=("offset",),
        dims={"weight_error": "step"},
        units={"offset": "weight", "weight_error": "weight", "sp_error": "weight"},
        coords={"step": EVERY * (1 + jnp.arange(STEPS // EVERY))},
    )
    for make_optimizer in algorithms.values()
]
dataset = xarray.concat(parts, xarray.Variable("algorithm", list(algorithms)))
dataset

# %% [markdown]
# ## Results have names
#
# Choose by name, reduce by name. With `store="runs/study.zarr"` the same sweep is written block by
# block and continues where it was interrupted.

# %%
dataset.sp_error.mean("seed").to_pandas().round(3)

# %%
ax = spt.plot.learning_curves(dataset.sel(offset=0.4), "weight_error", x="step")
ax.set(ylabel="RMS error of the weights (weight)", ylim=(0, None), title="offset 0.4")
plt.show()

# %%
final = dataset.isel(step=-1)
ax = spt.plot.learning_curves(final, "weight_error", x="offset")
ax.set(
    xlabel="mean offset of the symmetric points (weight)",
    ylabel="RMS error of the weights (weight)",
    ylim=(0, None),
)
plt.show()
