"""The main job as a newcomer meets it: files, second runs, wrong flags, interruption."""

import csv
import json

import numpy as np
import pytest

import sptrack as spt
from experiments import quickstart
from sptrack import _checkpoint

RECORDS = ("test_accuracy", "train_loss", "sp_rms_error", "weight_rms")
PULSES = ("pulses_calibration", "pulses_training", "pulses_transfer")


@pytest.fixture
def fake_training(monkeypatch):
    """Replaces training by records that depend on nothing but the algorithm's order."""
    calls = []

    def train(analog, config, dataset, keys, *, progress=False, checkpoint=None):
        calls.append(progress)
        shape = (len(keys), config.epochs)
        return {name: np.full(shape, len(calls) / 10) for name in RECORDS + PULSES}

    monkeypatch.setattr(quickstart, "train_population", train)
    return calls


def command(out, *flags):
    quickstart.main(["--out", str(out), "--epochs", "2", *flags])


def test_a_run_leaves_table_dataset_figure_and_manifest(tmp_path, fake_training, capsys):
    command(tmp_path)
    with (tmp_path / "quickstart.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["algorithm"] for row in rows] == list(quickstart.ALGORITHMS)
    assert float(rows[3]["accuracy_percent"]) == pytest.approx(40)
    dataset = spt.results.load(tmp_path / "quickstart.nc")
    assert dict(dataset.sizes) == {"algorithm": 7, "seed": 3, "epoch": 2}
    assert dataset.sp_rms_error.attrs["units"] == "weight"
    assert (tmp_path / "quickstart.png").stat().st_size > 10_000
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["config"]["config"]["dataset"] == "digits"
    assert manifest["config"]["setting"]["rates"]["gamma"] > 0
    assert "erider" in capsys.readouterr().out


def test_the_same_run_again_is_fine_another_one_is_refused(tmp_path, fake_training):
    command(tmp_path, "--algorithms", "erider")
    command(tmp_path, "--algorithms", "erider")
    before = (tmp_path / "quickstart.csv").read_bytes()
    with pytest.raises(SystemExit, match=r"another configuration \(different: .*reference_mean"):
        command(tmp_path, "--algorithms", "erider", "--reference-mean", "0.1")
    assert (tmp_path / "quickstart.csv").read_bytes() == before
    command(tmp_path, "--algorithms", "erider", "--reference-mean", "0.1", "--overwrite")
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["config"][
        "reference_mean"
    ] == pytest.approx(0.1)


def test_interruption_keeps_what_finished(tmp_path, fake_training, monkeypatch, capsys):
    train = quickstart.train_population

    def interrupted(*arguments, **options):
        if len(fake_training) == 2:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    monkeypatch.setattr(quickstart, "train_population", interrupted)
    with pytest.raises(SystemExit) as stop:
        command(tmp_path)
    assert stop.value.code == 130
    assert "digital_sgd, frozen" in capsys.readouterr().out
    with (tmp_path / "quickstart.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2
    monkeypatch.setattr(quickstart, "train_population", train)
    command(tmp_path, "--resume")
    assert len(fake_training) == len(quickstart.ALGORITHMS)  # the first two were not done again


def test_resume_continues_within_a_training(tmp_path, monkeypatch):
    """Stopped after the third of five epochs: two are left, and the results are the same bits."""
    flags = ["--algorithms", "digital_sgd", "--seeds", "1", "--epochs", "5"]
    quickstart.main(["--out", str(tmp_path / "whole"), *flags])
    assert not list((tmp_path / "whole").glob("parts/*.checkpoint.npz"))
    written, write = [], _checkpoint.Checkpoint.write

    def stop_after_three(self, done, state, records):
        write(self, done, state, records)
        written.append(done)
        if written == [0, 1, 2, 3]:
            raise KeyboardInterrupt

    monkeypatch.setattr(_checkpoint.Checkpoint, "write", stop_after_three)
    stopped = ["--out", str(tmp_path / "stopped"), *flags]
    with pytest.raises(SystemExit):
        quickstart.main(stopped)
    quickstart.main([*stopped, "--resume"])
    assert written == [0, 1, 2, 3, 4, 5]
    whole, resumed = (
        spt.results.digest(spt.results.load(tmp_path / name / "quickstart.nc"))
        for name in ("whole", "stopped")
    )
    assert resumed == whole


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "--seeds and --epochs must be at least 1"),
        (["--reference-std", "-1"], "reference_std=-1.0 is out of range"),
    ],
)
def test_wrong_values_are_refused_before_anything_runs(tmp_path, flags, message, fake_training):
    with pytest.raises((SystemExit, ValueError), match=message):
        command(tmp_path, *flags)
    assert not fake_training


@pytest.mark.parametrize("flags", [["--dataset", "imagenet"], ["--sedes", "3"]])
def test_unknown_flags_and_choices_are_refused(tmp_path, flags, capsys, fake_training):
    with pytest.raises(SystemExit) as stop:
        command(tmp_path, *flags)
    assert stop.value.code == 2
    assert flags[-1] in capsys.readouterr().err or flags[0] in capsys.readouterr().err
