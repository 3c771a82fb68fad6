"""Mixed precision against the optimizer in front, its books, and a NumPy loop of its rules.

The loop is written from science/3 section 5.5 and shares no code with sptrack; from there it takes
the cells' centers, a random draw.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from sptrack.optimizers.mixed_precision import quantised
from tests.support import QUIET, assert_mean

RNG = np.random.default_rng(8)
STEPS = 40
START = {"w": RNG.uniform(-0.3, 0.3, (4, 3)), "b": RNG.uniform(-0.3, 0.3, 3)}
NOISE = {name: RNG.normal(size=(STEPS, *w.shape)) for name, w in START.items()}
TARGET = {name: RNG.uniform(-0.5, 0.5, w.shape) for name, w in START.items()}


def gradients(params, noise):
    return jax.tree.map(lambda w, t, n: w - t + n, params, TARGET, noise)


def follow(tx, grads=gradients):
    """Parameters and state after every step, on a noisy quadratic; the state at the start."""
    start = jax.tree.map(jnp.asarray, START)

    def step(carry, noise):
        params, state = carry
        updates, state = tx.update(grads(params, noise), state, params)
        carry = optax.apply_updates(params, updates), state
        return carry, carry

    @jax.jit
    def run(noise):
        begin = tx.init(start)
        return begin, jax.lax.scan(step, (start, begin), noise)[1]

    return run(jax.tree.map(jnp.asarray, NOISE))


FRONTS = {
    "gradient descent": (0.05, None),
    "schedule": (optax.piecewise_constant_schedule(0.05, {20: 0.1}), None),
    "momentum": (1.0, optax.sgd(0.03, momentum=0.9)),
    "adam": (1.0, optax.adam(0.02)),
    "decay": (0.5, optax.adamw(0.02, weight_decay=0.1)),  # needs params
}


@pytest.mark.parametrize("name", FRONTS)
def test_on_ideal_cells_it_is_the_optimizer_in_front(key, x64, name):
    """To rounding, whatever the mapping, and nothing is left in chi."""
    rate, front = FRONTS[name]
    mapping = {} if name == "gradient descent" else {"scale": 0.25, "reference": 0.4}
    tx = spt.mixed_precision(rate, optimizer=front, weight_spec=spt.IdealStep(), key=key, **mapping)
    _, (found, states) = follow(tx)
    digital = optax.sgd(rate) if front is None else optax.chain(front, optax.scale(rate))
    _, (expected, _) = follow(digital)
    for leaf in START:
        np.testing.assert_allclose(found[leaf], expected[leaf], rtol=0, atol=1e-13)
        assert np.abs(np.asarray(found[leaf][-1]) - START[leaf]).min() > 1e-3
        assert np.all(np.asarray(states.buffer[leaf]) == 0)


@pytest.mark.parametrize(
    "schedule", [{}, {"transfer": spt.ColumnTransfer(transfer_every=3)}], ids=["matrix", "columns"]
)
def test_what_is_not_on_the_array_is_in_chi(key, x64, schedule):
    """Without anything non-ideal but pulses: W_bar + chi = W_0 + sum of alpha u, at every step."""
    step = 0.02
    cells = spt.ConstantStep(dw_min=step, **{**QUIET, "w_max": 10.0, "w_min": -10.0})
    tx = spt.mixed_precision(0.05, weight_spec=cells, scale=0.5, key=key, **schedule)
    _, (_, states) = follow(tx, lambda params, noise: noise)
    for leaf, start in START.items():
        shown = 0.5 * np.asarray(states.weight.hidden[leaf])
        held = 0.5 * step * np.asarray(states.buffer[leaf])
        expected = start - 0.05 * NOISE[leaf].cumsum(axis=0)
        np.testing.assert_allclose(shown + held, expected, rtol=0, atol=1e-12)
        if not schedule:
            assert np.abs(held).max() < 0.5 * step
    assert np.asarray(states.weight.pulses["w"][-1]).sum() > 20


CELLS = spt.LinearResponse(
    dw_min=0.02, alpha_up=1.2, alpha_down=0.9, tau_max=0.8, tau_min=1.1, center_std=0.1
)


def pulsed(w, m, n):
    """One pulse after the other on one linear cell of `CELLS`."""
    for _ in range(abs(n)):
        if n > 0:
            w += 0.02 * 1.2 * (1 - (w - m) / 0.8)
        else:
            w -= 0.02 * 0.9 * (1 + (w - m) / 1.1)
        w = min(max(w, m - 1.1), m + 0.8)
    return w


def compound(start, m, name, lines_at, *, rate, scale, granularity, reference):
    """MixedPrecisionCompound for one matrix: chi in weight units, pulses where it is full.

    lines_at(k): which cells are looked at after step k, a boolean mask.
    """
    unit = scale * granularity * 0.02
    w = np.clip(reference + start / scale, m - 1.1, m + 0.8)
    chi, shown, out = np.zeros_like(start), start, []
    for k in range(STEPS):
        chi = chi - rate * (shown - TARGET[name] + NOISE[name][k])
        for cell in zip(*np.nonzero(lines_at(k)), strict=True):
            n = int(chi[cell] / unit)
            chi[cell] -= n * unit
            w[cell] = pulsed(w[cell], m[cell], n * granularity)
        shown = scale * (w - reference)
        out.append((shown, w.copy(), chi.copy()))
    return map(np.stack, zip(*out, strict=True))


ROWS = spt.ColumnTransfer(rows=True, transfer_every=2, reads_per_transfer=2)
SCHEDULES = {
    "matrix": {},
    "columns": {"transfer": spt.ColumnTransfer()},
    "rows": {"transfer": ROWS},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_its_rules_one_pulse_after_the_other(key, x64, name):
    """Linear cells with centers of their own, a scale per weight, two pulses at a time.

    Equal up to rounding of float64; one pulse more or less would be 0.01 in W.
    """
    scale, shift = {"w": 0.5, "b": 2.0}, {"w": np.full((4, 3), 0.1), "b": np.full(3, -0.1)}
    tx = spt.mixed_precision(
        0.06, weight_spec=CELLS, scale=scale, reference=shift, granularity=2.0, key=key,
        method="exact", **SCHEDULES[name],
    )  # fmt: skip
    begin, (found, states) = follow(tx)
    for leaf, start in START.items():
        m = np.asarray(spt.bounds(begin.weight.device[leaf])[0]) + 1.1
        columns = np.prod(start.shape[:-1], dtype=int)  # a vector is one column

        def lines_at(k, start=start, columns=columns):
            mask = np.zeros((columns, start.shape[-1]), bool)
            if name == "matrix":
                mask[:] = True
            elif name == "columns":
                mask[k % columns] = True
            elif k % 2 == 1:
                for read in (k // 2 * 2, k // 2 * 2 + 1):
                    mask[:, read % start.shape[-1]] = True
            return mask.reshape(start.shape)

        shown, w, chi = compound(
            start, m, leaf, lines_at, rate=0.06, scale=scale[leaf], granularity=2,
            reference=shift[leaf],
        )  # fmt: skip
        np.testing.assert_allclose(found[leaf], shown, rtol=0, atol=1e-12)
        np.testing.assert_allclose(states.weight.hidden[leaf], w, rtol=0, atol=1e-12)
        held = np.asarray(states.buffer[leaf]) * scale[leaf] * 2 * 0.02
        np.testing.assert_allclose(held, chi, rtol=0, atol=1e-12)
        assert np.all(np.asarray(states.weight.pulses[leaf])[-1] > 0)


def test_a_mapping_centred_at_symmetric_points_makes_zero_symmetric(key):
    """Zero weights sit on their symmetric points, where up and down pulses are equal."""
    cells = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.2, write_noise_std=0.0)
    tx = spt.mixed_precision(0.1, weight_spec=cells, reference="true", scale=0.3, key=key)
    params = {"w": jnp.zeros((20, 20))}
    state = jax.jit(tx.init)(params)
    effective = spt.eval_params(state, params)["w"]
    points = spt.optimizers.residual_symmetric_points(state)["w"]
    low, high = spt.bounds(state.weight.device["w"])
    inside = np.asarray((points > low) & (points < high))
    assert np.mean(inside) > 0.5
    np.testing.assert_allclose(np.asarray(effective)[inside], 0, atol=1e-7)
    up, down = spt.response(state.weight.device["w"], state.weight.hidden["w"])
    np.testing.assert_allclose(np.asarray(up)[inside], np.asarray(down)[inside], rtol=1e-4)


def test_factors_are_multiplied_out(key):
    """The same as their contraction, also with Adam in front."""
    factors = spt.Factors(
        jnp.asarray(RNG.normal(size=(5, 4))), jnp.asarray(RNG.normal(size=(5, 3)))
    )
    params = jnp.zeros((4, 3))
    tx = spt.mixed_precision(
        1.0, optimizer=optax.adam(0.1), weight_spec=CELLS, key=key, method="exact"
    )
    state, update = tx.init(params), jax.jit(tx.update)
    ends = [
        update(gradient, state, params)[1].weight.hidden
        for gradient in (factors, spt.pulses.contract(factors))
    ]
    np.testing.assert_allclose(*ends, rtol=0, atol=1e-6)
    assert np.abs(np.asarray(ends[0])).min() > 1e-3


@pytest.mark.parametrize("bins", [3, 10])
def test_bins_are_a_grid_with_the_right_mean(key, bins):
    """floor(bins / 2) levels on each side of zero up to max|v| of the sample, rounded at random.

    At the ends clipping keeps the mean: a value at the maximum is rounded to it or cut to it, and
    so its mean is too small by at most an eighth of a width.
    """
    vector = jnp.asarray([[0.07, -0.43, 1.0, 0.9], [0.0, 0.0, 0.0, 0.0]])
    drawn = jax.vmap(lambda k: quantised(k, vector, bins))(jax.random.split(key, 4000))
    width = 1.0 / (bins // 2)
    levels = np.asarray(drawn[:, 0]) / width
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)
    assert np.abs(levels).max() == bins // 2
    assert_mean(drawn[:, 0, 0], 0.07)
    assert_mean(drawn[:, 0, 1], -0.43)
    assert np.all(np.asarray(drawn[:, 1]) == 0)


def test_bins_are_used(key):
    """With 3 levels of x and d a product is -1, 0 or 1 times the two maxima."""
    factors = spt.Factors(jnp.asarray([[0.3, -0.8]]), jnp.asarray([[0.5, 0.1, -0.2]]))
    tx = spt.mixed_precision(1.0, weight_spec=spt.IdealStep(), x_bins=3, d_bins=3, key=key)
    params = jnp.zeros((2, 3))
    found = np.asarray(tx.update(factors, tx.init(params), params)[0]) / (0.8 * 0.5)
    np.testing.assert_allclose(found, np.round(found), atol=1e-6)
    assert np.abs(found).max() > 0.9


WRONG = [
    ({"optimizer": 0.1}, TypeError, r"optimizer must be an optax optimizer.*0\.1"),
    ({"granularity": 0.0}, ValueError, r"granularity=0\.0"),
    ({"scale": 0.0}, ValueError, r"scale=0\.0 is out of range"),
    ({"scale": {"w": -1.0}}, ValueError, r"scale=-1\.0"),
    ({"reference": "truth"}, ValueError, r"'zero', 'true'.*'truth'"),
    ({"x_bins": 1}, ValueError, r"x_bins=1 is out of range.*\[2, inf"),
    ({"d_bins": 0}, ValueError, r"d_bins=0 is out of range"),
    ({"transfer": True}, TypeError, r"spt\.ColumnTransfer or None.*True"),
]


@pytest.mark.parametrize(("wrong", "error", "message"), WRONG)
def test_wrong_arguments_are_refused(key, wrong, error, message):
    with pytest.raises(error, match=message):
        spt.mixed_precision(0.1, **{"weight_spec": CELLS, "key": key, **wrong})


def test_bins_need_factors(key):
    tx, params = spt.mixed_precision(0.1, weight_spec=CELLS, x_bins=8, key=key), jnp.zeros(2)
    with pytest.raises(ValueError, match=r"quantise the factors.*shape \(2,\).*give spt\.Factors"):
        tx.update(jnp.ones(2), tx.init(params), params)
