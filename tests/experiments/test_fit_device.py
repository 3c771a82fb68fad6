"""The commands about fits: files, a spec that trains, errors that say what to do."""

import csv
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from experiments import fit_coverage, fit_device

pytest.importorskip("tyro")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a fit of the traces that --smoke takes, from a file."""
    place = tmp_path_factory.mktemp("fit")
    spt.write_traces(fit_device.simulated(), place / "data.csv")
    fit_device.main([str(place / "data.csv"), "--draws", "50", "--out", str(place / "out")])
    return place


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_the_files_say_what_the_fit_found(folder):
    rows = rows_of(folder / "out" / "fit.csv")
    assert len(rows) == 2 + 8 + 4 * 4
    read_noise = next(row for row in rows if row["parameter"] == "read_noise_std")
    assert abs(float(read_noise["value"]) - 0.02) < 4.5 * float(read_noise["std_error"])
    assert (folder / "out" / "fit.png").stat().st_size > 10_000
    manifest = json.loads((folder / "out" / "manifest.json").read_text())
    assert len(manifest["config"]["data_sha256"]) == 64


def test_the_spec_of_the_file_trains(folder):
    found = json.loads((folder / "out" / "fit.json").read_text())
    assert found["verdict"] == "not refuted" and found["converged"]
    spec = getattr(spt, found["spec"]["class"])(**found["spec"]["fields"])
    tx = spt.analog_sgd(0.1, weight_spec=spec, key=jax.random.key(0))
    params = jnp.zeros(3)
    updates, _ = tx.update(jnp.ones(3), tx.init(params), params)
    assert np.all(updates < 0)


def test_other_data_under_the_same_flags_are_another_configuration(folder):
    data = folder / "data.csv"
    before = data.read_text()
    try:
        data.write_text(before + "# changed\n")
        with pytest.raises(SystemExit, match=r"another configuration.*data_sha256"):
            fit_device.main([str(data), "--draws", "50", "--out", str(folder / "out")])
    finally:
        data.write_text(before)


def test_a_comparison_is_sorted_and_calls_the_wrong_wrong(tmp_path, monkeypatch):
    """Constant steps for cells whose steps vanish at the bounds: far off, and told so."""
    monkeypatch.setattr(fit_device, "FAMILIES", ("constant_step", "soft_bounds"))
    kinds = spt.compare_fits
    additive = lambda traces, families, **o: kinds(traces, families, mult_noise=[False], **o)
    monkeypatch.setattr(spt, "compare_fits", additive)
    fit_device.main(["--smoke", "--compare", "--draws", "20", "--out", str(tmp_path)])
    best, other = rows_of(tmp_path / "comparison.csv")
    assert (best["family"], other["family"]) == ("soft_bounds", "constant_step")
    assert (best["verdict"], other["verdict"]) == ("not refuted", "wrong family")
    assert float(other["aic - best"]) > 100
    assert json.loads((tmp_path / "fit.json").read_text())["family"] == "soft_bounds"


@pytest.mark.parametrize(
    ("lines", "flags", "message"),
    [
        (["a,1,1,0.1", "a,2,1,0.1x"], [], r"data\.csv, line 3: weight must be a finite number"),
        (["a,1,1,0.1"], [], "needs at least 7 reads of every cell, got 1 of cell 'a'"),
        (["a,1,1,0.1"], ["--family", "soft"], "--family must be one of.*'soft'"),
        (["a,1,1,0.1"], ["--draws", "5"], "--draws must be at least 20"),
        (None, [], r"Name a file: python -m experiments\.fit_device data\.csv"),
    ],
)
def test_what_cannot_be_fitted_is_told(tmp_path, lines, flags, message):
    words = []
    if lines is not None:
        (tmp_path / "data.csv").write_text("\n".join(["cell,pulse,direction,weight", *lines]))
        words = [str(tmp_path / "data.csv")]
    with pytest.raises(SystemExit, match=message):
        fit_device.main([*words, "--out", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_coverage_counts_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(
        fit_coverage, "WRONG", {"constant_step": fit_coverage.WRONG["constant_step"]}
    )
    fit_coverage.main(["--smoke", "--out", str(tmp_path)])
    rows = {row["what"]: row for row in rows_of(tmp_path / "fit_coverage.csv")}
    assert int(rows["cell: all parameters"]["of"]) == 2 * 4 * 4
    assert float(rows["cell: all parameters"]["share"]) > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 32)
    assert float(rows["fits that converged"]["share"]) == 1
    monkeypatch.setattr(fit_coverage, "fit_alike", None)  # calling it would raise
    fit_coverage.main(["--smoke", "--out", str(tmp_path), "--resume"])


def test_shares_have_the_standard_error_over_devices():
    row = fit_coverage._share("x", np.array([[1, 1], [0, 1], [0, 0]]))
    assert (row["share"], row["of"]) == (0.5, 6)
    assert row["std_error"] == pytest.approx(0.5 / np.sqrt(3))


def test_repeats_must_be_positive(tmp_path):
    with pytest.raises(SystemExit, match=">= 1"):
        fit_coverage.main(["--repeats", "0", "--out", str(tmp_path)])
