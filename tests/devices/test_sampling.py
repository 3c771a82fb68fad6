"""Every statistic of a sampled population is what the spec says, and its switch's alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import sptrack as spt
from tests.support import NOISY_SPECS, QUIET, assert_mean, assert_std, same_bits

CELLS = 40_000


def sample(key, spec, cells=CELLS):
    return spt.sample_device(key, spec, (cells,))


def steps(device):
    """s_up, s_down over dw_min: the responses of a cell without reference at w = 0."""
    return [np.asarray(q) for q in spt.response(device, jnp.zeros_like(device.low))]


def gain(device):
    return sum(steps(device)) / 2


def imbalance(device):
    return (steps(device)[0] - steps(device)[1]) / 2


def low(device):
    return spt.bounds(device)[0]


def high(device):
    return spt.bounds(device)[1]


S = 0.7  # a log-normal gain exp(S xi) has mean exp(S^2/2), which is not 1
LOG_NORMAL_STD = np.exp(S**2 / 2) * np.sqrt(np.expm1(S**2))

STATISTICS = {
    # name: (spec class, switches, statistic, mean, std)
    "gain": (spt.SoftBounds, {"dw_min_dtod": 0.2}, gain, 1, 0.2),
    "gain, constant step": (spt.ConstantStep, {"dw_min_dtod": 0.2}, gain, 1, 0.2),
    "log-normal gain": (
        spt.SoftBounds,
        {"dw_min_dtod": S, "dw_min_dtod_log_normal": True},
        gain,
        np.exp(S**2 / 2),
        LOG_NORMAL_STD,
    ),
    "logarithm of the gain": (
        spt.SoftBounds,
        {"dw_min_dtod": S, "dw_min_dtod_log_normal": True},
        lambda device: np.log(gain(device)),
        0,
        S,
    ),
    "imbalance": (spt.SoftBounds, {"up_down_dtod": 0.1}, imbalance, 0, 0.1),
    "up step, up_down > 0": (
        spt.SoftBounds,
        {"up_down": 0.4, "up_down_dtod": 0.1},
        lambda device: steps(device)[0],
        1,
        0.1,
    ),
    "down step, up_down > 0": (
        spt.SoftBounds,
        {"up_down": 0.4, "up_down_dtod": 0.1},
        lambda device: steps(device)[1],
        0.6,
        0.1,
    ),
    "up step, up_down < 0": (
        spt.SoftBounds,
        {"up_down": -0.4, "up_down_dtod": 0.1},
        lambda device: steps(device)[0],
        0.6,
        0.1,
    ),
    "down step, up_down < 0": (
        spt.SoftBounds,
        {"up_down": -0.4, "up_down_dtod": 0.1},
        lambda device: steps(device)[1],
        1,
        0.1,
    ),
    "upper bound": (spt.SoftBounds, {"w_max": 0.8, "w_max_dtod": 0.2}, high, 0.8, 0.16),
    "lower bound": (spt.SoftBounds, {"w_min": -0.5, "w_min_dtod": 0.2}, low, -0.5, 0.1),
    "reference": (
        spt.SoftBoundsReference,
        {"w_max": 0.8, "reference_mean": 0.3, "reference_std": 0.4},
        high,
        0.5,
        0.4,
    ),
    "slope up": (
        spt.SoftBoundsReference,
        {"w_max": 0.8, "slope_up_dtod": 0.2},
        lambda device: 0.8 / high(device),  # the bound is recomputed: b = s / slope
        1,
        0.2,
    ),
    "slope down": (
        spt.SoftBoundsReference,
        {"w_min": -0.8, "slope_down_dtod": 0.2},
        lambda device: -0.8 / low(device),
        1,
        0.2,
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_cell_to_cell_statistics(key, name):
    cls, switches, statistic, mean, std = STATISTICS[name]
    values = statistic(sample(key, cls(**(QUIET | switches))))
    assert_mean(values, mean)
    assert_std(values, std)


@pytest.mark.parametrize("cls", [spt.LinearResponse, spt.PowerResponse, spt.ExponentialResponse])
def test_centers_of_the_theory_families(key, cls):
    device = sample(key, cls(center_mean=0.3, center_std=0.2))
    assert_mean(spt.symmetric_point(device), 0.3)
    assert_std(spt.symmetric_point(device), 0.2)
    # Rounding: the bounds are the center +- 1.
    np.testing.assert_allclose(sum(spt.bounds(device)) / 2, spt.symmetric_point(device), atol=3e-7)


def test_asymmetry_of_the_linear_family(key):
    device = sample(key, spt.LinearResponse(asymmetry_mean=0.1, asymmetry_std=0.2))
    q_up, q_down = spt.response(device, jnp.zeros(CELLS))
    assert_mean(q_up, 1.1)
    assert_std(q_up, 0.2)
    np.testing.assert_allclose(q_up + q_down, 2, atol=3e-7)  # rounding: 1 + c and 1 - c


def test_one_draw_with_opposite_signs_makes_the_imbalance(key):
    up, down = steps(sample(key, spt.SoftBounds(**(QUIET | {"up_down_dtod": 0.1, "up_down": 0.3}))))
    np.testing.assert_allclose(up + down, 1.7, atol=5e-7)  # rounding; two draws differ by 0.14


def test_draws_are_independent_of_each_other(key):
    spec = spt.SoftBoundsReference(
        dw_min_dtod=0.1,
        up_down_dtod=0.1,
        w_max_dtod=0.1,
        w_min_dtod=0.1,
        slope_up_dtod=0.1,
        slope_down_dtod=0.1,
        reference_std=0.1,
    )
    names = [field.name for field in dataclasses.fields(spec)]
    fields = [name for name in names if name.endswith("dtod") and getattr(spec, name)]
    fields.append("reference_std")
    draws = []
    for field in fields:  # with one switch on, the bounds and steps are this draw alone
        others = {name: 0.0 for name in fields if name != field}
        device = sample(key, dataclasses.replace(spec, **others))
        shown = np.stack([device.up, device.down, device.low, device.high])
        draws.append(shown[np.argmax(shown.std(axis=1) > 1e-3)])
    correlation = np.corrcoef(draws) - np.eye(len(draws))
    # A correlation of independent samples has the standard error 1/sqrt(n).
    assert np.abs(correlation).max() < 4.5 / np.sqrt(CELLS)


STEPS = {"up", "down", "up_slope", "down_slope", "noise_up", "noise_down"}
SWITCHES = {
    # switch: the arrays that may change when it goes off
    "dw_min_dtod": STEPS,
    "up_down_dtod": STEPS,
    "w_max_dtod": {"high", "up", "up_slope"},
    "w_min_dtod": {"low", "down", "down_slope"},
    "slope_up_dtod": {"high", "up", "up_slope"},
    "slope_down_dtod": {"low", "down", "down_slope"},
    "reference_mean": {"low", "high", "up", "down", "retention"},
    "reference_std": {"low", "high", "up", "down", "retention"},
    "dw_min_std": {"noise_up", "noise_down"},
    "write_noise_std": {"write_noise_std"},
}


@pytest.mark.parametrize("switch", SWITCHES)
def test_a_switch_changes_only_its_own_statistic(key, switch):
    spec = spt.SoftBoundsReference(
        up_down_dtod=0.1,
        slope_up_dtod=0.1,
        slope_down_dtod=0.1,
        reference_mean=0.2,
        reference_std=0.3,
        write_noise_std=0.5,
    )
    on = sample(key, spec, 1000)
    off = sample(key, dataclasses.replace(spec, **{switch: 0.0}), 1000)
    names = [field.name for field in dataclasses.fields(on) if field.name != "continuous"]
    changed = {name for name in names if not same_bits(getattr(on, name), getattr(off, name))}
    assert changed == SWITCHES[switch]


def test_stuck_cells_leave_the_others_as_they_were(key):
    spec = NOISY_SPECS["reference"]
    without = sample(key, spec, 1000)
    device = sample(key, dataclasses.replace(spec, corrupt_devices_prob=0.3), 1000)
    stuck = np.asarray(device.low == device.high)
    assert 0 < stuck.sum() < 1000
    for field in ("up", "up_slope", "down", "down_slope", "low", "high", "noise_up"):
        assert same_bits(getattr(device, field)[~stuck], getattr(without, field)[~stuck]), field


def test_what_is_off_is_none(key):
    device = sample(key, spt.SoftBounds(**QUIET), 2)
    assert device.relative_noise is device.noise_up is device.write_noise_std is None
    device = sample(key, spt.SoftBounds(dw_min_std=0.3), 2)
    assert device.relative_noise is not None and device.noise_up is device.noise_down is None
    device = sample(key, spt.SoftBounds(dw_min_std=0.3, mult_noise=False), 2)
    assert device.relative_noise is None and device.noise_up.shape == (2,)
    assert sample(key, spt.PowerResponse(), 2).relative_noise is None
    assert sample(key, spt.PowerResponse(dw_min_std=0.1), 2).relative_noise is not None


def test_additive_cycle_noise_is_relative_to_the_cells_own_step(key):
    device = sample(key, spt.SoftBounds(dw_min_std=0.4, mult_noise=False), 1000)
    up, down = steps(device)
    np.testing.assert_allclose(device.noise_up, 0.4 * up, rtol=3e-7)  # rounding
    np.testing.assert_allclose(device.noise_down, 0.4 * down, rtol=3e-7)


@pytest.mark.parametrize("top, value_high", [(0.6, 0.1), (0.05, 0.05)])
def test_stuck_cells(key, top, value_high):
    """Share p, a value from U[max(b_min, -range), min(b_max, range)], both steps zero."""
    spec = spt.SoftBounds(**(QUIET | {"w_max": top, "corrupt_devices_prob": 0.2}))
    device = sample(key, spec)
    low, high = (np.asarray(bound) for bound in spt.bounds(device))
    stuck = low == high
    assert_mean(stuck, 0.2)
    uniform = stats.uniform(-0.1, 0.1 + value_high)
    assert stats.kstest(low[stuck], uniform.cdf).pvalue > 1e-4
    assert low[stuck].min() >= -0.1 - 1e-8 and low[stuck].max() <= value_high + 1e-8
    for q in spt.response(device, jnp.zeros(CELLS)):
        assert np.array_equal(np.asarray(q) == 0, stuck)


WILD = {"dw_min_dtod": 3.0, "w_max_dtod": 3.0, "w_min_dtod": 3.0}  # signs and order get lost often


def test_consistency_takes_magnitudes_and_swaps_crossed_bounds(key):
    device = sample(key, spt.SoftBounds(**(QUIET | WILD)))
    rng = np.random.default_rng(0)
    top, bottom = 0.6 * (1 + 3 * rng.normal(size=CELLS)), -0.6 * (1 + 3 * rng.normal(size=CELLS))
    expected = {
        "step": np.abs(1 + 3 * rng.normal(size=CELLS)),
        "high": np.abs(np.maximum(top, bottom)),
        "low": -np.abs(np.minimum(top, bottom)),
    }
    found = {"step": steps(device)[0], "low": low(device), "high": high(device)}
    for name, values in expected.items():
        assert stats.ks_2samp(np.asarray(found[name]), values).pvalue > 1e-4, name


def test_without_consistency_crossed_bounds_freeze_a_cell_and_negative_steps_are_none(key):
    spec = spt.ConstantStep(enforce_consistency=False, **(QUIET | WILD))
    device = sample(key, spec)
    low, high = spt.bounds(device)
    # b_max - b_min is N(1.2, 2 (0.6 x 3)^2).
    assert_mean(low == high, stats.norm.cdf(-1.2 / (1.8 * np.sqrt(2))))
    assert_mean(steps(device)[0] == 0, stats.norm.cdf(-1 / 3))
    assert np.all(low <= high) and min(q.min() for q in steps(device)) == 0
    # Where they crossed, the common value is the middle of both draws: N(0, 1.8^2 / 2) alone.
    middle = np.asarray(low)[np.asarray(low == high)]
    assert_mean(middle, 0)
    assert_std(middle, 1.8 / np.sqrt(2))


def test_presets_have_the_published_numbers():
    """aihwkit 1.2's two ReRAM arrays and the cells of arXiv 2602.21321, Fig. 1."""
    om, hfo2 = spt.presets.reram_array_om(), spt.presets.reram_array_hfo2()
    published = {
        "dw_min": (0.0949, 0.4622),
        "dw_min_dtod": (0.7829, 0.7125),
        "dw_min_std": (0.4158, 0.2174),
        "w_max_dtod": (0.3499, 0.4295),
        "w_min_dtod": (0.5695, 0.5990),
        "write_noise_std": (1.4113, 0.5841),
        "w_max": (1, 1),
        "w_min": (-1, -1),
        "up_down": (0, 0),
        "up_down_dtod": (0.01, 0.01),
        "dw_min_dtod_log_normal": (True, True),
        "mult_noise": (False, False),
        "subtract_symmetry_point": (True, True),
        "reference_mean": (0, 0),
        "reference_std": (0.05, 0.05),
        "corrupt_devices_prob": (0, 0),
        "corrupt_devices_range": (0.01, 0.01),
        "enforce_consistency": (True, True),
    }
    for field, values in published.items():
        assert (getattr(om, field), getattr(hfo2, field)) == values, field
    assert round(om.num_states, 1) == 21.1 and round(hfo2.num_states, 2) == 4.33
    figure_1 = spt.presets.figure_1_soft_bounds()
    assert figure_1.num_states == pytest.approx(2000, rel=1e-12)
    assert (figure_1.up_down, figure_1.up_down_dtod, figure_1.dw_min_dtod) == (0.4, 0.08, 0.02)
    assert figure_1.dw_min_std == figure_1.w_max_dtod == figure_1.w_min_dtod == 0


@pytest.mark.parametrize("name", NOISY_SPECS)
def test_dtype_and_shape_are_those_asked_for(key, name, x64):
    device = spt.sample_device(key, NOISY_SPECS[name], (2, 3), dtype=jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(device)} == {jnp.dtype(jnp.float32)}
    assert {leaf.shape for leaf in jax.tree.leaves(device)} <= {(), (2, 3)}
    assert spt.bounds(device)[0].shape == (2, 3)
    assert spt.bounds(spt.sample_device(key, NOISY_SPECS[name], (2,)))[0].dtype == jnp.float64
