"""`python -m experiments`: the list is complete, and a manifest is enough to get the same bits."""

import dataclasses
import importlib
import json
import pathlib
import re
import subprocess
import sys

import pytest

import experiments.__main__ as command
import sptrack as spt
from experiments import rerun, study

tyro = pytest.importorskip("tyro")
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The manifest of a small experiment, run as a user would."""
    out = tmp_path_factory.mktemp("smoke") / "first"
    flags = ["--size", "4", "--steps", "2", "--seeds", "2", "--dw-min", "2.5e-3", "--out", out]
    subprocess.run(
        [sys.executable, "-m", "experiments.zero_shift_accuracy", *map(str, flags)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return out / "manifest.json"


def changed(manifest, path, **facts):
    path.write_text(json.dumps(json.loads(manifest.read_text()) | facts))
    return path


def test_a_manifest_is_enough_to_get_the_same_bits(smoke, tmp_path, capfd):
    out = tmp_path / "again"
    assert rerun.run(smoke, out) == 0
    assert "same, bit for bit" in capfd.readouterr().out
    one, other = (
        spt.results.digest(spt.results.load(folder / "zero_shift_accuracy.nc"))
        for folder in (smoke.parent, out)
    )
    assert one == other
    assert json.loads((out / "manifest.json").read_text())["config"]["config"]["dw_min"] == 2.5e-3
    rerun.read(out / "manifest.json")  # it can be done once more


def test_other_results_are_told_with_what_else_is_different(smoke):
    known = json.loads(smoke.read_text())
    again = known | {"results_sha256": "0", "host": {"cpus": 1000}}
    same, text = rerun.compared(known, again)
    assert not same and "not the same bits" in text and "'cpus': 1000" in text
    assert "versions" not in text
    assert rerun.compared(known, {})[0]
    config = known["config"] | {"rates": 0.1}
    assert "others by now (rates)" in rerun.compared(known, again | {"config": config})[1]


def test_what_has_no_value_in_a_manifest_is_no_flag():
    """`--chunk None` would be refused."""
    config = {"chunk": None, "means": [0.0, 0.4], "smoke": False, "out": "x"}
    assert rerun.flags_of(config) == ["--means", "0.0", "0.4", "--no-smoke"]


def test_what_is_no_manifest_of_an_experiment_is_refused(smoke, tmp_path):
    trial = tmp_path / "m.json"
    with pytest.raises(SystemExit, match=r"Can't read .*: No such file"):
        rerun.read(trial)
    for text in ("", "[]", "{}", '{"command": "python", "config": {}, "config_sha256": ""}'):
        trial.write_text(text)
        with pytest.raises(SystemExit, match="is not the manifest of an experiment"):
            rerun.read(trial)
    with pytest.raises(SystemExit, match=r"'python study\.py', which is no experiment"):
        rerun.read(changed(smoke, trial, command="python study.py"))
    with pytest.raises(SystemExit, match="which is no experiment"):
        rerun.read(changed(smoke, trial, command="python -m experiments.nothing_of_the_kind"))
    with pytest.raises(SystemExit, match="was changed: its configuration"):
        rerun.read(changed(smoke, trial, config={"config": {"size": 5}}))


def test_the_results_to_compare_with_are_not_overwritten(smoke):
    with pytest.raises(SystemExit, match="choose another folder"):
        rerun.run(smoke, smoke.parent)


# The list itself; what writes pages of the docs.
NO_EXPERIMENTS = ("__main__.py", "parameters.py", "results_page.py")


def is_command(path):
    return 'if __name__ == "__main__":' in path.read_text() and path.name not in NO_EXPERIMENTS


def test_the_list_is_complete(capsys):
    modules = {path.stem for path in (ROOT / "experiments").glob("*.py") if is_command(path)}
    assert modules == command.COMMANDS.keys()
    command.main([])
    shown = capsys.readouterr().out
    for name in modules:
        assert re.search(rf"python -m experiments\.{name}  +\S.*  +\S", shown)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_a_configuration_survives_its_flags(name):
    config = importlib.import_module(f"experiments.{name}").Config
    ours = config(smoke=True)
    plain = json.loads(spt.results.canonical_json(dataclasses.asdict(ours)))
    assert tyro.cli(config, args=rerun.flags_of(plain)) == ours
    assert not any(f"--{flag}" in rerun.flags_of(plain) for flag in study.FREE)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["theory"], r"python -m experiments\.theory"), (["frobnicate"], "knows no 'frobnicate'")],
)
def test_wrong_words_are_told(words, message):
    with pytest.raises(SystemExit, match=message):
        command.main(words)


def test_rerun_needs_a_manifest(capsys):
    with pytest.raises(SystemExit):
        command.main(["rerun"])
    assert "manifest" in capsys.readouterr().err
