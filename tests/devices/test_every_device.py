"""The promises of a device, kept by every device: one table, the one of the documentation included.

Cells of one kind are alike here, so that what differs among them is noise. Without noise the three
methods of `spt.apply_pulses` are compared weight by weight, with it their laws; symmetric points
are compared with where long random pulse trains leave the cells.
"""

import functools
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from sptrack.devices import combine, is_compound, program
from tests.support import QUIET, assert_mean, assert_same_law

DOCS = pathlib.Path(__file__).parents[2] / "docs" / "devices.md"
RANGE = {"w_max": 0.9, "w_min": -0.7}
FAMILY = {"dw_min": 0.004}


def cells(cls, **fields):
    """Pulsed cells without spread, as a function of their cycle noise."""
    return lambda noise: cls(dw_min=0.004, **(QUIET | RANGE | {"dw_min_std": noise} | fields))


def family(cls, **fields):
    return lambda noise: cls(dw_min=0.004, dw_min_std=noise, **fields)


def documented(noise):
    """The device of docs/devices.md, from the page itself; it has no noise and is alike here."""
    blocks = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (block,) = [block for block in blocks if "class SigmoidalSpec" in block]
    names = {}
    exec(block.split("device = spt.sample_device")[0], names)  # the classes alone
    assert noise == 0 or not hasattr(names["Sigmoidal"], "noise")
    return names["SigmoidalSpec"](dw_min=0.004)


SOFT = cells(spt.SoftBounds, up_down=0.3)
POW = cells(spt.PowStep, pow_gamma=1.6, pow_gamma_dtod=0.0, up_down=0.2)
TABLE = {
    "constant": cells(spt.ConstantStep),
    "linear": cells(
        spt.LinearStep, gamma_up=0.6, gamma_down=0.5, gamma_up_dtod=0.0, gamma_down_dtod=0.0,
        up_down=0.2,
    ),
    "soft bounds": SOFT,
    "soft bounds, additive noise": cells(spt.SoftBounds, up_down=0.3, mult_noise=False),
    "soft bounds, reference": cells(
        spt.SoftBoundsReference, up_down=0.3, subtract_symmetry_point=True, reference_mean=0.2
    ),
    "exponential step": cells(
        spt.ExpStep, a=-0.5, b=-0.5, gamma_up=5.0, gamma_down=5.0, A_up=-1.18445,
        A_down=-0.081404, up_down=0.25,
    ),
    "power step": POW,
    "power step, reference": cells(
        spt.PowStepReference, pow_gamma=1.6, pow_gamma_dtod=0.0, reference_mean=0.1
    ),
    "piecewise": cells(
        spt.PiecewiseStep, piecewise_up=(1.8, 1.1, 0.6, 0.1), piecewise_down=(0.1, 0.7, 1.2, 1.5)
    ),
    "ideal": lambda noise: spt.IdealStep(dw_min=0.004),
    "linear response": family(spt.LinearResponse, alpha_up=1.3, tau_max=0.8, center_mean=0.1),
    "power response": family(spt.PowerResponse, gamma_res=1.7, tau=0.8, center_mean=0.2),
    "exponential response": family(spt.ExponentialResponse, gamma_res=1.2, center_mean=0.2),
    "vector": lambda noise: spt.VectorCell(parts=(SOFT(noise), POW(noise)), gammas=(1.0, -0.5)),
    "vector in turn": lambda noise: spt.VectorCell(
        parts=(SOFT(noise), SOFT(noise)), policy="sequential"
    ),
    "reference pair": lambda noise: spt.ReferencePair(device=POW(noise), reference_mean=0.3),
    "one-sided pair": lambda noise: spt.OneSidedPair(device=cells(spt.SoftBounds)(noise)),
    "documented": documented,
}  # fmt: skip
METHODS = ("exact", "aggregate", "mean")
COUNTS = np.array([1, -1, 8, -8, 40, -40])
NO_POINT = ("constant", "ideal", "one-sided pair")  # nothing draws them to a point of their own
everyone = pytest.mark.parametrize("name", TABLE)
pulsed = jax.jit(spt.apply_pulses, static_argnames="method")


def start_of(device, shape):
    """Hidden weights at `START`, which is within every cell's bounds and no symmetric point."""
    return program(device, jnp.full(shape, START))


START = -0.1


@everyone
def test_methods_agree_as_documented(name):
    """Noise-free: single pulses by every method, 8 by "aggregate", any number by a closed form.

    Otherwise the response is that of a weight where it isn't any more: at the start of the pulses
    ("mean") or of an eighth of them. While the response changes by dq this is n dw_min dq at most.
    """
    device = spt.sample_device(jax.random.key(0), TABLE[name](0.0), COUNTS.shape)
    w, counts = start_of(device, COUNTS.shape), jnp.asarray(COUNTS)
    exact, aggregate, mean = (
        pulsed(jax.random.key(1), device, w, counts, method=method) for method in METHODS
    )
    q = [np.where(COUNTS > 0, *spt.response(device, at)) for at in (w, exact)]
    late = np.abs(COUNTS) * float(device.dw_min) * np.abs(q[1] - q[0])
    if name == "vector in turn":  # one of two parts moves, and both are in the response
        late *= 2
    exact, aggregate, mean = (combine(device, one) for one in (exact, aggregate, mean))
    few, rounding = np.abs(COUNTS) <= 8, 2e-6
    assert np.all(np.abs(exact - START)[2:] > 0.004)  # they do move
    assert np.abs(aggregate - exact)[few].max() < rounding
    assert np.abs(mean - exact)[np.abs(COUNTS) == 1].max() < rounding
    assert np.all(np.abs(mean - exact) <= late + rounding)
    by_law = hasattr(device.parts[0] if is_compound(device) else device, "pulse_law")
    if by_law and name != "vector":  # one part of it has no closed form
        assert np.abs(aggregate - exact).max() < rounding
    assert np.all(np.abs(aggregate - exact) <= 1.2 * late / 8 + rounding)


NOISY = [name for name in TABLE if name not in ("ideal", "documented")]


@pytest.mark.parametrize("name", NOISY)
def test_noisy_methods_have_one_law(name, seed_of, request):
    """Eight pulses: mean and std of "aggregate" are those of single pulses, and no other's."""
    size, key = 20_000, spt.random.fast_key(seed_of(request.node))
    device = spt.sample_device(key, TABLE[name](0.8), (size,))
    w, counts = start_of(device, (size,)), jnp.full(size, 8)
    exact, aggregate = (
        combine(device, pulsed(jax.random.fold_in(key, i), device, w, counts, method=method))
        for i, method in enumerate(METHODS[:2])
    )
    assert_same_law(exact, aggregate, k=4)
    steps = 4 if name == "vector in turn" else 8  # each of two parts counts half
    smallest = 0.1 * float(device.dw_min) * 0.8 * np.sqrt(steps)
    assert exact.std() > smallest


@functools.cache
def long_train(name):
    """Symmetric points, and what 6000 random pulses from elsewhere show in the mean of the last."""
    key = spt.random.fast_key(1)
    device = spt.sample_device(key, TABLE[name](0.3), (64,))
    run = jax.jit(
        lambda device, w: (
            spt.zero_shift(
                key, device, w, 6000, scheme="stochastic", average="tail", tail_fraction=0.6
            ).estimate
        )
    )
    return device, spt.symmetric_point(device), run(device, start_of(device, (64,)))


def at_point(device, point):
    """Hidden weights at the symmetric point: every part at its own."""
    if not is_compound(device):
        return point
    planes = [spt.symmetric_point(part) for part in device.parts]
    return jnp.stack(planes + [jnp.zeros_like(point)] * (device.planes - len(planes)))


@pytest.mark.parametrize("name", [name for name in TABLE if name not in NO_POINT])
def test_symmetric_points_are_where_pulses_lead(name):
    """q_up = q_down there, so the mean up-down map stays; long random trains end there.

    Their mean is within 4 standard errors of it, the errors being those of 64 independent cells;
    what the curvature of a response adds, dw_min G''/(8 G'^2) F^2 or so, is smaller.
    """
    device, point, estimate = long_train(name)
    w = at_point(device, point)
    np.testing.assert_allclose(combine(device, w), point, atol=1e-6)
    q_up, q_down = spt.response(device, w)
    np.testing.assert_allclose(q_up, q_down, atol=3e-6)
    step = device.dw_min / 2
    mapped = spt.pulses.mean_update(device, w, jnp.full(64, step))
    mapped = combine(device, mapped) - combine(device, w)  # half a pulse up ...
    down = combine(device, spt.pulses.mean_update(device, w, jnp.full(64, -step)))
    if name != "vector in turn":  # whose parts alternate
        np.testing.assert_allclose(mapped + down, combine(device, w), atol=1e-6)  # ... and down
    assert np.sqrt(np.mean((point - START) ** 2)) > 0.02  # elsewhere than they began
    assert_mean(estimate - point, 0, k=4)
    assert np.abs(estimate - point).max() < 0.1


def test_full_one_sided_pairs_are_at_their_symmetric_point():
    """Without noise, which would keep them below their bounds."""
    spec = spt.OneSidedPair(device=spt.SoftBounds(dw_min=0.02, dw_min_std=0.0))
    device = spt.sample_device(jax.random.key(0), spec, (64,))
    w = start_of(device, (64,))
    w = spt.zero_shift(jax.random.key(1), device, w, 3000).weight
    # A soft bound is approached by exp(-n s / b): 1e-6 after 1500 pulses of the smallest step.
    np.testing.assert_allclose(combine(device, w), spt.symmetric_point(device), atol=2e-3)


@everyone
def test_instances_and_keys_are_vmapped(name):
    spec, shape = TABLE[name](0.3 if name in NOISY else 0.0), (3,)

    @jax.jit
    def run(key):
        device = spt.sample_device(key, spec, shape)
        counts = jnp.array([3, -2, 9])
        w = spt.apply_pulses(key, device, start_of(device, shape), counts, method="aggregate")
        return combine(device, w)

    keys = jax.random.split(spt.random.fast_key(0), 2)
    together = jax.vmap(run)(keys)
    for index in range(2):
        alone = run(jax.random.clone(keys)[index])
        np.testing.assert_allclose(together[index], alone, atol=1e-6)
