"""Drifting symmetric points: the optimizers against the closed forms, and the command's files."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from experiments import sp_drift

pytest.importorskip("tyro")


def of_keys(values):
    """Mean and standard error over keys."""
    values = np.asarray(values, float)
    return values.mean(), values.std(ddof=1) / np.sqrt(values.size)


@pytest.mark.parametrize("moves", ["response", "reference"])
def test_the_tracker_is_as_far_behind_as_theory_says(moves):
    """Lag and mean square of RIDER's Q, 24 arrays of 32 cells, within 4.5 standard errors.

    A drift raises P's variance by dw a / 2 = 0.5 % of the square of its lag.
    """
    keys = jax.random.split(jax.random.key(3), 24)
    v, eta = 3e-4, 0.02
    found = sp_drift.drifting(
        keys, jnp.array([v]), jnp.array([eta]), name="tracker", moves=moves, cells=32, steps=4000
    )
    theirs = sp_drift.predicted("tracker", moves, v, eta, 4000)
    lag, error = of_keys(found["lag"])
    assert error < 0.2 * theirs["lag"] and abs(lag - theirs["lag"]) < 4.5 * error
    square, error = of_keys(found["square"])
    assert abs(square - theirs["rms"] ** 2) < 4.5 * error + 0.005 * theirs["lag"] ** 2
    assert np.all(np.asarray(found["loss"]) == 0)  # W stands still


def test_only_what_is_moved_moves():
    """The response shifts; a weight only with its reference."""
    tx = sp_drift.algorithm("rider", 0.1, jax.random.key(0))
    state = tx.init(jnp.zeros(3))
    device = state.residual.device
    for carried in (0.0, 0.25):
        new = sp_drift.moved(state, device, 0.25, carried)
        np.testing.assert_allclose(
            spt.symmetric_point(new.residual.device), spt.symmetric_point(device) + 0.25, rtol=1e-5
        )
        np.testing.assert_array_equal(new.residual.hidden, carried)
        q = spt.response(new.residual.device, jnp.full(3, 0.25))
        np.testing.assert_allclose(q, spt.response(device, jnp.zeros(3)), rtol=1e-5)
    assert new.weight is state.weight and new.tracked_sp is state.tracked_sp


def test_predictions_without_a_closed_form_are_left_out():
    rider = sp_drift.predicted("rider", "response", 1e-4, 1e-3, 100)
    assert rider == {"lag": None, "rms": None, "followed": 0.5}
    frozen = sp_drift.predicted("frozen", "response", 1.0, 1e-3, 8)
    assert frozen["lag"] == np.mean([7, 8])  # S after steps 7 and 8, the last quarter of 8


def test_a_smoke_run_writes_the_table_and_the_figure(tmp_path, monkeypatch):
    """The frozen reference is behind by exactly what the symmetric points have moved."""
    runs = {part: sp_drift.RUNS[part] for part in ("tracker_response", "frozen")}
    monkeypatch.setattr(sp_drift, "RUNS", runs)
    sp_drift.main(["--smoke", "--out", str(tmp_path)])
    with (tmp_path / "sp_drift.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["algorithm"] for row in table] == ["tracker", "tracker", "frozen"]
    last = table[-1]
    assert last["eta"] == "" and float(last["followed"]) == pytest.approx(0, abs=1e-4)
    assert float(last["lag"]) == pytest.approx(float(last["predicted_lag"]), rel=1e-4)
    assert (tmp_path / "sp_drift.png").stat().st_size > 10_000
    monkeypatch.setattr(sp_drift, "drifting", None)  # calling it would raise
    sp_drift.main(["--smoke", "--out", str(tmp_path), "--resume"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "1"], "--seeds must be at least 2"),
        (["--drifts", "0"], r"--drifts must not be zero, got \(0\.0,\)"),
        (["--chop-prob", "0"], r"--chop-prob must be in \(0, 1\], got 0"),
        (["--etas", "0.1", "1.5"], r"in \(0, 1\], got \(0\.1, 1\.5\)"),
    ],
)
def test_wrong_values_are_refused(tmp_path, flags, message):
    with pytest.raises(SystemExit, match=message):
        sp_drift.main([*flags, "--out", str(tmp_path)])
