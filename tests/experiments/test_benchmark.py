"""The benchmark: turns and ratios with clocks of our own, refusals, and a trial of all parts."""

import csv
import json
import math

import numpy as np
import pytest

from experiments import benchmark
from experiments import benchmark_clock as clock


def test_programs_take_turns_and_warm_up():
    calls = []
    programs = [
        clock.Program(name, lambda name=name: calls.append(name), amount=2.0) for name in "ab"
    ]
    records = clock.take_turns(programs, 3)
    assert "".join(calls) == "ab" * 4  # the first turn isn't timed
    assert records["seconds"].shape == (2, 3)


def test_rows_have_the_least_time_and_its_ratios():
    records = {
        "program": np.array(["ours", "theirs"]),
        "peer": np.array(["theirs", ""]),
        "seconds": np.array([[4.0, 2.0, 3.0], [10.0, 8.0, 9.0]]),
        "copy_seconds": np.array([[1.0, 0.5, 1.0], [np.nan] * 3]),
        "amount": np.array([2.0, 1.0]),
        "load": np.array([0.5, 0.5]),
        "loss": np.array([0.1, np.nan]),
    }
    ours, theirs = clock.rows(records, "ms_per_step", 1e3)
    assert ours["ms_per_step"] == 1000 and ours["median"] == 1500
    assert ours["times_copy"] == 4 and ours["times_aihwkit"] == 1 / 8
    assert theirs["ms_per_step"] == 8000 and theirs["loss"] is None
    assert theirs["times_copy"] is None and theirs["times_aihwkit"] is None


def test_more_is_known_after_the_turns():
    program = clock.Program("a", lambda: None, 1.0, about={"x": 1.0}, after=lambda: {"y": 2.0})
    records = clock.take_turns([program, clock.Program("b", lambda: None, 1.0)], 1)
    assert records["x"][0] == 1 and records["y"][0] == 2
    assert math.isnan(records["x"][1])


def test_a_copy_moves_its_bytes():
    """Its result is what was added: one per call and piece."""
    program = clock.Program("a", lambda: None, amount=10.0, moved=1000.0)
    assert np.isfinite(clock.take_turns([program], 2)["copy_seconds"]).all()


@pytest.mark.parametrize("flags", [["--steps", "0"], ["--populations", "0"], ["--repeats", "-1"]])
def test_numbers_that_make_no_measurement_are_refused(flags):
    with pytest.raises(SystemExit, match="at least 1"):
        benchmark.main(flags)


def test_a_peer_that_is_absent_is_named(monkeypatch):
    monkeypatch.setattr(benchmark.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="aihwkit is not installed"):
        benchmark.main(["--against-aihwkit"])


@pytest.mark.slow
def test_a_trial_of_all_parts(tmp_path, capsys):
    benchmark.main(["--smoke", "--out", str(tmp_path)])
    for part in ("zero_shifting", "steps", "start"):
        with (tmp_path / f"{part}.csv").open() as file:
            assert list(csv.DictReader(file))
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["chip"]
    assert "E-RIDER" in capsys.readouterr().out
