"""The comparison of all algorithms: what it writes, and that every name can be trained."""

import csv
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from experiments import algorithms
from experiments.settings import ALGORITHMS, SETTINGS, analog
from experiments.training import UNITS


def test_a_run_leaves_a_row_per_offset_and_algorithm(tmp_path, monkeypatch, capsys):
    def train(make, config, dataset, keys, *, numbers, progress, checkpoint):
        assert numbers["mean"] == [0.0, 0.0, 0.4, 0.4]
        same = jax.random.key_data(keys)
        np.testing.assert_array_equal(same[:2], same[2:])  # a seed's cells at both offsets
        values = np.tile(np.array(numbers["mean"])[:, None], config.epochs)
        return {name: values + 0.5 for name in UNITS}

    monkeypatch.setattr(algorithms, "train_population", train)
    out = ["--out", str(tmp_path), "--seeds", "2", "--epochs", "3"]
    algorithms.main([*out, "--algorithms", "agad", "digital_sgd"])
    with (tmp_path / "algorithms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["offset"], r["algorithm"]) for r in rows] == [
        ("0 ± 0.05", "agad"),
        ("0 ± 0.05", "digital_sgd"),
        ("0.4 ± 0.4", "agad"),
        ("0.4 ± 0.4", "digital_sgd"),
    ]
    assert [float(r["accuracy_percent"]) for r in rows] == [50, 50, 90, 90]
    assert float(rows[0]["update_ns"]) == pytest.approx(62.1, abs=0.1)
    assert rows[1]["update_ns"] == ""
    assert (tmp_path / "algorithms.png").stat().st_size > 10_000
    assert dict(spt.results.load(tmp_path / "algorithms.nc").sizes)["epoch"] == 3
    assert "agad" in capsys.readouterr().out


@pytest.mark.parametrize("flags", [["--algorithms", "adam"], ["--seeds", "0"], ["--epochs", "0"]])
def test_wrong_values_are_refused(tmp_path, flags):
    with pytest.raises(SystemExit, match=r"adam|at least 1"):
        algorithms.main(["--out", str(tmp_path), *flags])


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_every_algorithm_can_be_made_for_every_data_set(key, name, dataset):
    size = types.SimpleNamespace(train_labels=np.zeros(100, np.int32))
    cells = spt.presets.reram_array_om(reference_mean=0.4)
    tx = analog(name, key, cells, SETTINGS[dataset], size)
    state = jax.eval_shape(tx.init, {"w": jnp.zeros((4, 3))})
    grads = {"w": jnp.ones((4, 3))}
    updates, _ = jax.eval_shape(tx.update, grads, state, grads)
    assert updates["w"].shape == (4, 3)
