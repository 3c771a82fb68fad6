"""`--distributed`: processes share an experiment out, and its results are those of one process."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import pytest

from experiments import distributed, study, zero_shift_accuracy

ROOT = pathlib.Path(__file__).parents[2]
ADDRESS, COUNT, INDEX = distributed.VARIABLES


def flags_of(out):
    return ["--size", "4", "--steps", "2", "--seeds", "3", "--out", str(out)]


def start(out, **variables):
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.zero_shift_accuracy", *flags_of(out), "--distributed"],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_equal_one(tmp_path, capsys):
    """Each does its seeds, the first one speaks, and every file but the manifest is the same."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        job = {ADDRESS: f"localhost:{free.getsockname()[1]}", COUNT: "2"}
    zero_shift_accuracy.main(flags_of(tmp_path / "one"))  # so the others find compiled programs
    alone = capsys.readouterr().out
    two = [start(tmp_path / "two", **job, **{INDEX: str(index)}) for index in range(2)]
    said = [process.communicate(timeout=300)[0] for process in two]
    assert [process.returncode for process in two] == [0, 0]
    assert said[0].endswith(alone) and "pulses" not in said[1]
    names = [f"parts/seed_{seed}.npz" for seed in range(3)] + ["zero_shift_accuracy.nc"]
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    manifests = [json.loads((tmp_path / n / "manifest.json").read_text()) for n in ("one", "two")]
    assert manifests[0]["results_sha256"] == manifests[1]["results_sha256"]
    assert manifests[1]["device"]["processes"] == 2


def test_a_process_waits_for_the_parts_of_the_others(tmp_path, monkeypatch):
    """The second of two processes does the second part and takes the first from the folder."""
    monkeypatch.setattr(distributed, "mine", lambda number: number == 1)
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    done, about = [], {"config": {"config": {}}}

    def part(name):
        def make():
            done.append(name)
            return {"x": jax.numpy.ones(1)}

        return make

    def together(what):
        """Here the first process does its own."""
        if what == "the folder is open":
            study.open_folder(tmp_path, about, resume=False)
            study._save(part("a")(), study._file(tmp_path, "a"))

    monkeypatch.setattr(distributed, "together", together)
    parts = {name: part(name) for name in "ab"}
    assert list(study.collect(tmp_path, parts, about, pytest.fail)) == ["a", "b"]
    assert done == ["a", "b"]


def test_without_the_flag_nothing_starts(monkeypatch):
    monkeypatch.setattr(jax.distributed, "initialize", pytest.fail)
    distributed.start(False)
    assert distributed.mine(0) and distributed.mine(5) and distributed.is_first()


def test_without_a_job_the_flag_says_what_is_missing(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)

    def initialize(*about):
        assert about == (None, None, None)
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    with pytest.raises(SystemExit, match=r"no job to join \(coord.*srun.*JAX_NUM_PROCESSES"):
        distributed.start(True)
