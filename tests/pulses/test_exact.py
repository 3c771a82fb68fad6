"""`exact` against the NumPy oracle: bit-close without noise, in law with noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from tests import oracle
from tests.support import QUIET, assert_same_law, same_bits

WIDE = QUIET | {"w_max": 0.9, "w_min": -0.7}
SOFT = oracle.SoftBoundsCells(s_up=0.03, s_down=0.018, b_max=0.9, b_min=-0.7)
LARGE = oracle.SoftBoundsCells(s_up=1.7, s_down=1.7, b_max=0.9, b_min=-0.7)

FAMILIES = {
    # name: (spec, the same cell for the oracle)
    "constant": (
        spt.ConstantStep(dw_min=0.03, up_down=0.4, **WIDE),
        oracle.ConstantCells(s_up=0.03, s_down=0.018, b_max=0.9, b_min=-0.7),
    ),
    "constant, up step shrunk": (
        spt.ConstantStep(dw_min=0.03, up_down=-0.4, **WIDE),
        oracle.ConstantCells(s_up=0.018, s_down=0.03, b_max=0.9, b_min=-0.7),
    ),
    "soft bounds": (spt.SoftBounds(dw_min=0.03, up_down=0.4, **WIDE), SOFT),
    "reference": (
        spt.SoftBoundsReference(dw_min=0.03, up_down=0.4, reference_mean=0.35, **WIDE),
        SOFT._replace(reference=0.35),
    ),
    "reference at the symmetric point": (
        spt.SoftBoundsReference(
            dw_min=0.03, up_down=0.4, reference_mean=-0.2, subtract_symmetry_point=True, **WIDE
        ),
        SOFT._replace(reference=SOFT.symmetric_state() - 0.2),
    ),
    "one-sided range": (
        spt.SoftBounds(dw_min=0.03, **(WIDE | {"w_min": 0.0})),
        oracle.SoftBoundsCells(s_up=0.03, s_down=0.03, b_max=0.9, b_min=0.0),
    ),
    "steps beyond the range": (spt.SoftBounds(dw_min=1.7, **WIDE), LARGE),
    "steps beyond the range, reference": (
        spt.SoftBoundsReference(dw_min=1.7, reference_mean=0.5, **WIDE),
        LARGE._replace(reference=0.5),
    ),
    "linear": (
        spt.LinearResponse(
            dw_min=0.03, alpha_up=1.3, alpha_down=0.6, tau_max=0.9, tau_min=0.5,
            asymmetry_mean=0.2, center_mean=-0.3,
        ),
        oracle.LinearCells(0.03, 1.3, 0.6, 0.9, 0.5, c=0.2, m=-0.3),
    ),
    "power": (
        spt.PowerResponse(dw_min=0.03, gamma_res=1.7, tau=0.8, center_mean=0.2),
        oracle.PowerCells(0.03, 1.7, 0.8, m=0.2),
    ),
    "power below one": (
        spt.PowerResponse(dw_min=0.1, gamma_res=0.5, tau=0.8),
        oracle.PowerCells(0.1, 0.5, 0.8),
    ),
    "exponential": (
        spt.ExponentialResponse(dw_min=0.03, gamma_res=1.4, tau=0.8, center_mean=0.2),
        oracle.ExponentialCells(0.03, 1.4, 0.8, m=0.2),
    ),
}  # fmt: skip


def exact(key, device, w, counts):
    return jax.jit(spt.apply_pulses)(key, device, jnp.asarray(w), jnp.asarray(counts))


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_free_pulses_equal_the_oracle(x64, name):
    """Every start within the bounds, every count, and mixtures of both directions; float64."""
    spec, cells = FAMILIES[name]
    rng = np.random.default_rng(0)
    device = spt.sample_device(jax.random.key(0), spec, (256,))
    low, high = (np.asarray(bound) for bound in spt.bounds(device))
    w = expected = np.clip(low + np.linspace(0, 1, 256) * (high - low), low, high)
    pulses = jax.jit(spt.apply_pulses)
    for _ in range(4):
        counts = rng.integers(-40, 41, 256)
        w = pulses(jax.random.key(1), device, jnp.asarray(w), jnp.asarray(counts))
        expected = oracle.apply(cells, expected, counts)
        # 1e-12 is some thousand roundings of float64; at most 160 pulses were applied.
        np.testing.assert_allclose(w, expected, rtol=0, atol=1e-12)
        assert np.ptp(expected) > 0.01


def test_noise_free_pulses_on_different_and_stuck_cells_equal_the_oracle(x64):
    """A sampled array; the oracle is given its raw steps and bounds as its responses show them."""
    reference = 0.35
    spec = spt.presets.reram_array_hfo2(
        dw_min_std=0.0, subtract_symmetry_point=False, reference_mean=reference,
        reference_std=0.0, corrupt_devices_prob=0.2,
    )  # fmt: skip
    device = spt.sample_device(jax.random.key(3), spec, (400,))
    low, high = (np.asarray(bound) for bound in spt.bounds(device))
    s_up, s_down = (
        spec.dw_min * np.asarray(q) for q in spt.response(device, -reference * jnp.ones(400))
    )
    stuck = low == high
    assert (
        40 < stuck.sum() < 120 and np.all((s_up == 0) == stuck) and np.any(s_up > high + reference)
    )
    cells = oracle.SoftBoundsCells(s_up, s_down, high + reference, low + reference, reference)
    rng = np.random.default_rng(1)
    w, counts = rng.uniform(low, high), rng.integers(-10, 11, 400)
    found = np.asarray(exact(jax.random.key(1), device, w, counts))
    np.testing.assert_allclose(found, oracle.apply(cells, w, counts), rtol=0, atol=1e-12)
    assert np.array_equal(found[stuck], w[stuck])


COUNT, CELLS = 13, 40_000
NOISY = {
    # name: (spec, the same cell for the oracle, start): away from the bounds, near one, beyond
    "constant": (
        spt.ConstantStep(dw_min=0.03, **(WIDE | {"dw_min_std": 0.5})),
        oracle.ConstantCells(0.03, 0.03, 0.9, -0.7, sigma=0.5),
        -0.1,
    ),
    "multiplicative": (
        spt.SoftBounds(dw_min=0.03, up_down=0.4, **(WIDE | {"dw_min_std": 0.5})),
        SOFT._replace(sigma=0.5),
        -0.1,
    ),
    "additive": (
        spt.SoftBounds(dw_min=0.03, up_down=0.4, mult_noise=False, **(WIDE | {"dw_min_std": 0.5})),
        SOFT._replace(sigma=0.5, mult=False),
        -0.1,
    ),
    "additive, at the bound, reference": (
        spt.SoftBoundsReference(
            dw_min=0.03, up_down=0.4, reference_mean=0.1, **(WIDE | {"dw_min_std": 0.5})
        ),
        SOFT._replace(sigma=0.5, mult=False, reference=0.1),
        0.79,
    ),
    "large steps": (
        spt.SoftBoundsReference(dw_min=1.7, **(WIDE | {"dw_min_std": 0.5})),
        LARGE._replace(sigma=0.5, mult=False),
        0.0,
    ),
    "linear": (
        spt.LinearResponse(dw_min=0.03, alpha_up=1.3, asymmetry_mean=0.2, dw_min_std=0.5),
        oracle.LinearCells(0.03, 1.3, 1.0, 1.0, 1.0, c=0.2, sigma=0.5),
        0.2,
    ),
    "power": (
        spt.PowerResponse(dw_min=0.03, gamma_res=1.7, dw_min_std=0.5),
        oracle.PowerCells(0.03, 1.7, 1.0, sigma=0.5),
        0.2,
    ),
    "exponential": (
        spt.ExponentialResponse(dw_min=0.03, gamma_res=1.4, dw_min_std=0.5),
        oracle.ExponentialCells(0.03, 1.4, 1.0, sigma=0.5),
        0.2,
    ),
}


@pytest.mark.parametrize("count", [COUNT, -COUNT])
@pytest.mark.parametrize("name", NOISY)
def test_noisy_pulses_have_the_oracles_law(key, name, count):
    """A population of equal cells: mean and std within 4.5 standard errors of the oracle's own."""
    spec, cells, start = NOISY[name]
    device = spt.sample_device(key, spec, (CELLS,))
    w, counts = np.full(CELLS, start, np.float32), np.full(CELLS, count)
    noise = np.random.default_rng(2).normal(size=(COUNT, CELLS))
    expected = oracle.apply(cells, w, counts, noise)
    found = np.asarray(exact(key, device, w, counts))
    assert_same_law(found, expected)
    # Neighbours are independent: their correlation has the standard error 1 / sqrt(n).
    assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < 4.5 / np.sqrt(CELLS)


@pytest.mark.parametrize("method", ["exact", "aggregate", "mean"])
@pytest.mark.parametrize("spec", [NOISY["additive"][0], NOISY["power"][0], spt.IdealStep()])
def test_no_pulse_changes_no_bit(key, method, spec):
    device = spt.sample_device(key, spec, (50,))
    w = jnp.linspace(-0.69, 0.71, 50)
    counts = jnp.where(jnp.arange(50) % 2, 5, 0)
    moved = jax.jit(spt.apply_pulses, static_argnames="method")(
        key, device, w, counts, method=method
    )
    assert same_bits(moved[::2], w[::2]) and np.all(moved[1::2] != w[1::2])


def test_cells_that_are_done_wait_for_the_others(key):
    """What a cell does doesn't depend on how many pulses the others get."""
    device = spt.sample_device(key, NOISY["additive"][0], (8,))
    w, few = jnp.zeros(8), jnp.array([0, 1, 2, 3, -1, -2, -3, 4])
    many = few.at[0].set(30)
    assert same_bits(exact(key, device, w, few)[1:], exact(key, device, w, many)[1:])


@pytest.mark.parametrize("dtype", ["int8", "int32", "uint8"])
def test_any_integer_counts(key, dtype):
    device = spt.sample_device(key, FAMILIES["linear"][0], (3,))
    w, counts = jnp.zeros(3), np.array([0, 2, 5])
    for method in ("exact", "aggregate"):
        found = spt.apply_pulses(key, device, w, jnp.asarray(counts, dtype), method=method)
        # Rounding of float32.
        expected = oracle.apply(FAMILIES["linear"][1], w, counts)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
