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
# # Gradients through devices
#
# Pulses are whole numbers, and rounding has no derivative. What has one: the mean of an update, the
# probability of what was drawn, noise that scales with a parameter, and the symmetric point, which
# is the root of an equation. This notebook takes a gradient of each kind, and says what it is
# worth. `docs/estimators.md` has the whole list.

# %%
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import sptrack as spt

root = jax.random.key(0)

# %% [markdown]
# ## Where is the symmetric point, and what moves it?
#
# Of soft-bounds cells it is known in closed form; of a device of your own it is found by bisection.
# Either way it is differentiable with respect to the device: by the implicit function theorem,
# dw⋄ = −dG / G'(w⋄), whatever way the root was found.

# %%
cells = spt.sample_device(jax.random.fold_in(root, 1), spt.presets.figure_1_soft_bounds(), (1000,))


def mean_point(scale):
    """Mean symmetric point of the array after all up pulses grew by a factor."""
    grown = dataclasses.replace(cells, up=cells.up * scale, up_slope=cells.up_slope * scale)
    return jnp.mean(spt.symmetric_point(grown))


print(f"d(mean symmetric point) / d(log of the up pulse) = {jax.grad(mean_point)(1.0):.3f}")

# %% [markdown]
# ## Three gradients through rounding
#
# One cell wants a change dw and gets a whole number of pulses. The loss (w − 0.3)⁴ curves over a
# pulse, so its mean is a broken line in dw: the exact gradient is a staircase. The straight-through
# gradient (sampled value, derivative of the mean) has little noise and is off by what the slope of
# the loss changes over half a pulse; the score function is right on the average, and noisier next
# to whole numbers of pulses, where one outcome is rare.

# %%
even = spt.LinearResponse(dw_min=0.1, tau_max=100.0, tau_min=100.0)  # steps hardly depend on w
one = spt.sample_device(jax.random.fold_in(root, 2), even, ())
SAMPLES = 4000


def loss(w):
    return (w - 0.3) ** 4


def straight(key, dw):
    w = spt.analog_update(key, one, jnp.array(0.0), dw, gradient="straight_through")
    return loss(w), jnp.array(0.0)


def scored(key, dw):
    draw_key, pulse_key = jax.random.split(key)
    draw = spt.pulses.draw_rounding(draw_key, dw, one.dw_min)
    return loss(spt.apply_pulses(pulse_key, one, jnp.array(0.0), draw.counts)), draw.log_prob


wanted = jnp.linspace(0.51, 0.99, 25)
levels = [0.0]
for _ in range(10):
    levels.append(levels[-1] + 0.1 * (1 - levels[-1] / 100))  # up pulses of this response
slopes = [(loss(levels[n + 1]) - loss(levels[n])) / 0.1 for n in range(10)]

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
fine = np.linspace(0.505, 0.995, 500)
ax.plot(fine, [slopes[int(dw * 10)] for dw in fine], "k-", label="exact")
for number, (name, fun, colour) in enumerate(
    [("straight-through", straight, "#0072B2"), ("score function", scored, "#D55E00")]
):
    estimate = jax.jit(spt.estimators.score_function_grad(fun, SAMPLES))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(
        jax.random.fold_in(root, 3 + number), jnp.arange(wanted.size)
    )
    found = jax.vmap(estimate)(keys, wanted)
    ax.errorbar(wanted, found.grad, 2 * found.std_error, fmt=".", color=colour, label=name)
ax.set_xlabel("wanted change dw (weight)")
ax.set_ylabel(f"dE[L]/ddw, {SAMPLES} samples, 2 standard errors")
ax.legend()
plt.show()

# %% [markdown]
# ## Through a whole training
#
# With `method="mean"` every update is its own mean, and a training is a smooth function of its
# rates. A hundred steps of E-RIDER on a quadratic loss, and the derivative of the final distance
# with respect to all rates at once; `spt.estimators.unroll` keeps memory small in long runs.

# %%
target = jnp.linspace(-0.3, 0.3, 64).reshape(8, 8)
spec = spt.LinearResponse(dw_min=0.002, center_mean=0.3, center_std=0.2)
STEPS = 200


def distance(logs, key, method):
    """RMS distance from the target at the end, by logarithms of the rates."""
    rates = jax.tree.map(jnp.exp, logs)
    tx = spt.erider(
        residual_spec=spec, weight_spec=spec, key=key, method=method, chop_prob=0.05,
        w_ref="tracked_sp", wbar_ref="tracked_sp", **rates,
    )  # fmt: skip
    params = jnp.zeros((8, 8))

    def step(carry, t):
        params, state = carry
        updates, state = tx.update(params - target, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = (params, tx.init(params))
    (params, _), _ = spt.estimators.unroll(step, start, STEPS, segment=20)
    return jnp.sqrt(jnp.mean((params - target) ** 2))


logs = {"learning_rate": 0.1, "transfer_rate": 0.03, "gamma": 0.2, "eta": 0.02}
logs = {name: jnp.log(value) for name, value in logs.items()}
keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, 7), jnp.arange(8))
gradients = jax.jit(jax.vmap(jax.grad(distance), (None, 0, None)), static_argnums=2)
by_mean = gradients(logs, keys, "mean")
for name, values in by_mean.items():
    error = values.std(ddof=1) / np.sqrt(values.size)
    print(f"d distance / d log {name}: {values.mean():+.4f} ± {error:.4f}")

# %% [markdown]
# Descent on that gradient, and what it is worth with sampled pulses, whose seeds it has not seen:

# %%
before, tx, rounds = logs, optax.adam(0.2), 15
state = tx.init(logs)
for _ in range(rounds):
    mean_gradient = jax.tree.map(jnp.mean, gradients(logs, jax.random.clone(keys), "mean"))
    updates, state = tx.update(mean_gradient, state)
    logs = optax.apply_updates(logs, updates)

fresh = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.fold_in(root, 8), jnp.arange(32))
sampled = jax.jit(jax.vmap(lambda logs, key: distance(logs, key, "aggregate"), (None, 0)))
figure, ax = plt.subplots(figsize=(5, 3.5), layout="constrained")
for at, (name, rates) in enumerate({"before": before, "after": logs}.items()):
    losses = sampled(rates, jax.random.clone(fresh))
    ax.plot(np.full(losses.size, at), losses, ".", color="#0072B2", alpha=0.5)
    print(f"{name}: {losses.mean():.4f} ± {losses.std(ddof=1) / np.sqrt(losses.size):.4f}")
ax.set_xticks([0, 1], ["before", "after"])
ax.set_xlim(-0.5, 1.5)
ax.set_ylabel("RMS distance with sampled pulses (weight)")
plt.show()

# %% [markdown]
# Where to go on: `python -m experiments.sensitivity` does this for a net on digits, beside
# evolution strategies and differences of pulsed trainings; `python -m experiments.gradient_tuning`
# tunes it and compares with random search; `python -m experiments.estimators` measures bias and
# spread of all estimators through pulse trains.
