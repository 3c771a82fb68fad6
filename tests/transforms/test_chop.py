"""The chopper link: signs, flips, and what chopping in and out again does."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from tests.support import K_SIGMA

PARAMS = {"w": jnp.zeros((5, 3)), "b": jnp.zeros(4), "conv": jnp.zeros((2, 2, 3, 4))}


def signs_of(tx, steps, params=PARAMS):
    """The sign of every column in every step, read off what comes out for an input of ones."""
    ones = jax.tree.map(jnp.ones_like, params)

    def step(state, _):
        out, state = tx.update(ones, state, params)
        return state, out

    run = jax.jit(lambda s: jax.lax.scan(step, s, length=steps)[1])
    out = run(tx.init(params))
    return jax.tree.map(lambda x: np.asarray(x).reshape(steps, -1, x.shape[-1]), out)


@pytest.mark.parametrize(
    ("share", "period"),
    [(1.0, 2), (0.5, 2), (0.4, 3), (0.25, 4), (0.1, 10), (1 / 61, 61), (0.01, 100), (1 / 121, 121)],
)
def test_periodic_flips(key, share, period):
    """Every max(ceil(1/p), 2) steps, column j one step ahead of column j - 1, first sign +1."""
    signs = signs_of(spt.chop(share, key=key, chopper="periodic"), 3 * period)
    for leaf, got in signs.items():
        columns = math.prod(PARAMS[leaf].shape[:-1])
        t = np.arange(3 * period)[:, None]
        expected = (-1.0) ** ((t + np.arange(columns) % period) // period)
        # a column that would have flipped before the first step has not
        expected *= expected[0]
        np.testing.assert_array_equal(got, np.broadcast_to(expected[..., None], got.shape), leaf)


@pytest.mark.parametrize("chopper", ["scalar", "random"])
def test_random_flips(key, chopper):
    """Share of flips, and its independence from step to step, within 4.5 standard errors."""
    p, steps = 0.3, 2000
    signs = signs_of(spt.chop(p, key=key, chopper=chopper), steps)
    flips = {leaf: np.diff(s[..., 0], axis=0) != 0 for leaf, s in signs.items()}
    for leaf, s in signs.items():
        assert np.all(s[0] == 1)
        assert np.all(s == s[..., :1])  # one sign for all outputs of a column
        flipped = flips[leaf]
        if chopper == "scalar":
            assert np.all(flipped == flips["b"])  # and for all columns of all leaves
            flipped = flipped[:, :1]
        n = flipped.size
        assert abs(flipped.mean() - p) < K_SIGMA * math.sqrt(p * (1 - p) / n), leaf
        z = (flipped - p) / math.sqrt(p * (1 - p))
        assert abs(np.mean(z[1:] * z[:-1])) < K_SIGMA / math.sqrt(z[1:].size), leaf
        if chopper == "random" and z.shape[1] > 1:
            assert abs(np.mean(z[:, 1:] * z[:, :-1])) < K_SIGMA / math.sqrt(z[:, 1:].size), leaf


@pytest.mark.parametrize("chopper", ["scalar", "random", "periodic"])
def test_never_flips_at_zero(key, chopper):
    for s in signs_of(spt.chop(0.0, key=key, chopper=chopper), 50).values():
        assert np.all(s == 1)


@pytest.mark.parametrize("chopper", ["scalar", "random", "periodic"])
def test_what_is_chopped_in_and_out_again_is_unchanged(key, chopper):
    """Signs are exact, so a linear inner part without memory gives the same bits."""
    tx = spt.chop(0.4, optax.scale(-0.1), key=key, chopper=chopper)
    state = tx.init(PARAMS)
    for k in range(5):
        u = jax.tree.map(lambda x, k=k: jax.random.normal(jax.random.key(k), x.shape), PARAMS)
        out, state = tx.update(u, state, PARAMS)
        jax.tree.map(lambda o, x: np.testing.assert_array_equal(o, x * jnp.float32(-0.1)), out, u)


def test_an_offset_behind_the_chopper_alternates(key):
    """c (c u + offset) = u + c offset."""
    offset = optax.stateless(lambda updates, params: jax.tree.map(lambda x: x + 8.0, updates))
    tx = spt.chop(1.0, offset, key=key)
    state, seen = tx.init(jnp.zeros(1)), []
    for _ in range(4):
        out, state = tx.update(jnp.ones(1), state)
        seen.append(float(out[0]))
    assert seen == [9.0, -7.0, 9.0, -7.0]


def test_chopping_a_residual_array_is_the_optimizers_part_of_it(key, x64):
    """chop(chain(scale, apply_device(emit="read"))) moves P as eq. (18a) does, 1e-13."""
    spec = spt.LinearResponse(center_mean=0.2)
    array = optax.chain(
        optax.scale(-0.3), spt.apply_device(spec, key=key, method="mean", emit="read")
    )
    tx = spt.chop(0.5, array, key=key, chopper="random")
    params = jnp.zeros((4, 2))
    state, p = tx.init(params), np.zeros((4, 2))
    rng = np.random.default_rng(0)
    for _ in range(20):
        c = np.asarray(state.sign)
        g = rng.normal(size=(4, 2))
        dw = -0.3 * c * g
        p = np.clip(p + dw * np.where(dw >= 0, 1 - (p - 0.2), 1 + (p - 0.2)), -0.8, 1.2)
        out, state = tx.update(jnp.asarray(g), state, params)
        np.testing.assert_allclose(out, c * p, rtol=0, atol=1e-13)
    assert set(np.unique(c)) == {-1.0, 1.0}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"chop_prob": -0.1}, ValueError, r"chop_prob=-0\.1.*\[0, 1\]"),
        ({"chop_prob": 1.5}, ValueError, r"chop_prob=1\.5.*\[0, 1\]"),
        ({"chop_prob": float("nan")}, ValueError, "chop_prob=nan"),
        ({"chopper": "sine"}, ValueError, "periodic.*'sine'"),
        ({"key": 3}, TypeError, r"jax\.random\.key"),
        ({"probability": 0.1}, TypeError, "unexpected keyword"),
    ],
)
def test_refuses(key, wrong, error, message):
    with pytest.raises(error, match=message):
        spt.chop(**{"chop_prob": 0.1, "key": key, **wrong})
