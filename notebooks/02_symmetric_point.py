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
# # What a symmetric point costs
#
# Zero-shifting finds a cell's symmetric point by alternating pulses. This notebook shows how the
# error falls with the number of pulses, why small pulses make calibration expensive, and where
# cycle noise puts a floor.

# %%
import ipywidgets
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import sptrack as spt

root = jax.random.key(0)
CELLS = 1000
START = -0.5  # weight at which all cells start

# %% [markdown]
# ## Error against pulses
#
# The cells of Fig. 1 of arXiv 2602.21321. Without cycle noise, N alternating pulses have a closed
# form (`method="aggregate"`), so a budget of a hundred thousand pulses costs no more time than one
# of ten. The dashed lines are the theory of linear cells: the error of a cell shrinks by
# exp(-a dw_min) with every pulse, until the last pulses' width is all that is left.


# %%
def rms_error(key, device, num_pulses, **options):
    """RMS error over cells after zero-shifting with num_pulses per cell."""
    truth = spt.symmetric_point(device)
    found = spt.zero_shift(key, device, jnp.full(truth.shape, START), num_pulses, **options)
    return jnp.sqrt(jnp.mean((found.estimate - truth) ** 2))


budgets = [int(n) for n in 2 * np.unique(np.geomspace(5, 50_000, 13).astype(int))]
styles = {5e-3: "#0072B2", 1e-3: "#D55E00", 2e-4: "#009E73"}

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for number, (dw_min, colour) in enumerate(styles.items()):
    sample_key, pulse_key = jax.random.split(jax.random.fold_in(root, number))
    spec = spt.presets.figure_1_soft_bounds(dw_min=dw_min)
    device = spt.sample_device(sample_key, spec, (CELLS,))
    errors = [
        rms_error(jax.random.fold_in(pulse_key, n), device, n, first="down", method="aggregate")
        for n in budgets
    ]
    ax.loglog(budgets, errors, color=colour, label=f"dw_min = {dw_min:g}")

    cells = spt.theory.linear_cells(device)
    decay = jnp.exp(-jnp.outer(jnp.array(budgets), cells.a * dw_min))
    errors = jnp.sqrt(jnp.mean((decay * (START - cells.point)[None]) ** 2, axis=1))
    ax.loglog(budgets, errors, "--", color=colour, linewidth=1)
ax.set(
    xlabel="pulses per cell",
    ylabel="RMS error of the symmetric point (weight)",
    ylim=(1e-5, 1),
    title="solid: simulation, dashed: exponential decay alone",
)
ax.legend(frameon=False)
ax.grid(alpha=0.25)
plt.show()

# %% [markdown]
# ## Pulses to a given accuracy: inverse in the size of a pulse
#
# `spt.theory.pulses_to_accuracy` inverts the decay. The accuracy enters by its logarithm only; the
# size of a pulse enters inversely. That is the O(1 / dw_min) of zero-shifting.

# %%
sizes = jnp.geomspace(1e-6, 1e-2, 9)


def pulses_to(accuracy, dw_min):
    """Mean number of pulses per cell until the expected error is `accuracy`."""
    spec = spt.presets.figure_1_soft_bounds(dw_min=dw_min)
    device = spt.sample_device(jax.random.key(1), spec, (CELLS,))  # the same cells, scaled
    return spt.theory.pulses_to_accuracy(device, jnp.full(CELLS, START), accuracy).mean()


figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for accuracy, line in ((0.1, "-"), (0.01, "--"), (0.001, "-.")):
    pulses = jax.vmap(pulses_to, in_axes=(None, 0))(accuracy, sizes)
    ax.loglog(sizes, pulses, line, label=f"error {accuracy:g}")
ax.set(xlabel="dw_min (weight)", ylabel="pulses per cell")
ax.legend(frameon=False)
ax.grid(alpha=0.25)
plt.show()

# %% [markdown]
# ## With cycle noise: what to average
#
# Real pulses are noisy. Then the last read fluctuates, whatever the number of pulses, and reads
# must be averaged. 64 arrays of `reram_array_om` cells (21 states, cycle noise 0.88 of a step), all
# in one vmapped call per line; the error bars are the spread over arrays.

# %%
noisy = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
lines = {
    "cyclic, last read": {},
    "cyclic, last two reads": {"average": "two_point"},
    "cyclic, second half": {"average": "tail"},
    "stochastic, second half": {"scheme": "stochastic", "average": "tail"},
}
few = [10, 100, 1000]
colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def one_array(key, num_pulses, options):
    sample, pulse = jax.random.split(key)
    return rms_error(pulse, spt.sample_device(sample, noisy, (64,)), num_pulses, **options)


figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for number, (name, options) in enumerate(lines.items()):
    keys = jax.random.split(jax.random.fold_in(root, 100 + number), (len(few), 64))
    errors = np.array(
        [
            jax.vmap(lambda k, n=n, options=options: one_array(k, n, options))(keys[i])
            for i, n in enumerate(few)
        ]
    )
    mean, std = errors.mean(1), errors.std(1)
    ax.errorbar(few, mean, std, marker="osDv"[number], color=colours[number], label=name)
ax.set(xscale="log", yscale="log", xlabel="pulses per cell", ylabel="RMS error (weight)")
ax.legend(frameon=False)
ax.grid(alpha=0.25)
plt.show()

# %% [markdown]
# ## Try it
#
# The figure above the sliders is drawn first, so there is something to see where widgets do not
# work. Move a slider and it is drawn again.


# %%
def explore(log_dw_min=-3.0, noise=0.3, log_pulses=3.5):
    """Zero-shifting of one array: the population's weights on their way."""
    spec = spt.presets.figure_1_soft_bounds(dw_min=10**log_dw_min, dw_min_std=noise)
    sample, pulse = jax.random.split(jax.random.key(2))
    device = spt.sample_device(sample, spec, (200,))
    every = max(1, int(10**log_pulses) // 100)
    found = spt.zero_shift(pulse, device, jnp.full(200, START), 100 * every, record_every=every)
    error = found.estimate - spt.symmetric_point(device)
    ax = spt.plot.symmetric_point_trace(
        found.trace, truth=spt.symmetric_point(device), pulses=every * np.arange(1, 101)
    )
    ax.set_title(f"RMS error {jnp.sqrt(jnp.mean(error**2)):.4f}")
    plt.show()


explore()

# %%
ipywidgets.interactive(
    explore,
    {"manual": True},
    log_dw_min=(-4.0, -2.0, 0.25),
    noise=(0.0, 1.0, 0.1),
    log_pulses=(2.0, 4.5, 0.25),
)
