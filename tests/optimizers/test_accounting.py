"""Pulses counted in detail: equal to explicit trains, right beyond 2^32, free when switched off."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from sptrack.transforms.counting import Wide, wide_sum, wide_value, wide_zero
from tests import oracle
from tests.support import QUIET, same_bits

RNG = np.random.default_rng(4)
STEPS = spt.ConstantStep(dw_min=0.01, **QUIET)  # bounds at +-0.6
RATES = {"learning_rate": 0.3, "transfer_rate": 0.2}
CHOPPED = {**RATES, "eta": 0.5, "chop_prob": 0.5}
COLUMNS = spt.ColumnTransfer(warm_up=False, read=None)
BUFFER = spt.DigitalBuffer(granularity=5.0)
ALGORITHMS = {
    "analog_sgd": (spt.analog_sgd, {"learning_rate": 0.3}),
    "residual_learning": (spt.residual_learning, RATES),
    "two_stage": (spt.two_stage, {**RATES, "num_pulses": 5}),
    "rider": (spt.rider, {**RATES, "eta": 0.1}),
    "erider": (spt.erider, CHOPPED),
    "columns of erider": (spt.erider, {**CHOPPED, "transfer": COLUMNS, "buffer": BUFFER}),
    "erider_released": (spt.erider_released, {**RATES, "chop_prob": 0.5}),
    "tiki_taka": (spt.tiki_taka, RATES),
    "ttv2": (spt.ttv2, RATES),
    "chopped_ttv2": (spt.chopped_ttv2, {**RATES, "chop_prob": 0.5}),
    "agad": (spt.agad, {**RATES, "chop_prob": 0.5}),
}
everyone = pytest.mark.parametrize("name", ALGORITHMS)
WEIGHT = jnp.asarray(RNG.normal(size=(3, 2)) * 0.1)
GRADS = jnp.asarray(RNG.normal(size=(4, 3, 2)))


def make(name, key, spec=STEPS, **changed):
    factory, options = ALGORITHMS[name]
    specs = {"weight_spec": spec}
    if factory is not spt.analog_sgd:
        specs["residual_spec"] = spec
    return factory(**{**specs, **options, "key": key, **changed})


def follow(tx, gradients=GRADS, params=None):
    params = {"w": WEIGHT} if params is None else params
    states = [tx.init(params)]
    for gradient in gradients:
        updates, state = tx.update({"w": gradient}, states[-1], params)
        params = optax.apply_updates(params, updates)
        states.append(state)
    return states


def array(state, name):
    state = state if hasattr(state, "weight") else state[-1]
    return getattr(state, name)


@everyone
def test_details_are_what_the_weights_did(key, name):
    """Constant steps of 0.01 far from the bounds: the weight's path is the explicit pulse train.

    Each write sends pulses of one direction to a cell, so its change / 0.01 is that train's sum.
    """
    spec = spt.ConstantStep(dw_min=0.01, **{**QUIET, "w_max": 1e3, "w_min": -1e3})
    states = follow(make(name, key, spec, count="detailed"))
    details = spt.pulse_details(states[-1])
    purposes = {"training": "weight"} if name == "analog_sgd" else {
        "training": "residual", "transfer": "weight"}  # fmt: skip
    for purpose, field in purposes.items():
        path = np.stack([np.asarray(array(s, field).hidden["w"], float) for s in states])
        trains = np.round(np.diff(path, axis=0) / 0.01)
        expected = {"up": np.maximum(trains, 0).sum(0), "down": np.maximum(-trains, 0).sum(0)}
        for direction, sent in expected.items():
            for outcome in ("attempted", "effective"):
                found = details[purpose][outcome][direction]["w"]
                np.testing.assert_array_equal(found, sent, err_msg=f"{purpose} {direction}")
                assert found.dtype == np.uint64
            for outcome in ("saturated", "stuck"):
                assert not details[purpose][outcome][direction]["w"].any()
    assert details["training"]["attempted"]["up"]["w"].any()
    calibration = 5 if name == "two_stage" else 0
    halves = [details["calibration"]["attempted"][d]["w"] for d in ("up", "down")]
    np.testing.assert_array_equal(halves[0], (calibration + 1) // 2)
    np.testing.assert_array_equal(halves[1], calibration // 2)


@everyone
def test_totals_do_not_depend_on_what_is_counted(key, name):
    """And neither do weights, bit for bit; "none" has no counters to read."""
    total, detailed, none = (
        follow(make(name, key, count=count), GRADS[:2])[-1]
        for count in ("total", "detailed", "none")
    )
    assert same_bits(spt.read_arrays(total), spt.read_arrays(detailed))
    assert same_bits(spt.read_arrays(total), spt.read_arrays(none))
    assert same_bits(spt.pulse_counts(total), spt.pulse_counts(detailed))
    for read in (spt.pulse_counts, spt.pulse_details):
        with pytest.raises(ValueError, match=r"aren't counted.*count='total'"):
            read(none)
    with pytest.raises(ValueError, match="count='detailed'"):
        spt.pulse_details(total)


@everyone
def test_what_is_off_costs_nothing(key, name):
    """No leaf of the state, and nothing in the program of a step, has to do with counting."""
    params = {"w": WEIGHT}
    states, programs = {}, {}
    for count in ("total", "detailed", "none"):
        tx = make(name, key, count=count)
        states[count] = tx.init(params)
        step = jax.make_jaxpr(tx.update)({"w": GRADS[0]}, states[count], params)
        programs[count] = len(step.jaxpr.eqns), len(step.jaxpr.invars)
    arrays = 1 if name == "analog_sgd" else 2
    leaves = {count: len(jax.tree.leaves(state)) for count, state in states.items()}
    assert leaves["total"] - leaves["none"] == arrays  # a counter per weight
    synchronised = 6 * (array(states["detailed"], "programming") is not None) if arrays == 2 else 0
    assert leaves["detailed"] - leaves["none"] == 16 * arrays + synchronised
    for count in states:
        assert programs[count][1] == leaves[count] + 2
    assert programs["none"][0] < programs["total"][0] < programs["detailed"][0]
    words = [leaf for leaf in jax.tree.leaves(states["none"]) if leaf.dtype == jnp.uint32]
    assert all(leaf.ndim == 0 for leaf in words)


def test_saturated_pulses_are_told_by_direction(key):
    """Cells driven to both bounds, against the oracle that looks at every pulse."""
    cells = oracle.ConstantCells(0.01, 0.01, 0.6, -0.6)
    for method in ("exact", "aggregate"):
        tx = make("analog_sgd", key, learning_rate=1.0, method=method, count="detailed")
        states = follow(tx, [jnp.round(g * 30) * 0.01 for g in GRADS])
        state, sent, moved = np.array(WEIGHT, float), 0, 0
        for g in GRADS:
            counts = -np.round(np.asarray(g) * 30).astype(int)
            rises = counts > 0
            for k in range(np.abs(counts).max()):
                new = np.where(k < np.abs(counts), cells.step(state, rises, 0.0), state)
                changed = np.abs(new - state) > 1e-6
                moved = moved + np.stack([changed & rises, changed & ~rises])
                state = new
            sent = sent + np.stack([np.maximum(counts, 0), np.maximum(-counts, 0)])
        details = spt.pulse_details(states[-1])["training"]
        for i, direction in enumerate(("up", "down")):
            found = {k: v[direction]["w"] for k, v in details.items()}
            # a wanted change of n pulses may round to n +- 1 in single precision
            np.testing.assert_allclose(found["attempted"], sent[i], atol=2)
            np.testing.assert_allclose(found["effective"], moved[i], atol=4)
            np.testing.assert_array_equal(
                found["attempted"], found["effective"] + found["saturated"]
            )
        assert (moved < sent).any() and moved.any()


def test_pulses_on_stuck_cells_are_apart(key):
    spec = spt.presets.reram_array_hfo2(corrupt_devices_prob=0.5)
    state = follow(make("erider", key, spec, learning_rate=2.0, count="detailed"))[-1]
    low, high = spt.bounds(state.residual.device["w"])
    stuck = np.asarray(low == high)
    assert stuck.any() and not stuck.all()
    details = spt.pulse_details(state)["training"]
    sent = sum(details["attempted"][d]["w"] for d in ("up", "down"))
    lost = sum(details["stuck"][d]["w"] for d in ("up", "down"))
    np.testing.assert_array_equal(lost, np.where(stuck, sent, 0))
    assert lost.any() and (sent > lost).any()
    effective = sum(details["effective"][d]["w"] for d in ("up", "down"))
    saturated = sum(details["saturated"][d]["w"] for d in ("up", "down"))
    np.testing.assert_array_equal(effective + saturated + lost, sent)


def test_counters_are_right_beyond_32_bits(key):
    """From preset counters of 2^32 - 1 and 5 2^32 + 2^31; without 64-bit mode."""
    assert not jax.config.jax_enable_x64
    tx = make("analog_sgd", key, learning_rate=1.0, count="detailed")
    params = {"w": WEIGHT}
    begin = tx.init(params)
    counter = array(begin, "weight").pulses["w"]
    starts = np.array([[2**32 - 1, 5 * 2**32 + 2**31]] * 3, np.uint64)
    preset = Wide(
        jnp.asarray((starts % 2**32).astype(np.uint32)),
        jnp.asarray((starts // 2**32).astype(np.uint32)),
    )
    np.testing.assert_array_equal(wide_value(preset), starts)
    state = optax.tree.set(begin, pulses={"w": counter._replace(up=preset, moved_up=preset)})
    for _ in range(2):
        _, state = tx.update({"w": jnp.full((3, 2), -0.05)}, state, params)
    details = spt.pulse_details(state)["training"]
    np.testing.assert_array_equal(details["attempted"]["up"]["w"], starts + np.uint64(10))
    np.testing.assert_array_equal(details["effective"]["up"]["w"], starts + np.uint64(10))
    assert not details["attempted"]["down"]["w"].any()
    # totals stay what they are: modulo 2^32
    total = spt.pulse_counts(state)["training"]["w"]
    np.testing.assert_array_equal(total, (starts + np.uint64(10)) % np.uint64(2**32))


def test_wide_numbers_add_like_integers_and_like_doubles():
    rng = np.random.default_rng(0)
    more = rng.integers(0, 2**32, size=(50, 7), dtype=np.uint32)
    add = jax.jit(lambda steps: jax.lax.scan(
        lambda total, n: (wide_sum(total, n), None), wide_zero((7,)), steps)[0])  # fmt: skip
    np.testing.assert_array_equal(wide_value(add(more)), more.astype(np.uint64).sum(0))
    # a million additions of 0.3 to 2^24: in single precision every one of them is lost
    begin = Wide(jnp.zeros(()), jnp.float32(2.0**24))
    sum_up = jax.jit(lambda total: jax.lax.fori_loop(
        0, 1_000_000, lambda _, t: wide_sum(t, jnp.float32(0.3)), total))  # fmt: skip
    expected = 2.0**24 + 1_000_000 * float(np.float32(0.3))
    np.testing.assert_allclose(wide_value(sum_up(begin)), expected, rtol=2e-8)


def test_expected_pulses_of_the_mean_are_counted(key):
    state = follow(make("erider", key, method="mean", count="detailed"))[-1]
    details = spt.pulse_details(state)["training"]["attempted"]
    total = spt.pulse_counts(state)["training"]["w"]
    assert details["up"]["w"].dtype == np.float64
    np.testing.assert_allclose(details["up"]["w"] + details["down"]["w"], total, rtol=1e-5)


@pytest.mark.parametrize("name", ["erider", "columns of erider", "agad"])
def test_synchronisations_are_counted(key, name):
    """How often Q~ changed, and by how many steps of P; the path of the state says the same."""
    spec = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)
    gradients = jnp.concatenate([GRADS, GRADS[::-1], GRADS])
    states = follow(make(name, key, spec, count="detailed"), gradients)
    held = np.stack([np.asarray(s.held_sp["w"], float) for s in states])
    signs = np.stack([np.broadcast_to(s.chopper["w"], (3, 2)) for s in states])
    flips = np.diff(signs, axis=0) != 0
    found = spt.pulse_details(states[-1])["programming"]
    np.testing.assert_array_equal(found["rewrites"]["w"], flips.sum(0))
    steps = np.round(np.diff(held, axis=0) / float(states[-1].residual.device["w"].dw_min))
    assert np.all(steps[~flips] == 0) and flips.any() and np.any(steps != 0)
    for direction, sign in (("up", 1), ("down", -1)):
        np.testing.assert_array_equal(
            found["attempted"][direction]["w"], np.maximum(sign * steps, 0).sum(0)
        )


def test_energy_is_the_table_times_the_counts(key):
    details = spt.pulse_details(follow(make("erider", key, count="detailed"))[-1])
    attempted = {purpose: parts["attempted"] for purpose, parts in details.items()}
    table = {purpose: {"up": 1.5, "down": 0.5} for purpose in attempted}
    with jax.enable_x64(True):
        energy = spt.costs.pulse_energy(attempted, table)
    for purpose, parts in attempted.items():
        expected = 1.5 * parts["up"]["w"].sum() + 0.5 * parts["down"]["w"].sum()
        np.testing.assert_allclose(energy[purpose], expected, rtol=1e-12)


def test_trains_report_saturation_through_the_optimizer(key):
    """lr |x d| / dw_min = 100 and 20 pulses, BL = 31: one of two samples is short of 69."""
    factors = spt.Factors(jnp.array([[1.0], [0.2]]), jnp.ones((2, 1)))
    for name in ("analog_sgd", "erider"):
        tx = make(name, key, learning_rate=1.0, count="detailed")
        params = {"w": jnp.zeros((1, 1))}
        _, state = tx.update({"w": factors}, tx.init(params), params)
        report = spt.optimizers.saturation_report(state)["w"]
        assert (int(report.samples), int(report.saturated)) == (2, 1)
        np.testing.assert_allclose([report.wanted, report.lost], [120, 69], rtol=1e-5)
        sent = spt.pulse_details(state)["training"]["attempted"]
        assert int(sent["down"]["w"][0, 0] + sent["up"]["w"][0, 0]) in range(31 + 15, 31 + 21)
        longer = make(name, key, learning_rate=1.0, count="detailed",
                      train=spt.PulseTrain(desired_bl=128))  # fmt: skip
        _, state = longer.update({"w": factors}, longer.init(params), params)
        assert int(spt.optimizers.saturation_report(state)["w"].saturated) == 0


def test_wrapped_states_and_populations_are_counted(key):
    """partition with another analog optimizer; vmap over keys, member by member."""
    labels = {"w": "sgd", "v": "erider", "b": "digital"}
    tx = optax.partition(
        {
            "sgd": make("analog_sgd", key, count="detailed"),
            "erider": make("erider", key, count="detailed"),
            "digital": optax.sgd(0.1),
        },
        labels,
    )
    params = {"w": WEIGHT, "v": WEIGHT, "b": jnp.zeros(2)}
    grads = {"w": GRADS[0], "v": GRADS[0], "b": jnp.ones(2)}
    _, state = tx.update(grads, tx.init(params), params)
    details = spt.pulse_details(state)
    for outcome in ("attempted", "stuck"):
        tree = details["training"][outcome]["up"]
        assert isinstance(tree["b"], optax.MaskedNode)
        assert tree["w"].shape == tree["v"].shape == (3, 2)
    assert details["training"]["attempted"]["up"]["w"].any()
    assert not details["transfer"]["attempted"]["up"]["w"].any()
    assert isinstance(details["programming"]["rewrites"]["w"], optax.MaskedNode)

    spec = spt.LinearResponse(dw_min=0.01, asymmetry_std=0.1)

    def run(key):
        tx, params = make("erider", key, spec, count="detailed"), {"w": WEIGHT}
        return tx.update({"w": GRADS[0]}, tx.init(params), params)[1]

    keys = jax.random.split(key, 3)
    together = spt.pulse_details(jax.jit(jax.vmap(run))(keys))
    alone = spt.pulse_details(jax.jit(run)(keys[1]))
    for one, other in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(one[1], other)


def test_nonsense_is_refused(key):
    for options, error, message in (
        ({"count": "all"}, ValueError, "count must be one of .*'detailed'.*got 'all'"),
        ({"train": "stochastic"}, TypeError, r"train must be a spt\.PulseTrain"),
    ):
        for name in ALGORITHMS:
            with pytest.raises(error, match=message):
                make(name, key, **options)
