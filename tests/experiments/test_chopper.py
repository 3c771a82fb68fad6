"""Figs. 3 and 5: files of a smoke run, the filter's rates, and the spectrum against its law."""

import csv

import numpy as np
import pytest

import sptrack as spt
from experiments import chopper


def test_a_smoke_run_writes_everything_and_a_resumed_one_computes_nothing(tmp_path, monkeypatch):
    chopper.main(["--smoke", "--out", str(tmp_path)])
    with (tmp_path / "chopper.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["reading"], r["chop_prob"], r["eta"]) for r in rows] == [
        ("held", "0", "1"), ("held", "0.5", "1"), ("tracked", "0", "1"), ("tracked", "0.5", "1"),
    ]  # fmt: skip
    assert all(float(r["pulses_training"]) > 1 for r in rows)
    assert (tmp_path / "chopper.png").stat().st_size > 10_000
    assert dict(spt.results.load(tmp_path / "chopper.nc").sizes)["reading"] == 2
    monkeypatch.setattr(chopper, "train_population", None)  # calling it would raise
    monkeypatch.setattr(chopper, "follow_array", None)
    before = (tmp_path / "chopper.csv").read_bytes()
    chopper.main(["--smoke", "--out", str(tmp_path), "--resume"])
    assert (tmp_path / "chopper.csv").read_bytes() == before


def test_the_filter_follows_lemma_3_10_and_finds_the_symmetric_point():
    records = chopper.follow_array(8192)
    above = records["omega"] > 0.05  # five cutoffs: no leakage of the window from below
    ratio = records["power_Q"][above] / records["predicted_Q"][above]
    assert abs(np.log(ratio)).max() < 0.2 and abs(np.log(np.median(ratio))) < 0.005
    # White numbers through the same filter, in a loop of NumPy, have the same gain.
    white, q = np.random.default_rng(0).normal(size=(4096, 64)), np.zeros((4096, 64))
    for t in range(1, len(q)):
        q[t] = q[t - 1] + chopper.SPECTRUM["eta"] * (white[t] - q[t - 1])
    omega, gain = chopper.spectrum(q)
    gain = gain / chopper.spectrum(white)[1]
    known = np.abs(np.asarray(spt.theory.low_pass_response(chopper.SPECTRUM["eta"], omega))) ** 2
    np.testing.assert_allclose(gain[omega > 0.05], known[omega > 0.05], rtol=0.2)
    later = records["mean_Q"][len(records["mean_Q"]) // 2 :]
    assert later.mean() == pytest.approx(float(records["mean_truth"]), abs=0.03)


def test_white_noise_has_a_flat_spectrum_of_its_variance():
    signal = 2 * np.random.default_rng(0).normal(size=(16384, 32))
    _, power = chopper.spectrum(signal)
    assert power.mean() == pytest.approx(4, rel=0.01)


def test_filter_rates_follow_the_released_rule():
    np.testing.assert_allclose(chopper.filter_rates([0, 0.05, 0.1, 0.5]), [0.25, 0.25, 0.5, 1])
    np.testing.assert_allclose(chopper.filter_rates([0]), [0.25])


@pytest.mark.parametrize(
    "flags",
    [
        ["--chop-probs", "1.5"],
        ["--chop-probs"],
        ["--seeds", "0"],
        ["--epochs", "0"],
        ["--steps", "3"],
    ],
)
def test_wrong_values_are_refused(tmp_path, flags):
    with pytest.raises(SystemExit, match=r"in \[0, 1\]|at least"):
        chopper.main(["--out", str(tmp_path), *flags])
