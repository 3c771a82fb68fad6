"""The comparison with aihwkit, with NumPy populations in its place: files, verdicts, absence."""

import csv
import json
import sys
import types

import numpy as np
import pytest

from experiments import peer_conformance
from tests import populations

NAMES = ("capacitor", "gokmen_vlasov")


@pytest.fixture
def peer(monkeypatch):
    """A peer for two presets and few pulses; the dict's "scale" spoils its weights."""
    spoil = {"scale": 1.0}

    def their_moments(name, config):
        cells = config.arrays * config.size**2
        found = populations.after_pulses(1, name, cells, config.pulses)
        weights = np.array([found[n] for n in config.pulses]) * spoil["scale"]
        shape = (len(config.pulses), 2, config.arrays, config.size, config.size)
        return np.moveaxis(peer_conformance.moments(weights.reshape(shape)), 2, 0)

    monkeypatch.setitem(sys.modules, "aihwkit", types.SimpleNamespace(__version__="1.2.0"))
    monkeypatch.setattr(peer_conformance, "PEERS", {n: peer_conformance.PEERS[n] for n in NAMES})
    monkeypatch.setattr(peer_conformance, "PULSES", (1, 3))
    monkeypatch.setattr(peer_conformance, "their_moments", their_moments)
    monkeypatch.setattr(peer_conformance, "different_fields", lambda name: {})
    monkeypatch.setattr(peer_conformance, "_is_installed", lambda: True)
    return spoil


SIZE = ["--size", "64", "--arrays", "16"]  # 0.02 are 3.6 standard errors of the gap of means


def test_a_peer_of_the_same_rules_conforms(peer, tmp_path, capsys):
    peer_conformance.main([*SIZE, "--out", str(tmp_path)])
    assert "NO" not in capsys.readouterr().out
    with (tmp_path / "peer_conformance.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(NAMES) * 2 * 2
    for row in rows:
        gap = (float(row["mean"]) - float(row["mean_peer"])) / float(row["std_peer"])
        assert float(row["mean_gap"]) == pytest.approx(gap, abs=1e-4)
        # The error of a mean of 65,536 cells, twice; its own from 16 arrays, 1 / sqrt(30) each.
        assert float(row["mean_error"]) == pytest.approx(2**0.5 / 256, rel=0.5)
        assert abs(float(row["std_gap"])) < 4 * float(row["std_error"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["config"]["aihwkit"] == "1.2.0"


def test_another_peer_does_not(peer, tmp_path, capsys):
    peer["scale"] = 1.1
    with pytest.raises(SystemExit) as stop:
        peer_conformance.main([*SIZE, "--out", str(tmp_path)])
    assert stop.value.code == 1
    assert capsys.readouterr().out.count("NO") == len(NAMES)


def test_without_the_peer_the_command_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "aihwkit", None)
    with pytest.raises(SystemExit, match=r"pip install aihwkit==1\.2\.0"):
        peer_conformance.main(["--out", str(tmp_path)])


def test_numbers_of_pulses_are_those_of_the_populations(tmp_path):
    config = peer_conformance.Config(out=tmp_path)
    assert config.pulses == (1, 2, 5, 10, 20, 50, 100, 200, 400)
    assert np.all(np.diff(peer_conformance.Config(smoke=True).pulses) > 0)
