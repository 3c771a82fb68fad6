"""The finite sum of the study of estimators, against all outcomes, and its files."""

import csv
import itertools

import jax
import numpy as np
import pytest

from experiments import estimators as study


@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_finite_sum_is_the_sum_over_all_bits(length):
    """All bits of three lines, pulse by pulse, in plain Python."""

    def expected(x):
        root = np.sqrt(study.RATE / (study.DW_MIN * length))
        p = np.minimum(np.abs([*x, study.D[0]]) * root, 1)
        total = 0.0
        for bits in itertools.product((0, 1), repeat=3 * length):
            fired = np.reshape(bits, (3, length))
            w = study.W[:, 0].copy()
            for cell in (0, 1):
                for _ in range(np.sum(fired[cell] & fired[2])):
                    rises = x[cell] * study.D[0] < 0
                    w[cell] += study.DW_MIN * (1 - w[cell] / 2 if rises else -1 - w[cell] / 2)
            loss = np.sum((w - study.TARGET[:, 0]) ** 4 + np.sin(3 * w)) + 2 * w[0] * w[1]
            total += np.prod(np.where(fired == 1, p[:, None], 1 - p[:, None])) * loss
        return total

    steps = 1e-6 * np.eye(2)
    slopes = [(expected(study.X + s) - expected(study.X - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(study.exact(length), slopes, rtol=1e-6)


def test_losses_of_all_choppers_are_those_of_the_optimizer():
    """By key: the optimizer's loss is one of those of as many flips."""
    flips = np.array(list(itertools.product((0.0, 1.0), repeat=study.STEPS)))
    losses, p = jax.vmap(study.chopped_loss)(flips), 0.3
    keys = jax.random.split(jax.random.key(0), 30)
    found, log_probs = jax.jit(jax.vmap(lambda key: study.chopped_run(key, p, "scalar")))(keys)
    numbers = np.round((log_probs - study.STEPS * np.log(1 - p)) / np.log(p / (1 - p)))
    for loss, number in zip(found, numbers, strict=True):
        assert np.min(np.abs(losses[flips.sum(1) == number] - loss)) < 1e-5
    assert len(np.unique(numbers)) > 3


def test_estimators_are_what_the_page_says(tmp_path, monkeypatch):
    flags = ["--lengths", "2", "--flip-probs", "0.3", "--samples", "20000"]
    flags += ["--out", str(tmp_path)]
    study.main(flags)
    with (tmp_path / "choppers.csv").open() as file:
        rows = {row["estimator"]: row for row in csv.DictReader(file)}
    bias = {name: abs(float(row["bias"])) for name, row in rows.items()}
    error = {n: float(row["std_error"]) / float(row["exact"]) for n, row in rows.items()}
    assert bias["score"] < 4.5 * error["score"]
    assert error["score"] < 0.05
    assert 4.5 * error["relaxed"] < bias["relaxed"] < 0.5  # biased, as declared
    with (tmp_path / "estimators.csv").open() as file:
        rows = {row["estimator"]: row for row in csv.DictReader(file)}
    bias = {name: float(row["bias"]) for name, row in rows.items()}
    error = {name: float(row["bias_error"]) for name, row in rows.items()}
    assert bias["score"] < 4.5 * error["score"]
    assert bias["straight through"] > 20 * error["straight through"]
    assert bias["straight through"] == pytest.approx(bias["mean field"], abs=0.01)
    assert 10 * error["score"] < error["score, no baseline"]
    assert (tmp_path / "estimators.png").stat().st_size > 10_000
    monkeypatch.setattr(study, "estimates", None)
    study.main([*flags, "--resume"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lengths", "0"], "must be at least"),
        (["--samples", "3"], "must be at least"),
        (["--flip-probs", "0.1", "1"], r"--flip-probs must be inside \(0, 1\), got \(0\.1, 1\.0\)"),
    ],
)
def test_wrong_values_are_refused(tmp_path, flags, message):
    with pytest.raises(SystemExit, match=message):
        study.main(["--out", str(tmp_path), *flags])
