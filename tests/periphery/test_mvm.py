"""A read against its rules in plain NumPy, element by element; its noise; its switches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack._random import normal, uniform
from sptrack.periphery import ReadPath, analog_mvm, read_columns
from tests.support import assert_mean, assert_std, same_bits

jitted = jax.jit(analog_mvm)


def read(key, w, x, path):
    """A jitted read; the same key may be given again, to see the same noise."""
    return jitted(None if key is None else jax.random.clone(key), w, x, path)


INPUTS, OUTPUTS, SAMPLES = 7, 5, 6
CONVERTERS = {"inp_bound": 1.0, "inp_res": 1 / 14, "out_bound": 1.2, "out_res": 1 / 30}
NOISES = {"inp_noise": 0.05, "w_noise": 0.1, "out_noise": 0.06}
PATHS = {
    "DAC": {"inp_bound": 0.8, "inp_res": 1 / 14},
    "ADC": {"out_bound": 0.5, "out_res": 1 / 30},
    "scale": {"out_scale": 2.5},
    "abs max": {**CONVERTERS, "noise_management": "abs_max"},
    "abs max with a cap": {**CONVERTERS, "noise_management": "abs_max", "nm_scale": 0.7},
    "constant": {**CONVERTERS, "noise_management": "constant", "nm_scale": 0.9},
    "average": {**CONVERTERS, "noise_management": "average"},
    "noise": {**CONVERTERS, **NOISES, "noise_management": "abs_max"},
    "PCM noise": {**NOISES, "w_noise_kind": "pcm_read"},
    "stochastic rounding": {**CONVERTERS, "inp_sto_round": True, "out_sto_round": True},
    "bounds": {**CONVERTERS, "out_bound": 0.3, "bound_management": "iterative"},
    "both managements": {
        **CONVERTERS,
        **NOISES,
        "out_bound": 0.3,
        "noise_management": "abs_max",
        "bound_management": "iterative",
    },
    "bounds without a DAC": {
        "out_bound": 0.02,
        "out_noise": 0.001,
        "bound_management": "iterative",
        "max_bm_factor": 5.0,
    },
}


def read_once(path, w, x, alpha, r, noise):
    """One sample, one output after the other: (outputs, whether one was clipped)."""

    def convert(v, bound, res, draw):
        if res is not None:
            step = 2 * bound * res
            v = step * (round(v / step) if draw is None else np.floor(v / step + draw))
        clipped = bound is not None and abs(v) > bound
        return (np.sign(v) * bound if clipped else v), clipped

    seen = np.empty(len(x))
    for j, value in enumerate(x):
        draw = noise["input rounding"][j] if path.inp_sto_round else None
        seen[j] = convert(value / (alpha * r), path.inp_bound, path.inp_res, draw)[0]
        seen[j] += (path.inp_noise or 0) * noise["input noise"][j]
    outputs, any_clipped = np.empty(w.shape[1]), False
    for i in range(w.shape[1]):
        if path.w_noise_kind == "constant":
            square = sum(seen**2)
        else:
            square = sum(abs(w[j, i]) * seen[j] ** 2 for j in range(len(x)))
        y = sum(w[j, i] * seen[j] for j in range(len(x)))
        y += (path.w_noise or 0) * np.sqrt(square) * noise["weight noise"][i]
        y += (path.out_noise or 0) * noise["output noise"][i]
        draw = noise["output rounding"][i] if path.out_sto_round else None
        outputs[i], clipped = convert(y, path.out_bound, path.out_res, draw)
        any_clipped |= clipped
    return path.out_scale * alpha * r * outputs, any_clipped


def oracle(path, w, x, noise_of):
    """All samples, and the r of each; `noise_of(k)` are the numbers of the k-th try."""
    largest = np.abs(x).max(axis=1)
    alphas = {
        "none": np.ones(len(x)),
        "abs_max": largest if path.nm_scale is None else np.minimum(largest, path.nm_scale),
        "constant": np.full(len(x), path.nm_scale),
        "average": np.full(len(x), largest.mean()),
    }[path.noise_management]
    outputs, rs = np.zeros((len(x), w.shape[1])), np.ones(len(x))
    for sample, alpha in enumerate(alphas):
        for k in range(99 if alpha > 0 else 0):
            noise = {name: values[sample] for name, values in noise_of(k).items()}
            rs[sample] = r = 2**k
            outputs[sample], clipped = read_once(path, w, x[sample], alpha, r, noise)
            step = 0 if path.inp_res is None else 2 * path.inp_bound * path.inp_res
            coarse = r > path.max_bm_factor or r * step > path.max_bm_res
            if path.bound_management == "none" or not clipped or coarse:
                break
    return outputs, rs


@functools.partial(jax.jit, static_argnums=1)
def numbers_of(key, samples):
    """The random numbers of the first tries of a read with `key`, if it draws any."""
    x, y = jnp.empty((samples, INPUTS)), jnp.empty((samples, OUTPUTS))
    names = {"input noise": (normal, x), "input rounding": (uniform, x)}
    names |= {"weight noise": (normal, y), "output noise": (normal, y)}
    names |= {"output rounding": (uniform, y)}

    def of(k):
        one = jax.random.fold_in(key, k)
        return {name: draw(one, name, like) for name, (draw, like) in names.items()}

    return jax.vmap(of)(jnp.arange(8))


def noise_by(key, samples=SAMPLES):
    numbers = jax.tree.map(np.asarray, numbers_of(key, samples))
    return lambda k: {name: values[k] for name, values in numbers.items()}


def problem(seed=0, samples=SAMPLES):
    """Weights of order 0.3 and inputs of order one; one sample is all zero, one is large."""
    rng = np.random.default_rng(seed)
    w, x = rng.uniform(-0.5, 0.5, (INPUTS, OUTPUTS)), rng.normal(size=(samples, INPUTS)) / 2
    x[1] = 0
    x[2] *= 4
    return w, x


@pytest.mark.parametrize("name", PATHS)
def test_every_element_is_what_the_rules_say(name, key, x64):
    path, (w, x) = ReadPath(**PATHS[name]), problem()
    expected, rs = oracle(path, w, x, noise_by(key))
    found = read(key, w, x, path)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    if path.noise_management == "abs_max":
        assert np.all(found[1] == 0)  # nothing comes in, so nothing is read, not even noise
    if path.bound_management == "iterative":
        assert len(set(rs)) > 1, rs  # samples settle one by one
        assert np.all(rs <= 2 * path.max_bm_factor)


def test_bound_management_ends_with_the_first_read_beyond_its_limit(x64):
    """A DAC of step 1/7 becomes coarser than 1/4 at r = 2; a factor of 3 is passed at r = 4."""
    path = ReadPath(**PATHS["bounds"])
    w, x = np.full((INPUTS, OUTPUTS), 100.0), np.ones((1, INPUTS))
    expected, rs = oracle(path, w, x, noise_by(spt.random.fast_key(0), 1))
    assert rs == [2]
    np.testing.assert_allclose(expected, 2 * 0.3)
    np.testing.assert_allclose(read(None, w, x, path), expected, rtol=1e-12)
    by_factor = ReadPath(out_bound=0.3, bound_management="iterative", max_bm_factor=3.0)
    np.testing.assert_allclose(read(None, w, x, by_factor), 4 * 0.3, rtol=1e-12)


def test_everything_off_is_the_matrix_product():
    w, x = (jnp.asarray(a, jnp.float32) for a in problem())
    assert same_bits(analog_mvm(None, w, x, ReadPath()), x @ w)
    assert same_bits(analog_mvm(None, w, x, None), x @ w)
    assert same_bits(read_columns(None, w, None), w)
    managed = ReadPath(noise_management="abs_max", out_bound=100.0, bound_management="iterative")
    np.testing.assert_allclose(analog_mvm(None, w, x, managed), x @ w, rtol=1e-6, atol=1e-6)


def test_zero_is_off_and_draws_nothing():
    off = dict.fromkeys(("inp_res", "inp_noise", "w_noise", "out_res", "out_noise"), 0.0)
    path = ReadPath(**off)
    assert path == ReadPath() and not spt.periphery.draws(path)
    w, x = (jnp.asarray(a, jnp.float32) for a in problem())
    text = str(jax.make_jaxpr(lambda w, x, path: analog_mvm(None, w, x, path))(w, x, path))
    assert "random" not in text and "threefry" not in text


@pytest.mark.parametrize("name", NOISES)
def test_one_noise_does_not_change_another(name, key, x64):
    """What a noise adds is the same whether or not others are on."""
    w, x = problem()

    def added(**others):
        on = read(key, w, x, ReadPath(**{**others, name: NOISES[name]}))
        return on - read(key, w, x, ReadPath(**others))

    others = {other: std for other, std in NOISES.items() if other not in (name, "inp_noise")}
    if name == "inp_noise":
        others.pop("w_noise")  # which is proportional to the noisy inputs
    np.testing.assert_allclose(added(**others), added(), atol=1e-12)
    assert np.abs(added()[0]).min() > 0


@pytest.mark.parametrize("kind", ["constant", "pcm_read"])
def test_noise_statistics(kind, key):
    """Var y = out² + inp² Σ w² + w_noise² s² for one sample in α units."""
    w, x = problem()
    w, x = np.float32(w), np.repeat(np.float32(x[:1]), 40_000, 0)
    alpha, shown = np.abs(x[0]).max(), x[0] / np.abs(x[0]).max()
    base = {"noise_management": "abs_max", "out_noise": 0.06}
    path = ReadPath(**base, inp_noise=0.05)
    noise = np.asarray(read(key, w, x, path) - x @ w)[:, 0] / alpha
    assert_mean(noise, 0)
    assert_std(noise, np.sqrt(0.06**2 + 0.05**2 * np.sum(w[:, 0] ** 2)))
    path = ReadPath(**base, w_noise=0.1, w_noise_kind=kind)
    noise = np.asarray(read(jax.random.fold_in(key, 1), w, x, path) - x @ w)[:, 0] / alpha
    square = np.sum(shown**2) if kind == "constant" else np.sum(np.abs(w[:, 0]) * shown**2)
    assert_mean(noise, 0)
    assert_std(noise, np.sqrt(0.06**2 + 0.1**2 * square))


def test_stochastic_rounding_is_unbiased(key):
    w, x = np.float32(problem()[0]), np.repeat(np.float32(problem()[1][:1]), 40_000, 0)
    path = ReadPath(inp_bound=2.0, inp_res=1 / 10, inp_sto_round=True)
    assert_mean(np.asarray(analog_mvm(key, w, x, path) - x @ w)[:, 1], 0)
    nearest = ReadPath(inp_bound=2.0, inp_res=1 / 10)
    assert np.abs(analog_mvm(None, w, x[:1], nearest) - x[:1] @ w)[0, 1] > 0.01  # is biased


def test_samples_do_not_see_each_other(key, x64):
    """Each sample alone, by vmap, reads as in the batch (no noise: a batch draws as one)."""
    path, (w, x) = ReadPath(**PATHS["bounds"], noise_management="abs_max"), problem()
    together = read(None, w, x, path)
    alone = jax.jit(jax.vmap(lambda one: analog_mvm(None, w, one, path)))(x)
    np.testing.assert_allclose(alone, together, rtol=1e-12)


def test_instances_do_not_see_each_other(key):
    """A population over keys, weights and a swept noise, where each settles in its own time."""
    w, x = (jnp.asarray(a, jnp.float32) for a in problem())

    @jax.jit
    def single(index):
        path = ReadPath(**{**PATHS["both managements"], "out_noise": 0.01 * (1 + index)})
        return analog_mvm(jax.random.fold_in(key, index), w * (1 + index), x, path)

    together = jax.jit(jax.vmap(single))(jnp.arange(3))
    for index in range(3):
        # The product's sums are ordered otherwise; what that rounds to a neighbouring step is rare.
        steps = np.abs(together[index] - single(index)) > 1e-4
        assert steps.mean() < 0.1


def test_a_batch_may_have_any_shape(key):
    w, x = (jnp.asarray(a, jnp.float32) for a in problem())
    path = ReadPath(**PATHS["noise"])
    flat = read(key, w, x, path)
    assert same_bits(read(key, w, x.reshape(2, 3, INPUTS), path).reshape(flat.shape), flat)
    shape = functools.partial(jax.eval_shape, analog_mvm)
    assert shape(key, w, x[0], path).shape == (OUTPUTS,)
    assert shape(key, w, x[:0], path).shape == (0, OUTPUTS)
    half = (w.astype(jnp.bfloat16), x.astype(jnp.bfloat16))
    for name in ("noise", "both managements"):
        assert shape(key, *half, ReadPath(**PATHS[name])).dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", ["constant", "pcm_read"])
def test_columns_are_read_with_one_hot_inputs(kind, key, x64):
    w, _ = problem()
    path = ReadPath(**CONVERTERS, out_noise=0.06, w_noise=0.1, w_noise_kind=kind)
    lines = jnp.array([4, 0, 2])
    expected = read(key, w, jax.nn.one_hot(lines, INPUTS), path)
    np.testing.assert_allclose(jax.jit(read_columns)(key, w[lines], path), expected, rtol=1e-12)


def test_table_6():
    """A transfer read of the published experiments: the cell, 0.06 of noise, steps of 24/510."""
    paths = spt.periphery.table_6()
    for path in paths:
        shared = (path.inp_bound, path.inp_res, path.out_bound, path.out_res, path.out_noise)
        assert shared == (1, 1 / 126, 12, 1 / 510, 0.06)
        assert path.inp_noise is None and path.w_noise is None
        assert not path.inp_sto_round and not path.out_sto_round
    managements = [(path.noise_management, path.bound_management) for path in paths]
    assert managements == [("abs_max", "iterative")] * 2 + [("none", "none")]
    as_run = spt.periphery.table_6(backward_bound_management="none")
    assert as_run.backward.bound_management == "none" and as_run.forward == paths.forward
    shown = np.asarray(
        read_columns(spt.random.fast_key(0), jnp.full((200, 200), 0.3), paths.transfer)
    )
    steps = shown / (24 / 510)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-4)
    assert_mean(shown, 0.3)
    assert_std(shown, np.sqrt(0.06**2 + (24 / 510) ** 2 / 12))  # rounding of a smooth density


def test_average_abs_max_is_a_running_average(x64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, INPUTS))
    expected = None
    for one in np.abs(x).max(-1).ravel():
        expected = one if expected is None else 0.9 * expected + 0.1 * one
    found = spt.periphery.average_abs_max(
        x[1], spt.periphery.average_abs_max(x[0], decay=0.1), decay=0.1
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    with pytest.raises(ValueError, match=r"decay=1\.5.*\[0, 1\]"):
        spt.periphery.average_abs_max(x, decay=1.5)
