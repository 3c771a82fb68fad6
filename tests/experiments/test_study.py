"""Studies keep finished parts, find them again, and refuse another configuration."""

import contextlib
import errno
import itertools
import json

import numpy as np
import pytest

import sptrack as spt
from experiments import study


def manifest(**flags):
    return {"config": {"config": {"out": "x", "resume": False, "rate": 0.1} | flags, "net": [4, 2]}}


def kept(folder):
    return sorted(file.name for file in (folder / "parts").iterdir() if file.name != "lock")


class Work:
    """Two parts that count how often they are done; the second may be interrupted."""

    def __init__(self, interrupt=False):
        self.done, self.published, self.interrupt = [], [], interrupt

    def part(self, name, value):
        def make():
            if self.interrupt and name == "b":
                raise KeyboardInterrupt
            self.done.append(name)
            return {"x": np.array([[value]])}

        return make

    def collect(self, folder, flags=None, **options):
        parts = {"a": self.part("a", 1.0), "b": self.part("b", 2.0)}

        def publish(records):
            self.published.append({name: float(r["x"][0, 0]) for name, r in records.items()})

        return study.collect(folder, parts, manifest(**(flags or {})), publish, **options)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(20, [{"a": 1.0, "b": 2.0}]), (7, [{"a": 1.0}, {"a": 1.0, "b": 2.0}])]
)
def test_results_are_published_in_the_end_and_now_and_then(
    tmp_path, monkeypatch, seconds, expected
):
    """Every look at the clock is eight seconds after the one before."""
    monkeypatch.setattr(study, "PUBLISH_EVERY", seconds)
    monkeypatch.setattr(study.time, "monotonic", itertools.count(0, 8).__next__)
    work = Work()
    work.collect(tmp_path)
    assert work.published == expected
    assert "ended" in json.loads((tmp_path / "manifest.json").read_text())


def test_an_interrupted_study_publishes_what_there_is(tmp_path):
    work = Work(interrupt=True)
    with pytest.raises(SystemExit):
        work.collect(tmp_path)
    assert work.published == [{"a": 1.0}]
    nothing = Work(interrupt=True)
    with pytest.raises(SystemExit):
        study.collect(tmp_path / "b", {"b": nothing.part("b", 1.0)}, manifest(), pytest.fail)


def test_an_interrupted_study_resumes_where_it_stopped(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        Work(interrupt=True).collect(tmp_path)
    assert stop.value.code == 130
    assert "kept in" in capsys.readouterr().out
    again = Work()
    records = again.collect(tmp_path, {"resume": True}, resume=True)
    assert again.done == ["b"]
    np.testing.assert_array_equal(records["a"]["x"], [[1.0]])
    twice = Work()
    twice.collect(tmp_path, resume=True)
    assert twice.done == []


def test_a_full_disk_stops_with_a_word_about_what_is_kept(tmp_path, monkeypatch):
    save = study._save

    def full(records, path):
        if path.name == "b.npz":
            raise OSError(errno.ENOSPC, "No space left on device")
        save(records, path)

    monkeypatch.setattr(study, "_save", full)
    with pytest.raises(SystemExit, match=r"Stopped: .*No space.*kept in .*: a\. Go on"):
        Work().collect(tmp_path)
    monkeypatch.undo()
    again = Work()
    again.collect(tmp_path, resume=True)
    assert again.done == ["b"]


def test_ctrl_c_with_a_full_disk_says_that_tables_are_old(tmp_path, capsys):
    def interrupted():
        raise KeyboardInterrupt

    def publish(records):
        raise OSError(errno.ENOSPC, "No space left on device")

    parts = {"a": lambda: {"x": np.zeros(1)}, "b": interrupted}
    with pytest.raises(SystemExit) as stopped:
        study.collect(tmp_path, parts, manifest(), publish)
    assert stopped.value.code == 130
    said = capsys.readouterr().out
    assert "kept" in said
    assert "as they were: [Errno 28] No space" in said


def test_what_a_part_keeps_while_it_runs_is_for_resume_only(tmp_path):
    """Gone before a new start, found when resumed, gone when the part has finished."""
    found = []

    def part():
        unfinished = study.checkpoint(tmp_path, "a")
        found.append(unfinished.exists())
        unfinished.write_text("state")
        if len(found) < 4:
            raise KeyboardInterrupt
        return {"x": np.zeros(1)}

    for resume in (False, False, True, True):
        with contextlib.suppress(SystemExit):
            study.collect(tmp_path, {"a": part}, manifest(), lambda records: None, resume=resume)
    assert found == [False, False, True, True]
    assert kept(tmp_path) == ["a.npz"]


def test_parts_of_other_code_are_dropped_unless_they_are_asked_for(tmp_path, capsys):
    """A run of new code that is interrupted doesn't leave a mixture for the next resume."""

    def collect(commit, **options):
        work = Work(interrupt=options.pop("interrupt", False))
        parts = {"a": work.part("a", commit), "b": work.part("b", commit)}
        about = manifest() | {"git": {"commit": commit}}
        with contextlib.suppress(SystemExit):
            found = study.collect(tmp_path, parts, about, lambda records: None, **options)
            return {name: float(records["x"][0, 0]) for name, records in found.items()}

    assert collect(1.0) == {"a": 1.0, "b": 1.0}
    collect(2.0, interrupt=True)
    assert kept(tmp_path) == ["a.npz"]
    assert collect(2.0, resume=True) == {"a": 2.0, "b": 2.0}
    assert capsys.readouterr().err == ""
    assert collect(3.0, resume=True) == {"a": 2.0, "b": 2.0}
    assert "holds parts of another version" in capsys.readouterr().err


def test_what_seeds_do_is_written_down_epoch_by_epoch():
    loss = np.arange(12.0).reshape(2, 2, 3)  # point, seed, epoch
    loss[1, 0, 2] = np.nan  # not finished
    dims = ("point", "seed", "epoch")
    variables = {"train_loss": (dims, loss), "cost": (("point",), np.zeros(2))}
    coords = {"states": ("point", [500, 1000]), "seed": [7, 8]}
    rows = study.by_epoch(spt.results.to_dataset(variables, coords=coords))
    assert [(row["states"], row["epoch"]) for row in rows] == [
        (500, 1), (500, 2), (500, 3), (1000, 1), (1000, 2),
    ]  # fmt: skip
    assert rows[1] == {
        "states": 500, "epoch": 2,
        "train_loss_mean": 2.5, "train_loss_min": 1.0, "train_loss_max": 4.0,
    }  # fmt: skip
    assert study.by_epoch(spt.results.to_dataset({"cost": variables["cost"]})) == []


def test_without_resume_everything_is_done_again(tmp_path):
    Work().collect(tmp_path)
    again = Work()
    again.collect(tmp_path)
    assert again.done == ["a", "b"]


@pytest.mark.parametrize("options", [{}, {"resume": True}])
def test_another_configuration_is_refused_and_nothing_lost(tmp_path, options):
    Work().collect(tmp_path)
    other = Work()
    with pytest.raises(SystemExit, match=r"different: rate.*--overwrite"):
        other.collect(tmp_path, {"rate": 0.2}, **options)
    assert other.done == []
    assert kept(tmp_path) == ["a.npz", "b.npz"]


def test_overwrite_drops_the_parts_of_the_other_configuration(tmp_path):
    Work().collect(tmp_path)
    with pytest.raises(SystemExit):
        Work(interrupt=True).collect(tmp_path, {"rate": 0.2}, overwrite=True)
    assert kept(tmp_path) == ["a.npz"]
    with pytest.raises(SystemExit, match="give one"):
        Work().collect(tmp_path, resume=True, overwrite=True)


def test_a_folder_that_another_run_writes_to_is_refused(tmp_path):
    """Also with --resume and --overwrite; and it is free again when that run has ended."""

    def part():
        for options in ({}, {"resume": True}, {"overwrite": True}):
            with pytest.raises(SystemExit, match=r"Another run is writing to .*another --out"):
                Work().collect(tmp_path, **options)
        return {"x": np.zeros(1)}

    study.collect(tmp_path, {"c": part}, manifest(), lambda records: None)
    assert kept(tmp_path) == ["c.npz"]
    again = Work()
    again.collect(tmp_path)
    assert again.done == ["a", "b"]
