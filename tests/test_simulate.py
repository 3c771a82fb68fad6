"""The driver of runs: outer recorded steps of inner unrecorded ones."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import sptrack as spt


def step(state, t, data):
    """Uses the count, the data and a key, so that any of them going wrong shows."""
    noise = jax.random.normal(jax.random.fold_in(state["key"], t), state["x"].shape)
    x = 0.9 * state["x"] + data["drive"] * t + 0.1 * noise
    return {**state, "x": x, "steps": state["steps"] + 1}


def start(key):
    return {"x": jnp.arange(3.0), "steps": jnp.zeros([], jnp.int32), "key": key}


DATA = {"drive": jnp.array([0.1, -0.2, 0.3])}


def record(state, data):
    return {"x": state["x"], "scaled": state["x"] * data["drive"], "steps": state["steps"]}


def test_equals_a_python_loop(key):
    """Same bits as single compiled steps: scan and loop run the same operations in float32.

    Up to 1 ulp per step, 12 contracting steps: another fusion may round the last bit differently.
    """
    final, records = spt.simulate.run(
        step, start(key), outer_steps=4, inner_steps=3, record=record, data=DATA
    )
    state, single = start(key), jax.jit(step)
    for outer in range(4):
        for inner in range(3):
            state = single(state, jnp.int32(3 * outer + inner), DATA)
        np.testing.assert_allclose(records["x"][outer], state["x"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            records["scaled"][outer], state["x"] * DATA["drive"], rtol=1e-5, atol=1e-6
        )
        assert records["steps"][outer] == 3 * (outer + 1)
    np.testing.assert_array_equal(final["x"], records["x"][-1])
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(records))
    assert records["x"].shape == (4, 3) and records["steps"].shape == (4,)


def test_how_steps_are_cut_changes_nothing(key):
    """12 = 1 x 12 = 12 x 1 = 4 x 3, bit for bit: the count goes on."""
    finals = [
        spt.simulate.run(step, start(key), outer_steps=outer, inner_steps=12 // outer, data=DATA)[0]
        for outer in (1, 4, 12)
    ]
    for final in finals[1:]:
        np.testing.assert_array_equal(final["x"], finals[0]["x"])
        assert final["steps"] == 12


def test_the_callers_state_stays_valid(key):
    """The driver donates its own copy; a second run from the same state gives the same."""
    state = start(key)
    first = spt.simulate.run(step, state, outer_steps=3, inner_steps=2, data=DATA)[0]
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((state, DATA)))
    assert state["x"].tolist() == [0, 1, 2]
    second = spt.simulate.run(step, state, outer_steps=3, inner_steps=2, data=DATA)[0]
    np.testing.assert_array_equal(first["x"], second["x"])


def test_without_a_record_nothing_is_kept(key):
    final, records = spt.simulate.run(step, start(key), outer_steps=2, inner_steps=2, data=DATA)
    assert records is None and final["steps"] == 4


def test_drives_an_optimizer_and_a_population(key):
    """vmap of the step is a population; members are the single runs, to float32 rounding."""
    tx = spt.rider(
        0.1, residual_spec=spt.LinearResponse(), weight_spec=spt.IdealStep(), transfer_rate=0.1,
        key=key, method="mean",
    )  # fmt: skip

    def train(state, t, data):
        params, opt_state = state
        updates, opt_state = tx.update(params - data, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    targets = jnp.array([[0.1, 0.2], [0.3, -0.1]])
    begin = jnp.zeros(2), tx.init(jnp.zeros(2))
    record = lambda state, data: state[0]
    steps = {"outer_steps": 3, "inner_steps": 4}
    many = jax.tree.map(lambda x: jnp.stack([x, x]), begin)
    _, together = spt.simulate.run(
        jax.vmap(train, in_axes=(0, None, 0)), many, record=record, data=targets, **steps
    )
    assert together.shape == (3, 2, 2)
    for i in range(2):
        _, alone = spt.simulate.run(train, begin, record=record, data=targets[i], **steps)
        np.testing.assert_allclose(together[:, i], alone, rtol=1e-6, atol=1e-7)
    assert np.abs(together[-1] - targets).max() < 0.9 * np.abs(targets).max()


@pytest.mark.parametrize("name", ["outer_steps", "inner_steps"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3"])
def test_numbers_of_steps_are_positive_integers(name, value):
    steps = {"outer_steps": 1, "inner_steps": 1, name: value}
    with pytest.raises(ValueError, match=rf"{name} must be an integer >= 1, got {value!r}"):
        spt.simulate.run(lambda x, t, data: x, jnp.zeros(1), **steps)


def test_a_misspelt_argument_is_refused():
    with pytest.raises(TypeError, match="inner_step"):
        spt.simulate.run(lambda x, t, data: x, jnp.zeros(1), outer_steps=1, inner_step=1)


@pytest.mark.parametrize("progress", [True, "training"])
def test_progress_is_silent_without_a_terminal(capsys, progress):
    spt.simulate.run(
        lambda x, t, data: x + 1, jnp.zeros(1), outer_steps=2, inner_steps=1, progress=progress
    )
    assert capsys.readouterr() == ("", "")


def test_progress_shows_its_title_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    spt.simulate.run(
        lambda x, t, data: x + 1, jnp.zeros(1), outer_steps=2, inner_steps=1, progress="training"
    )
    err = capsys.readouterr().err
    assert "training" in err and "2/2" in err


def test_progress_without_tqdm_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r"pip install 'sptrack\[progress\]'"):
        spt.simulate.run(
            lambda x, t, data: x, jnp.zeros(1), outer_steps=1, inner_steps=1, progress=True
        )
