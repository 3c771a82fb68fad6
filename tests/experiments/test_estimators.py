"""The finite sum of the study of estimators, against all outcomes, and its files."""

import csv
import itertools

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


def test_estimators_are_what_the_page_says(tmp_path, monkeypatch):
    flags = ["--lengths", "2", "--samples", "20000", "--out", str(tmp_path)]
    study.main(flags)
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


@pytest.mark.parametrize("flags", [["--lengths", "0"], ["--samples", "3"]])
def test_wrong_values_are_refused(tmp_path, flags):
    with pytest.raises(SystemExit, match="must be at least"):
        study.main(["--out", str(tmp_path), *flags])
