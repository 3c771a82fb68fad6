"""Cells made of several devices: where pulses go, refresh, references, and all that is above."""

import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import sptrack as spt
from sptrack.devices import combine, program, relax, reset, start_clock
from tests import oracle
from tests.support import QUIET, assert_mean, assert_std, same_bits

KEY = jax.random.key(0)
WIDE = QUIET | {"w_max": 0.9, "w_min": -0.7}
SOFT = spt.SoftBounds(dw_min=0.03, up_down=0.4, **WIDE)
CONSTANT = spt.ConstantStep(dw_min=0.02, **WIDE)
CELLS = [
    oracle.SoftBoundsCells(s_up=0.03, s_down=0.018, b_max=0.9, b_min=-0.7),
    oracle.ConstantCells(0.02, 0.02, 0.9, -0.7),
    oracle.SoftBoundsCells(s_up=0.03, s_down=0.018, b_max=0.9, b_min=-0.7),
]
GAMMAS = (1.0, -0.5, 0.25)


def vector(policy, **fields):
    return spt.VectorCell(parts=(SOFT, CONSTANT, SOFT), gammas=GAMMAS, policy=policy, **fields)


def written(parts, counts, who):
    """The parts' weights after one write, pulse by pulse in NumPy; `who` are its receivers."""
    return [
        oracle.apply(CELLS[k], w, np.sign(GAMMAS[k]).astype(int) * counts) if k in who else w
        for k, w in enumerate(parts)
    ]


@pytest.mark.parametrize("method", ["exact", "aggregate"])
@pytest.mark.parametrize("policy", ["all", "fixed", "sequential", "random"])
def test_pulses_go_to_the_parts_of_the_policy(x64, method, policy):
    """Twelve writes of up to 20 pulses; without noise both methods are the oracle's pulses."""
    device = spt.sample_device(KEY, vector(policy, fixed_part=2), (9,))
    w = program(device, jnp.zeros(9))
    pulse = jax.jit(spt.apply_pulses, static_argnames="method")
    rng, seen = np.random.default_rng(0), []
    for write in range(12):
        counts = rng.integers(-20, 21, 9)
        parts = list(np.asarray(w[:3]))
        w = pulse(jax.random.fold_in(KEY, write), device, w, jnp.asarray(counts), method=method)
        who = [k for k in range(3) if np.any(w[k] != parts[k])]
        np.testing.assert_allclose(w[:3], written(parts, counts, who), rtol=0, atol=1e-13)
        seen.append(who)
    expected = {
        "all": [[0, 1, 2]] * 12,
        "fixed": [[2]] * 12,
        "sequential": [[k % 3] for k in range(12)],
    }
    if policy == "random":
        assert all(len(who) == 1 for who in seen) and {who[0] for who in seen} == {0, 1, 2}
    else:
        assert seen == expected[policy]


def test_random_parts_are_drawn_evenly():
    device = spt.sample_device(KEY, spt.VectorCell(parts=(CONSTANT,) * 4, policy="random"), ())
    w = program(device, jnp.zeros(()))
    keys = jax.random.split(jax.random.key(1), 4000)
    moved = jax.vmap(lambda key: spt.apply_pulses(key, device, w, jnp.asarray(1)))(keys) != 0
    assert np.all(moved.sum(1) == 1)
    for k in range(4):
        assert_mean(moved[:, k], 0.25)


@pytest.mark.parametrize("policy", ["all", "fixed", "random", "sequential"])
def test_a_pulse_changes_the_weight_by_dw_min_in_the_mean(x64, policy):
    """At responses of 1; of random and sequential parts over their turns."""
    parts = (CONSTANT, spt.ConstantStep(dw_min=0.05, **WIDE))
    spec = spt.VectorCell(parts=parts, gammas=(0.5, -0.2), policy=policy)
    device = spt.sample_device(KEY, spec, ())
    w = program(device, jnp.zeros(()))
    moved = spt.apply_pulses(KEY, device, w, jnp.asarray(1), method="mean")
    if policy == "sequential":  # one part at a time, so two writes
        moved = (spt.apply_pulses(KEY, device, moved, jnp.asarray(1), method="mean") + w) / 2
    np.testing.assert_allclose(combine(device, moved), device.dw_min, rtol=1e-12)
    sizes = {"all": 0.02, "fixed": 0.01, "random": 0.01, "sequential": 0.01}
    np.testing.assert_allclose(device.dw_min, sizes[policy], rtol=1e-12)
    np.testing.assert_allclose(spt.response(device, w), 1, rtol=1e-12)


def test_programmed_cells_show_the_target_as_far_as_bounds_allow(key, x64):
    spec = spt.VectorCell(parts=(spt.SoftBounds(), spt.PowStep(), CONSTANT), gammas=GAMMAS)
    device = spt.sample_device(key, spec, (500,))
    low, high = spt.bounds(device)
    shares = jnp.linspace(-0.2, 1.2, 500)
    target = low + shares * (high - low)
    w = program(device, target)
    np.testing.assert_allclose(combine(device, w), jnp.clip(target, low, high), atol=1e-12)
    for part, plane in zip(device.parts, w, strict=True):
        bottom, top = spt.bounds(part)
        assert np.all((bottom <= plane) & (plane <= top))


def test_alternating_pulses_and_an_even_number_of_parts_in_turn():
    """Ups always meet the same parts, downs the others: they part for ever, W ends off the SP."""
    for count, scheme, settles in (
        (2, "cyclic", False),
        (3, "cyclic", True),
        (2, "stochastic", True),
    ):
        spec = spt.VectorCell(parts=(SOFT,) * count, policy="sequential")
        device = spt.sample_device(KEY, spec, (50,))
        start = program(device, jnp.zeros(50))
        result = spt.zero_shift(
            KEY, device, start, 3000, scheme=scheme, average="tail", tail_fraction=0.8
        )
        error = np.abs(result.estimate - spt.symmetric_point(device)).mean()
        assert (error < 0.03) == settles
        assert np.all(np.ptp(result.weight[:2], axis=0) > 1.5) == (not settles)


def test_write_noise_of_a_read_is_that_of_all_parts(key):
    spec = spt.VectorCell(
        parts=(CONSTANT, spt.SoftBounds(dw_min=0.1, write_noise_std=0.5, **WIDE)),
        gammas=(1.0, -2.0),
    )
    device = spt.sample_device(key, spec, (20_000,))
    shown = spt.pulses.show(key, device, program(device, jnp.full(20_000, 0.1)))
    assert_mean(shown, 0.1)
    assert_std(shown, 2.0 * 0.1 * 0.5)
    assert spt.pulses.has_write_noise(device) and not spt.pulses.shows_hidden(device)


# One-sided pairs.

STEP = 0.125  # a binary fraction, so that differences are whole numbers of pulses


def pair(**fields):
    device = spt.ConstantStep(dw_min=STEP, w_max=2.0, w_min=0.0, reset_std=0.0, **WITHOUT_RANGE)
    return spt.sample_device(KEY, spt.OneSidedPair(device=device, **fields), (6,))


WITHOUT_RANGE = {name: value for name, value in QUIET.items() if name not in ("w_max", "w_min")}
FULL = jnp.array(  # in pulses; thresholds are 12 of 16 pulses and 4 of 16
    [[13, 12, 13, 5, 16, 13], [5, 5, 4, 13, 16, 13]], float
)
REFRESHED = np.array([[8, 12, 13, 0, 0, 0], [0, 5, 4, 8, 0, 0]])  # nothing where not above both


def test_one_sided_pairs_only_ever_rise():
    device = spt.sample_device(KEY, spt.OneSidedPair(device=CONSTANT), (3,))
    w = program(device, jnp.array([0.3, 0.0, -0.3]))
    assert np.all(w >= 0)
    moved = spt.apply_pulses(KEY, device, w, jnp.array([-5, 0, 5]))
    np.testing.assert_allclose(moved - w, [[0, 0, 0.1], [0.1, 0, 0]], atol=1e-6)
    full = spt.apply_pulses(KEY, device, w, jnp.array([100, 100, -100]))
    full = spt.apply_pulses(KEY, device, full, jnp.array([-100, -100, 100]))
    np.testing.assert_allclose(full, 0.9, atol=1e-6)
    np.testing.assert_allclose(combine(device, full), spt.symmetric_point(device), atol=1e-6)


@pytest.mark.parametrize("method", ["exact", "aggregate", "mean"])
def test_full_pairs_are_reset_and_their_difference_is_written_anew(method):
    device = pair(refresh_every=1)
    new = spt.apply_pulses(KEY, device, FULL * STEP, jnp.zeros(6, int), method=method)
    np.testing.assert_allclose(new / STEP, REFRESHED, atol=1e-6)
    never = spt.apply_pulses(KEY, pair(), FULL * STEP, jnp.zeros(6, int), method=method)
    np.testing.assert_allclose(never / STEP, FULL)


def test_pairs_are_looked_at_after_every_nth_write():
    device = pair(refresh_every=3)
    w = jnp.concatenate([FULL * STEP, jnp.zeros((1, 6))])
    for write in range(6):
        w = spt.apply_pulses(KEY, device, w, jnp.zeros(6, int))
        np.testing.assert_allclose(w[:2] / STEP, FULL if write < 2 else REFRESHED, atol=1e-6)
        assert np.all(w[2] == (write + 1) % 3)


def test_the_thresholds_cut_and_rest_values_of_a_refresh():
    w, none = FULL * STEP, jnp.zeros(6, int)
    lower = spt.apply_pulses(KEY, pair(refresh_every=1, refresh_lower=0.2), w, none)
    np.testing.assert_allclose(lower[:, 2] / STEP, [9, 0], atol=1e-6)  # 4 of 16 is above it now
    cut = spt.apply_pulses(KEY, pair(refresh_every=1, refresh_pulses=3), w, none)
    np.testing.assert_allclose(cut[:, 0] / STEP, [3, 0], atol=1e-6)
    device = spt.ConstantStep(
        dw_min=STEP, w_max=2.0, w_min=0.0, reset_std=0.0, reset=0.25, **WITHOUT_RANGE
    )
    raised = spt.sample_device(KEY, spt.OneSidedPair(device=device, refresh_every=1), (6,))
    for method in ("exact", "mean"):
        new = spt.apply_pulses(KEY, raised, w, none, method=method)
        np.testing.assert_allclose(new[:, 0] / STEP, [10, 2], atol=1e-6)


def test_refreshed_differences_are_right_in_the_mean(key):
    """Stochastic rounding of 5.3 pulses, and noisy reads: the mean is kept; constant steps."""
    cells = 20_000
    device = spt.ConstantStep(dw_min=0.1, w_max=2.0, w_min=0.0, reset_std=0.0, **WITHOUT_RANGE)
    for noise, std in ((0.0, np.sqrt(0.3 * 0.7)), (0.05, None)):
        spec = spt.OneSidedPair(device=device, refresh_every=1, refresh_read_noise=noise)
        array = spt.sample_device(key, spec, (cells,))
        w = jnp.stack([jnp.full(cells, 1.9), jnp.full(cells, 1.37)])
        new = combine(array, spt.apply_pulses(key, array, w, jnp.zeros(cells, int)))
        assert_mean(new, 0.53)
        if std is not None:
            assert_std(new, 0.1 * std)
        else:
            assert new.std() > 0.1 * 0.7


def test_pcm_pairs_follow_the_rule_of_their_cells(x64):
    """The preset without noise and spread: W after ups and downs, from the formula of the step."""
    quiet = {name: 0.0 for name in ("dw_min_dtod", "up_down_dtod", "w_max_dtod", "dw_min_std")}
    spec = spt.presets.pcm_pair(device=spt.presets.pcm(**quiet), refresh_every=0)
    device = spt.sample_device(KEY, spec, ())
    g = [0.0]
    for _ in range(20):
        g.append(min(g[-1] + 0.01 * (1 + 27.235 * np.exp(-2.5 * g[-1])), 2.0))
    w = program(device, jnp.zeros(()))
    w = spt.apply_pulses(KEY, device, w, jnp.asarray(20))
    w = spt.apply_pulses(KEY, device, w, jnp.asarray(-7))
    np.testing.assert_allclose(combine(device, w), g[20] - g[7], rtol=1e-12)
    default = spt.presets.pcm_pair()
    assert default.refresh_every == 1 and default.device.granularity == "aihwkit"


# Reference pairs.

IDEAL = spt.IdealStep()  # a reference without bounds


@pytest.mark.parametrize("inner", [SOFT, spt.presets.reram_es()], ids=["affine", "other"])
def test_a_reference_pair_is_its_device_moved_by_the_reference(key, x64, inner):
    """Response, bounds, noise, SP, rest values and what pulses do."""
    spec = spt.ReferencePair(
        device=inner, reference=IDEAL, subtract_symmetry_point=False, reference_mean=0.1
    )
    device = spt.sample_device(key, spec, (50,))
    alone = device.device if hasattr(device, "device") else device.against(-0.1)
    w = jnp.linspace(-0.2, 0.2, 50)
    pairs = [
        *zip(spt.response(device, w), spt.response(alone, w + 0.1), strict=True),
        *zip(spt.bounds(device), [b - 0.1 for b in spt.bounds(alone)], strict=True),
        (spt.symmetric_point(device), spt.symmetric_point(alone) - 0.1),
        (device.retention.rest, jnp.full(50, -0.1)),
    ]
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, atol=1e-12)
    counts, pulse = jnp.arange(50) % 9 - 4, jax.jit(spt.apply_pulses)
    moved, expected = pulse(key, device, w, counts), pulse(key, alone, w + 0.1, counts) - 0.1
    np.testing.assert_allclose(moved, expected, atol=1e-12)


def test_a_reference_holds_what_its_own_bounds_and_noise_let_it(key):
    cells = 20_000
    narrow = spt.ConstantStep(**(QUIET | {"w_max": 0.1, "w_min": 0.0}))
    half = spt.SoftBounds(up_down=0.5, **QUIET)  # h* = 0.6 (1 - 0.5) / (1 + 0.5) = 0.2
    device = spt.sample_device(key, spt.ReferencePair(device=half, reference=narrow), (3,))
    np.testing.assert_allclose(spt.symmetric_point(device), 0.1, atol=1e-6)
    exact = spt.ReferencePair(device=SOFT, reference=IDEAL, reference_mean=0.2, reference_std=0.1)
    point = spt.symmetric_point(spt.sample_device(key, exact, (cells,)))
    assert_mean(point, -0.2)
    assert_std(point, 0.1)
    noisy = spt.ConstantStep(write_noise_std=3.0, dw_min=0.01, **WIDE)
    spec = spt.ReferencePair(device=SOFT, reference=noisy)
    point = spt.symmetric_point(spt.sample_device(key, spec, (cells,)))
    assert_mean(point, 0)
    assert_std(point, 0.03)


# Above the pulses.


def test_instances_are_vmapped():
    cells = spt.ConstantStep(dw_min=0.05, w_min=0.0)
    spec = spt.OneSidedPair(device=cells, refresh_every=2)
    counts = jnp.array([[3, -5, 0, 40], [40, 1, -60, -40]])

    @jax.jit
    def run(key):
        device = spt.sample_device(key, spec, (4,))
        w = program(device, jnp.zeros(4))
        return jax.lax.scan(lambda w, n: (spt.apply_pulses(key, device, w, n), None), w, counts)[0]

    keys = jax.random.split(spt.random.fast_key(0), 3)  # compiles faster
    together = jax.vmap(run)(keys)
    for index in range(3):
        np.testing.assert_allclose(together[index], run(keys[index]), rtol=1e-5, atol=1e-6)


ONE = spt.VectorCell(parts=(SOFT,))  # one part of weight 1 is that part
CHANGES = jnp.linspace(-0.3, 0.3, 12).reshape(3, 4)
RATES = {"learning_rate": 0.1, "transfer_rate": 0.3, "gamma": 0.2, "key": KEY}
LINES = {"transfer": spt.ColumnTransfer(rows=True, warm_up=False), "buffer": spt.DigitalBuffer()}
TRANSFORMATIONS = {
    "analog_sgd": lambda spec: spt.analog_sgd(0.1, weight_spec=spec, key=KEY, count="detailed"),
    "erider": lambda spec: spt.erider(
        residual_spec=spec, weight_spec=spec, eta=0.1, chop_prob=0.2, **RATES
    ),
    "two_stage by rows": lambda spec: spt.two_stage(
        residual_spec=spec, weight_spec=spec, num_pulses=9, **RATES, **LINES
    ),
}


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_cell_of_one_part_trains_as_the_part_alone(name, x64):
    ends = []
    for spec in (SOFT, ONE):
        tx, params = TRANSFORMATIONS[name](spec), jnp.zeros((3, 4))
        state = tx.init(params)
        update = jax.jit(tx.update)
        for k in range(5):
            updates, state = update(CHANGES * (-1) ** k + params, state, params)
            params = params + updates
        ends.append((params, spt.read_arrays(state), spt.pulse_counts(state)))
    for alone, part in zip(*map(jax.tree.leaves, ends), strict=True):
        assert alone.shape == part.shape
        np.testing.assert_allclose(part, alone, rtol=0, atol=1e-12)
    assert np.any(ends[0][0] != 0)


@pytest.mark.parametrize("train", [spt.PulseTrain(), spt.PulseTrain(merged=True)])
@pytest.mark.parametrize("method", ["exact", "aggregate", "mean"])
def test_trains_reach_the_part_of_a_cell_of_one(x64, train, method):
    x, d = CHANGES[:2, :3], CHANGES[1:]
    ends = []
    for spec in (SOFT, ONE):
        device = spt.sample_device(KEY, spec, (3, 4))
        w = program(device, jnp.zeros((3, 4)))
        result = spt.pulses.counted_coincidence_update(
            KEY, device, w, x, d, 0.8, train=train, method=method, count_moved=True
        )
        ends.append((combine(device, result.weight), result.up, result.down))
    for alone, part in zip(*ends, strict=True):
        np.testing.assert_allclose(part, alone, atol=1e-12)


def test_parts_relax_each_by_itself(key, x64):
    fast = spt.ConstantStep(lifetime=4.0, reset=0.1, reset_std=0.0, **WIDE)
    slow = spt.ConstantStep(drift=spt.Drift(nu=0.1, interval=2.0), reset_std=0.0, **WIDE)
    spec = spt.VectorCell(parts=(fast, slow), gammas=(1.0, 1.0), policy="sequential")
    device = spt.sample_device(key, spec, (2,))
    w = jnp.array([[0.3, 0.2], [0.4, 0.4], [1.0, 0.0]])
    assert spt.devices.is_relaxing(device)
    new, clock = relax(key, device, w, start_clock(device, w))
    np.testing.assert_allclose(new[0], 0.1 + (w[0] - 0.1) * 0.75, atol=1e-15)
    np.testing.assert_allclose(new[1], 0.4 * 2.0**-0.1, atol=1e-15)
    np.testing.assert_array_equal(new[2], w[2])  # whose turn it is stays
    assert clock[0] is None and clock[1].age.tolist() == [2.0, 2.0]
    np.testing.assert_allclose(
        reset(key, device, w, jnp.array([True, False]))[:2], [[0.1, 0.2], [0.0, 0.4]]
    )
    state = spt.transforms.init_array(key, spec, {"w": jnp.array([0.4, 0.0])})
    later = spt.transforms.relax_array(key, state, state)
    expected = combine(state.device["w"], later.hidden["w"])
    np.testing.assert_allclose(spt.transforms.read(later)["w"], expected, atol=1e-15)
    assert np.any(later.hidden["w"] != state.hidden["w"])


@pytest.mark.parametrize("method", ["aggregate", "mean"])
def test_pulses_on_parts_are_differentiable(x64, method):
    device = spt.sample_device(KEY, vector("all"), (4,))
    w = program(device, jnp.array([0.1, -0.2, 0.3, 0.4]))

    def moved(w, device):
        out = spt.apply_pulses(KEY, device, w, jnp.array([1, 3, -5, 20]), method=method)
        return combine(device, out)

    check_grads(moved, (w, device), order=1, modes=["fwd", "rev"])


def test_numbers_of_all_parts_can_be_swept(key):
    spec = spt.VectorCell(parts=(SOFT, CONSTANT))
    steps = jnp.array([0.01, 0.02, 0.05])

    def draw(dw_min):
        one = jax.tree.unflatten(*reversed(_with_first_step(spec, dw_min)))
        return spt.sample_device(key, one, (2,)).dw_min

    np.testing.assert_allclose(jax.vmap(draw)(steps), (steps + 0.02) / 2, rtol=1e-6)


def _with_first_step(spec, dw_min):
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(spec)]
    leaves, treedef = jax.tree.flatten(spec)
    index = next(i for i, p in enumerate(paths) if jax.tree_util.keystr(p) == ".parts[0].dw_min")
    leaves[index] = dw_min
    return leaves, treedef


REFUSED = {
    "no parts": (lambda: spt.VectorCell(parts=()), TypeError, "tuple of specs"),
    "a class": (lambda: spt.VectorCell(parts=(spt.SoftBounds,)), TypeError, "must be specs"),
    "policy": (lambda: spt.VectorCell(policy="any"), ValueError, "policy must be one of"),
    "fixed part": (lambda: spt.VectorCell(fixed_part=2), ValueError, "from 0 to 1, got 2"),
    "gammas": (lambda: spt.VectorCell(gammas=(1.0,)), ValueError, "tuple of 2 numbers"),
    "gamma 0": (lambda: spt.VectorCell(gammas=(1.0, 0.0)), ValueError, "not 0"),
    "nested": (
        lambda: spt.sample_device(KEY, spt.OneSidedPair(device=spt.VectorCell()), (2,)),
        TypeError,
        "single devices",
    ),
    "refresh without scale": (
        lambda: spt.OneSidedPair(device=spt.LinearResponse(), refresh_every=1),
        ValueError,
        "w_max",
    ),
    "writes": (lambda: spt.OneSidedPair(refresh_every=-1), ValueError, "refresh_every"),
    "reference": (lambda: spt.ReferencePair(reference=0.3), TypeError, "reference must be specs"),
    "weights of cells": (
        lambda: spt.apply_pulses(
            KEY, spt.sample_device(KEY, ONE, (3,)), jnp.zeros(3), jnp.ones(3, int)
        ),
        ValueError,
        r"spt\.devices\.program",
    ),
    "counts of parts": (
        lambda: spt.apply_pulses(
            KEY, spt.sample_device(KEY, ONE, (3,)), jnp.zeros((1, 3)), jnp.ones((1, 3), int)
        ),
        ValueError,
        "shape of the cells",
    ),
    "slope": (
        lambda: spt.slope_at_symmetric_point(spt.sample_device(KEY, ONE, (3,))),
        ValueError,
        "each at its own rate",
    ),
    "closed form of zero-shifting": (
        lambda: spt.zero_shift(
            KEY, spt.sample_device(KEY, ONE, (3,)), jnp.zeros((1, 3)), 10, method="aggregate"
        ),
        ValueError,
        "no closed form",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_with_the_remedy(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_what_a_stuck_or_lost_cell_does(key):
    """NaN stays in its cell; a cell whose pulses are none keeps its bits."""
    device = spt.sample_device(key, vector("sequential"), (3,))
    w = program(device, jnp.array([0.1, 0.2, 0.3]))
    new = spt.analog_update(key, device, w, jnp.array([jnp.nan, 0.0, 0.1]))
    assert np.isnan(combine(device, new)).tolist() == [True, False, False]
    assert same_bits(new[:3, 1], w[:3, 1])
    again = spt.analog_update(key, device, new, jnp.zeros(3))
    assert np.isnan(combine(device, again)).tolist() == [True, False, False]
    assert operator.eq(*map(float, again[3, 1:]))
