"""Figures 1a and 1b at the size of a test: numbers against the published ones, and files."""

import csv
import json

import numpy as np
import pytest

from experiments import zero_shift_accuracy, zero_shift_cost

MODULES = {"zero_shift_accuracy": zero_shift_accuracy, "zero_shift_cost": zero_shift_cost}


@pytest.mark.parametrize("name", MODULES)
def test_a_smoke_run_writes_everything_and_a_resumed_one_computes_nothing(
    tmp_path, monkeypatch, name
):
    module = MODULES[name]
    module.main(["--smoke", "--out", str(tmp_path)])
    with (tmp_path / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert (tmp_path / f"{name}.nc").exists()
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["config"]["smoke"]
    work = "offsets" if name == "zero_shift_accuracy" else "pulses_needed"
    monkeypatch.setattr(module, work, None)  # calling it would raise
    module.main(["--smoke", "--out", str(tmp_path), "--resume"])
    if name == "zero_shift_accuracy":
        compared = 0
        for row in rows:  # 64 x 64 cells: the mean's own standard error is 0.1 / 64
            if row["mean_offset_reference"]:
                found, known = float(row["mean_offset"]), float(row["mean_offset_reference"])
                assert found == pytest.approx(known, rel=0.02, abs=1e-4)
                compared += 1
        assert compared == 9
    else:
        assert [int(r["pulses_on_grid"]) for r in rows] == [int(r["reference"]) for r in rows]
        assert zero_shift_cost.slope(
            [{k: float(v) for k, v in row.items()} for row in rows]
        ) == pytest.approx(-1, abs=0.05)


def test_the_exact_number_of_pulses_is_the_smallest_pair_that_is_accurate():
    error = lambda n: np.exp(-n / 500)
    found = zero_shift_cost._fewest(error, 8000, 0.01)
    assert found == pytest.approx(500 * np.log(100), rel=2e-3)
    assert error(found) < 0.01


def test_where_the_grid_ends_too_early_there_is_no_number(tmp_path, monkeypatch):
    """2000 pulses are enough for the largest of the three sizes of a pulse alone."""
    monkeypatch.setattr(zero_shift_cost, "GRID", (200, 500, 2000))
    zero_shift_cost.main(["--smoke", "--out", str(tmp_path)])
    with (tmp_path / "zero_shift_cost.csv").open() as file:
        found = [(row["pulses_on_grid"], row["pulses"]) for row in csv.DictReader(file)]
    assert found[0][0] == "2000" and 1000 < float(found[0][1]) < 2000
    assert found[1:] == [("", ""), ("", "")]


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("zero_shift_accuracy", ["--step", "501"], "even"),
        ("zero_shift_accuracy", ["--seeds", "0"], "at least 1"),
        ("zero_shift_cost", ["--accuracy", "1.5"], "between 0 and 1"),
    ],
)
def test_wrong_values_are_refused(tmp_path, name, flags, message):
    with pytest.raises(SystemExit, match=message):
        MODULES[name].main(["--out", str(tmp_path), *flags])
