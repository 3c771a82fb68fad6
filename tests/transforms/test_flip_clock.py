"""Relaxed choppers: flips at real times against an own integral, and derivatives in p."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import sptrack as spt
from sptrack.transforms.flip_clock import FlipClock, tick
from tests.support import K_SIGMA

KINDS = ("scalar", "random", "periodic")
ALGORITHMS = {  # buffered ones have to write something in forty steps
    "erider": (spt.erider, {"transfer_rate": 0.1, "gamma": 0.2, "eta": 0.1}),
    "agad": (spt.agad, {"transfer_rate": 3.0, "eta": 0.1}),
    "chopped_ttv2": (spt.chopped_ttv2, {"transfer_rate": 3.0, "gamma": 0.2}),
    "multi_tile": (
        spt.multi_tile,
        {"transfer_rate": 0.1, "gamma": 0.4, "eta": 0.1, "num_tiles": 3},
    ),
}
PARAMS = {"kernel": jnp.zeros((5, 3))}


def trained(p, chopper, algorithm="erider", steps=40, **options):
    """Losses of a bowl, step by step, with mean pulses."""
    make, fixed = ALGORITHMS[algorithm]
    cells = spt.LinearResponse(center_mean=0.3, center_std=0.2)
    tx = make(
        0.1, residual_spec=cells, weight_spec=cells, chop_prob=p, chopper=chopper,
        key=jax.random.key(1), method="mean", count="none", **fixed, **options,
    )  # fmt: skip
    params = jax.tree.map(lambda x: x.astype(float), PARAMS)

    def step(carry, _):
        params, state = carry
        off = jax.tree.map(lambda x: x - 0.3, params)
        updates, state = tx.update(off, state, params)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), sum(jnp.sum(x**2) for x in jax.tree.leaves(off))

    return jax.lax.scan(step, (params, tx.init(params)), length=steps)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_signs_and_shares_are_those_of_real_flip_times(kind, key, x64):
    """c_k is the sign's integral over its step, the shares are tents around ends of steps."""
    p, steps = 0.23, 60
    tx = spt.chop(p, key=key, chopper=f"relaxed_{kind}")
    state = tx.init(jnp.zeros((3, 2), float))
    clock, keys = state.clocks, [jax.random.fold_in(state.key, k) for k in range(steps)]
    start, signs, shares, times = np.asarray(clock.until), [], [], [np.asarray(clock.until)]
    for k in range(steps):
        signs.append(np.asarray(clock.mean_sign()))
        after, share = tick(keys[k], clock, p, kind)
        flipped = np.asarray(after.sign != clock.sign)
        times.append(np.where(flipped, k + 1 + np.asarray(after.until), np.nan))
        clock = after
        shares.append(np.asarray(share))
    times = np.array(times).reshape(steps + 1, -1)  # of flips, NaN where none was drawn
    for column in range(times.shape[1]):
        own = times[:, column][np.isfinite(times[:, column])]
        assert np.all(np.diff(own) >= 1)
        ends = np.arange(steps + 1)
        before = np.array([np.sum(own < end) for end in ends])
        # integral of the sign from 0 to each end of a step
        edges = np.concatenate([[0.0], own])
        integral = []
        for end in ends:
            marks = np.concatenate([edges[edges < end], [end]]) if end else np.zeros(1)
            integral.append(np.sum(np.diff(marks) * (-1.0) ** np.arange(len(marks) - 1)))
        got = np.array([np.ravel(s)[column] for s in signs])
        np.testing.assert_allclose(got, np.diff(integral), atol=1e-12)
        tents = np.maximum(1 - np.abs(own - ends[1:, None]), 0).sum(1)
        if own[0] < 1:  # a flip in the first step: what came before the start is gone
            assert tents[0] > 0
        np.testing.assert_allclose([np.ravel(s)[column] for s in shares], tents, atol=1e-12)
        assert before[-1] > 3
    assert np.all(start >= 0)


@pytest.mark.parametrize(
    ("algorithm", "transfer"),
    [("erider", None), *((name, spt.ColumnTransfer(reads_per_transfer=2)) for name in ALGORITHMS)],
)
def test_at_whole_times_it_is_the_chopper_that_flips_between_steps(algorithm, transfer):
    """1/p = 3: the same losses in every step."""
    hard, relaxed = (
        jax.jit(lambda name=name: trained(1 / 3, name, algorithm, transfer=transfer))()
        for name in ("periodic", "relaxed_periodic")
    )
    np.testing.assert_allclose(relaxed, hard, rtol=1e-5)
    assert np.max(np.abs(hard / hard[0] - 1)) > 0.01  # it does train


@pytest.mark.parametrize("kind", ["scalar", "random"])
def test_gaps_have_the_mean_of_geometric_ones(key, kind):
    p, cells = 0.2, 20_000
    clock = FlipClock(jnp.ones((cells, 1)), jnp.zeros((cells, 1)))  # all flip now
    gaps = np.asarray(tick(key, clock, p, "random")[0].until) + 1
    assert abs(gaps.mean() - 1 / p) < K_SIGMA * gaps.std() / math.sqrt(cells)
    assert gaps.std() == pytest.approx((1 - p) / p, rel=0.05)
    assert gaps.min() >= 1
    matrices = {"one": jnp.zeros((5, 3)), "other": jnp.zeros((4, 2))}
    clocks = spt.chop(p, key=key, chopper=f"relaxed_{kind}").init(matrices).clocks
    until = np.concatenate([np.ravel(clock.until) for clock in clocks.values()])
    assert len(np.unique(until)) == (1 if kind == "scalar" else 9)  # all weights alike, or columns


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_in_p_are_those_of_the_same_draws(kind, x64):
    """Through a training in which many flips fall inside of steps; one of them forward too."""
    loss = jax.jit(lambda p: trained(p, f"relaxed_{kind}").mean())
    modes = ("fwd", "rev") if kind == "random" else ("rev",)
    check_grads(loss, (0.137,), order=1, modes=modes, eps=1e-6, rtol=1e-5)
    assert abs(jax.grad(loss)(0.137)) > 0.01


def test_derivatives_by_columns(x64):
    schedule = spt.ColumnTransfer(reads_per_transfer=2, warm_up=False)
    loss = jax.jit(lambda p: trained(p, "relaxed_periodic", transfer=schedule).mean())
    check_grads(loss, (0.281,), order=1, modes=("rev",), eps=1e-6, rtol=1e-5)
    assert abs(jax.grad(loss)(0.281)) > 1e-4


@pytest.mark.parametrize("kind", ["scalar", "periodic"])
def test_never_and_always(key, kind):
    """p = 0 never flips and has the derivative 0; p = 1 flips as without relaxation."""
    relaxed = jax.jit(jax.value_and_grad(lambda p: trained(p, f"relaxed_{kind}").mean()))
    between = jax.jit(lambda p: trained(p, kind).mean())
    for p in (0.0, 1.0):
        value, slope = relaxed(p)
        assert float(value) == pytest.approx(float(between(p)), rel=1e-5)
        assert np.isfinite(slope)
    assert relaxed(0.0)[1] == 0


def test_less_signal_passes_where_a_flip_falls_into_a_step(key):
    """What goes in and comes out again is multiplied by c twice."""
    tx = spt.chop(0.4, optax.identity(), key=key, chopper="relaxed_scalar")
    state, through = tx.init(jnp.zeros(())), []
    for _ in range(20):
        sign = state.sign
        out, state = tx.update(jnp.ones(()), state)
        assert out == sign**2
        through.append(float(out))
    assert max(through) == 1
    assert min(through) < 0.5


@pytest.mark.parametrize("chopper", ["relaxed", "relaxed_", "relaxed scalar", "soft"])
def test_unknown_choppers_are_refused(key, chopper):
    with pytest.raises(ValueError, match=r"relaxed_periodic.*got"):
        spt.chop(0.1, key=key, chopper=chopper)


def test_what_does_not_go_together_is_refused(key):
    cells = spt.IdealStep()
    make = {"residual_spec": cells, "weight_spec": cells, "transfer_rate": 0.1, "key": key}
    with pytest.raises(ValueError, match=r"relaxed_scalar.*flips all lines"):
        spt.erider(0.1, chopper="relaxed_scalar", transfer=spt.ColumnTransfer(), **make)
    with pytest.raises(ValueError, match=r"in parts.*count='total'"):
        spt.erider(0.1, chopper="relaxed_scalar", count="detailed", **make)
