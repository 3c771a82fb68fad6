"""The link that puts increments through an array, and the functions on an array's state."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt
from tests.support import QUIET

BOUNDED = spt.LinearResponse(dw_min=0.01, tau_max=0.5, tau_min=0.4)
NOISY = spt.presets.reram_array_om(reference_mean=0.4, reference_std=0.4)


def test_lands_on_the_array_and_corrects_clipped_parameters(key):
    """Parameters outside the bounds are programmed to them; the first update says so."""
    tx = spt.apply_device(BOUNDED, key=key)
    params = jnp.array([0.9, -0.9, 0.1])
    state = tx.init(params)
    np.testing.assert_allclose(state.weight.hidden, [0.5, -0.4, 0.1], rtol=1e-6)
    updates, state = tx.update(jnp.zeros(3), state, params)
    np.testing.assert_allclose(optax.apply_updates(params, updates), [0.5, -0.4, 0.1], rtol=1e-6)


def test_emits_reads_of_an_array_that_starts_at_zero(key):
    tx = spt.apply_device(spt.IdealStep(), key=key, emit="read")
    state = tx.init(jnp.ones(2))
    out, state = tx.update(jnp.array([0.5, -0.25]), state)  # needs no params
    assert out.tolist() == [0.5, -0.25]
    out, _ = tx.update(jnp.array([0.5, -0.25]), state)
    assert out.tolist() == [1.0, -0.5]


def test_reads_are_stable_between_writes(key):
    """Write noise is held: an increment of zero sends no pulse and changes no read."""
    tx = spt.apply_device(NOISY, key=key)
    params = jnp.zeros(50)
    state = tx.init(params)
    assert np.all(np.asarray(state.weight.shown != state.weight.hidden))
    for _ in range(2):
        before = state.weight
        _, state = tx.update(jnp.zeros(50), state, params)
        np.testing.assert_array_equal(state.weight.shown, before.shown)
        np.testing.assert_array_equal(state.weight.hidden, before.hidden)
        assert state.weight.pulses.sum() == 0


def test_leaves_with_the_same_shape_have_their_own_cells_and_noise(key):
    params = {"a": jnp.zeros(50), "b": jnp.zeros(50)}
    tx = spt.apply_device(NOISY, key=key)
    state = tx.init(params)
    assert not np.any(np.asarray(state.weight.device["a"].up == state.weight.device["b"].up))
    _, state = tx.update(jax.tree.map(lambda x: x + 1.0, params), state, params)
    assert not np.any(np.asarray(state.weight.shown["a"] == state.weight.shown["b"]))


def test_steps_have_noise_of_their_own(key):
    spec = spt.LinearResponse(dw_min=0.01, dw_min_std=0.3, tau_max=1e6, tau_min=1e6)
    tx = spt.apply_device(spec, key=key)
    params = jnp.zeros(50)
    moves, state = [], tx.init(params)
    for _ in range(3):
        before = state.weight.hidden
        _, state = tx.update(jnp.full(50, 0.05), state, params)
        moves.append(np.asarray(state.weight.hidden - before))
    assert abs(np.corrcoef(moves)[np.triu_indices(3, 1)]).max() < 4.5 / np.sqrt(50)


def test_true_symmetric_points_and_expected_pulses(key):
    spec = spt.LinearResponse(dw_min=0.01, center_std=0.2)
    tx = spt.apply_device(spec, key=key, method="mean")
    params = {"w": jnp.zeros(4)}
    state = tx.init(params)
    low, high = spt.bounds(state.weight.device["w"])
    points = spt.transforms.array_symmetric_points(state.weight)
    np.testing.assert_allclose(points["w"], (low + high) / 2, rtol=0, atol=1e-6)
    _, state = tx.update({"w": jnp.array([0.025, -0.025, 0.0, 0.1])}, state, params)
    # expected numbers |dw| / dw_min, one float32 division
    np.testing.assert_allclose(state.weight.pulses["w"], [2.5, 2.5, 0, 10], rtol=1e-6)


def test_showing_again_draws_new_noise_of_the_stated_std(key):
    spec = spt.ConstantStep(dw_min=0.01, write_noise_std=3.0, **QUIET)
    state = spt.transforms.init_array(key, spec, jnp.zeros((100, 100)))
    again = spt.transforms.show_array(jax.random.fold_in(key, 1), state)
    for noise in (state.shown, again.shown):
        assert abs(np.std(noise) / 0.03 - 1) < 4.5 / np.sqrt(2 * 10_000)
    assert abs(np.corrcoef(np.ravel(state.shown), np.ravel(again.shown))[0, 1]) < 0.045
    np.testing.assert_array_equal(again.hidden, state.hidden)


MATRICES = [((5, 3), 5, 3), ((4,), 1, 4), ((2, 2, 3, 4), 12, 4), ((), 1, 1), ((1, 1), 1, 1)]


@pytest.mark.parametrize(("shape", "columns", "rows"), MATRICES)
def test_columns_are_all_axes_but_the_last(shape, columns, rows):
    matrix = jnp.arange(float(np.prod(shape))).reshape(shape)
    flat = np.asarray(matrix).reshape(columns, rows)
    assert spt.transforms.num_columns(matrix) == columns
    assert spt.transforms.num_rows(matrix) == rows
    for by_rows, table in ((False, flat), (True, flat.T)):
        for j in range(len(table)):
            some = np.unique([j, len(table) - 1])[::-1]
            got = spt.transforms.lines(matrix, jnp.array(some), shape, rows=by_rows)
            np.testing.assert_array_equal(got, table[some])
            changed = spt.transforms.set_lines(matrix, jnp.array(some), -got - 1, rows=by_rows)
            assert changed.shape == shape
            expected = table.copy()
            expected[some] = -table[some] - 1
            expected = expected.T if by_rows else expected
            np.testing.assert_array_equal(np.reshape(changed, (columns, rows)), expected)


def test_lines_of_an_array_are_those_of_its_cells_and_leave_scalars(key):
    array = spt.transforms.init_array(key, NOISY, jnp.ones((4, 3)))
    some = spt.transforms.lines(array, jnp.array([2, 0]), (4, 3))
    np.testing.assert_array_equal(some.device.up, np.asarray(array.device.up)[[2, 0]])
    np.testing.assert_array_equal(some.hidden, np.asarray(array.hidden)[[2, 0]])
    assert some.device.dw_min.shape == ()
    assert type(some) is type(array) and type(some.device) is type(array.device)


def test_pulses_are_sent_and_counted_and_nan_makes_nan(key):
    spec = spt.ConstantStep(dw_min=0.1, write_noise_std=1.0, **QUIET)
    start = spt.transforms.init_array(key, spec, {"a": jnp.zeros(3), "b": jnp.zeros(1)})
    counts = {"a": jnp.array([2.0, jnp.nan, 0.0]), "b": jnp.array([-3])}
    state = spt.transforms.write_pulses(
        jax.random.fold_in(key, 1), start, counts, method="aggregate"
    )
    np.testing.assert_allclose(state.hidden["a"], [0.2, np.nan, 0.0], rtol=1e-6)
    np.testing.assert_allclose(state.hidden["b"], [-0.3], rtol=1e-6)
    assert state.pulses["a"].tolist() == [2, 0, 0] and state.pulses["b"].tolist() == [3]
    same = np.asarray(state.shown["a"] == start.shown["a"])
    assert same.tolist() == [False, False, True] and np.isnan(state.shown["a"][1])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"spec": spt.SoftBounds}, TypeError, r"spec must be.*SoftBounds\(\)"),
        ({"spec": None}, TypeError, r"spec must be.*None"),
        ({"method": "fast"}, ValueError, "'exact', 'aggregate', 'mean'.*'fast'"),
        ({"emit": "weights"}, ValueError, "'update' or 'read'.*'weights'"),
        ({"key": None}, TypeError, r"jax\.random\.key"),
    ],
)
def test_refuses(key, wrong, error, message):
    with pytest.raises(error, match=message):
        spt.apply_device(**{"spec": BOUNDED, "key": key, **wrong})


def test_integer_parameters_are_refused_with_their_path(key):
    with pytest.raises(TypeError, match=r"\['n'\].*int32.*optax\.partition"):
        spt.apply_device(BOUNDED, key=key).init({"n": jnp.zeros(2, jnp.int32)})
