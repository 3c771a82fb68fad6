"""The study of fast calibration: factors counted right, files written."""

import csv

import numpy as np
import pytest

from experiments import fast_calibration

pytest.importorskip("tyro")


def test_the_factor_is_counted_where_zero_shifting_first_has_the_error():
    """An error of exp(-n / 100): 0.01 is reached at n = 460.5."""
    config = fast_calibration.Config(longest=1000)
    grid = fast_calibration.zero_shift_grid(config)
    assert grid[-1] == 1000 and not np.any(grid % 2)
    curve = np.exp(-grid / 100)
    found = fast_calibration.pulses_to(0.01, curve, grid)
    assert found == grid[grid >= 100 * np.log(100)][0]
    assert fast_calibration.pulses_to(1e-9, curve, grid) is None


def test_a_small_run_writes_the_table_and_the_figure(tmp_path, monkeypatch):
    """Without noise, ours is better with 48 pulses than zero-shifting with 480."""
    monkeypatch.setattr(fast_calibration, "OURS", ("extrapolated", "fit"))
    few = ["--size", "16", "--seeds", "2", "--pulses", "48", "--longest", "480"]
    flags = ["--cells", "figure_1_soft_bounds", "--read-noises", "0", *few, "--out", str(tmp_path)]
    fast_calibration.main(flags)
    with (tmp_path / "fast_calibration.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    for row in rows:
        assert float(row["rms_error"]) < 0.1 * float(row["last at 10 x"])
        assert row["factor to last"].startswith(">")
    assert (tmp_path / "fast_calibration.png").stat().st_size > 10_000
    monkeypatch.setattr(fast_calibration, "errors", None)  # calling it would raise
    fast_calibration.main([*flags, "--resume"])


def test_too_few_pulses_are_refused(tmp_path):
    with pytest.raises(SystemExit, match="at least 16"):
        fast_calibration.main(["--pulses", "8", "--out", str(tmp_path)])
