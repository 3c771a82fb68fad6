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
# # A device and an algorithm of your own
#
# Nothing in `sptrack` is closed: a device is any object with `dw_min` and `response`, an algorithm
# is a chain of optax links. Both parts below are ordinary Python, without registration.

# %%
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import sptrack as spt

# %% [markdown]
# ## A device
#
# A cell that saturates smoothly: steps shrink like 1 ∓ tanh(k (w − m)), so its symmetric point is
# m, a number per cell. The spec says how cells differ.


# %%
class Smooth(NamedTuple):
    dw_min: jax.Array
    steepness: jax.Array
    middle: jax.Array

    def response(self, w):
        slope = jnp.tanh(self.steepness * (w - self.middle))
        return 1 - slope, 1 + slope

    def bounds(self):
        return self.middle - 2, self.middle + 2


class SmoothSpec(NamedTuple):
    offset: float = 0.3

    def sample(self, key, shape, dtype):
        middle = self.offset + 0.1 * jax.random.normal(key, shape, dtype)
        return Smooth(jnp.asarray(0.01, dtype), jnp.full(shape, 1.5, dtype), middle)


device = spt.sample_device(jax.random.key(0), SmoothSpec(), (6,))
w = jnp.linspace(-1, 1.6, 101)
q_up, q_down = jax.vmap(lambda w: spt.response(device, jnp.full(6, w)))(w)
spt.plot.response_curves(w, q_up, q_down, symmetric_point=spt.symmetric_point(device))
plt.show()

# %% [markdown]
# It can be pulsed, calibrated and differentiated at once. No closed form was given for its
# symmetric point, which is found by bisection between the bounds.

# %%
found = spt.zero_shift(jax.random.key(1), device, jnp.zeros(6), 1000, average="two_point")
print("largest error of zero-shifting:", abs(found.estimate - device.middle).max())

# %% [markdown]
# ## An algorithm
#
# Gradients go into an auxiliary array, multiplied by a sign c that flips now and then. What is read
# from it is c times the signal plus the array's symmetric point. A link of our own subtracts the
# slow part, which is the symmetric point; c takes the rest back, and pulses put it on the weight.


# %%
def subtract_slow_part(eta):
    """A link: u -> u - Q, with Q the moving average of u."""
    slow = spt.low_pass(eta)

    def update(updates, state, params=None):
        tracked, state = slow.update(updates, state, params)
        return jax.tree.map(jnp.subtract, updates, tracked), state

    return optax.GradientTransformation(slow.init, update)


def chopped(cells, key, *, chop_prob):
    auxiliary, chopper, weight = jax.random.split(key, 3)
    residual = optax.chain(
        spt.apply_device(cells, key=auxiliary, emit="read"),
        subtract_slow_part(0.02),
    )
    return optax.chain(
        optax.scale(-1.0),
        spt.chop(chop_prob, residual, key=chopper),
        optax.scale(0.02),
        spt.apply_device(cells, key=weight),
    )


# %% [markdown]
# ## A plain training loop
#
# The task: find the target of a quadratic, with noisy gradients. `jax.vmap` over keys trains
# sixteen arrays at once.

# %%
STEPS = 3000


def train(make_optimizer, key):
    target_key, noise_key, array_key = jax.random.split(key, 3)
    target = jax.random.uniform(target_key, (8, 8), minval=-0.3, maxval=0.3)
    tx = make_optimizer(array_key)

    def step(carry, t):
        params, state = carry
        noise = 0.1 * jax.random.normal(jax.random.fold_in(noise_key, t), (8, 8))
        updates, state = tx.update(params - target + noise, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), jnp.sqrt(jnp.mean((params - target) ** 2))

    params = jnp.zeros((8, 8))
    return jax.lax.scan(step, (params, tx.init(params)), jnp.arange(STEPS))[1]


cells = SmoothSpec()
contenders = {
    "analog SGD": lambda key: spt.analog_sgd(0.1, weight_spec=cells, key=key),
    "ours, no chopper": lambda key: chopped(cells, key, chop_prob=0.0),
    "ours": lambda key: chopped(cells, key, chop_prob=0.02),
}


def population(make_optimizer):
    keys = jax.random.split(jax.random.key(2), 16)  # the same targets and noise for all
    return np.asarray(jax.jit(jax.vmap(lambda key: train(make_optimizer, key)))(keys))


errors = {name: population(make_optimizer) for name, make_optimizer in contenders.items()}

figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
styles = zip(("#0072B2", "#D55E00", "#009E73"), ("-", "--", "-."), strict=True)
for (name, runs), (colour, line) in zip(errors.items(), styles, strict=True):
    mean, std = runs.mean(0), runs.std(0)
    ax.plot(mean, line, color=colour, label=name)
    ax.fill_between(np.arange(STEPS), mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)
ax.set(xlabel="step", ylabel="RMS error of the weights (weight)", ylim=(0, None))
ax.legend(frameon=False)
ax.grid(alpha=0.25)
plt.show()
for name, runs in errors.items():
    print(f"{name:17} {runs[:, -1].mean():.3f}")
