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
# # A population of cells, and where its symmetric points are
#
# A resistive cell changes its weight by one small step per voltage pulse. Up and down steps differ,
# and how much they differ depends on the weight. Where they are equal is the cell's *symmetric
# point*: random pulses drag the weight there, whatever one wanted to store.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import sptrack as spt

sample_key, pulse_key, shift_key = jax.random.split(jax.random.key(0), 3)

# %% [markdown]
# ## One spec, a thousand cells
#
# A *spec* is a distribution over cells; a *device* is a sample of it. These are the cells of
# Fig. 1 of arXiv 2602.21321: 2000 states, symmetric points 0.25 ± 0.10.

# %%
spec = spt.presets.figure_1_soft_bounds()
device = spt.sample_device(sample_key, spec, (1000,))
truth = spt.symmetric_point(device)
print(f"symmetric points: {truth.mean():.3f} ± {truth.std():.3f}")

# %% [markdown]
# ## What a pulse does
#
# `response` gives the mean step of an up and of a down pulse, in units of `dw_min`. The curves are
# those of the first cell; they cross at its symmetric point.

# %%
w = jnp.linspace(-1, 1, 101)
one = jax.tree.map(lambda x: x[0] if x.ndim else x, device)
spt.plot.response_curves(w, *spt.response(one, w), symmetric_point=truth[0])
plt.show()

# %% [markdown]
# ## Zero-shifting
#
# Alternating pulses move every cell to its symmetric point, slowly: the error shrinks by
# exp(-a dw_min) per pulse, so calibration costs O(1 / dw_min) pulses per cell.

# %%
start = jnp.full(1000, -0.5)
result = spt.zero_shift(shift_key, device, start, 8000, first="down", record_every=100)
error = result.estimate - truth
print(f"after {result.pulses} pulses per cell: RMS error {jnp.sqrt(jnp.mean(error**2)):.4f}")
pulses = 100 * jnp.arange(1, len(result.trace) + 1)
spt.plot.symmetric_point_trace(result.trace, truth=truth, pulses=pulses)
plt.show()

# %% [markdown]
# ## Noise drags weights to the symmetric point
#
# Cells at different weights, each pulsed up or down at random: the mean of the population goes to
# the mean symmetric point although nobody asked for it.

# %%
weights = jnp.linspace(-0.8, 0.8, 1000)
before = jnp.sqrt(jnp.mean((weights - truth) ** 2))
signs_key, apply_key = jax.random.split(pulse_key)
for step in range(40):
    signs = jax.random.rademacher(jax.random.fold_in(signs_key, step), (1000,), dtype=jnp.int32)
    key = jax.random.fold_in(apply_key, step)
    weights = spt.apply_pulses(key, device, weights, 100 * signs, method="aggregate")
after = jnp.sqrt(jnp.mean((weights - truth) ** 2))
print(f"RMS distance from the symmetric points: {before:.3f} before, {after:.3f} after")
