"""Tables 1 and 2: the whole way on a tiny net, chunks, the paper's numbers, and wrong flags."""

import csv
import json

import numpy as np
import pytest

import sptrack as spt
from experiments import printed, robustness, tuned
from experiments.training import UNITS


def read_rows(folder):
    with (folder / "robustness.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def fake_training(monkeypatch):
    """Accuracy is the member's mean + std / 10, so that a value says whose it is."""
    calls = []

    def train(make, config, dataset, keys, *, numbers, progress, checkpoint):
        calls.append(progress.strip())
        values = np.array(numbers["mean"]) + np.array(numbers["std"]) / 10
        return {name: np.tile(values[:, None], config.epochs) for name in UNITS}

    monkeypatch.setattr(robustness, "train_population", train)
    return calls


def test_a_smoke_run_writes_everything_and_a_resumed_one_computes_nothing(tmp_path, monkeypatch):
    robustness.main(["--smoke", "--out", str(tmp_path)])
    rows = read_rows(tmp_path)
    assert [(r["method"], r["reference_std"]) for r in rows] == [
        ("erider", "0.05"),
        ("erider", "1"),
    ]
    assert all(float(r["pulses_training"]) > 1 for r in rows)
    assert (
        0.5 < float(rows[0]["sp_rms_error"]) < 1
    )  # offsets 0.4 and write noise, nothing found yet
    assert (tmp_path / "robustness.png").stat().st_size > 10_000
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["config"]["rates"]["erider"]["gamma"] > 0
    assert manifest["config"]["train"]["erider"]["net"]["read_path"] == "table_6"
    monkeypatch.setattr(robustness, "train_population", None)  # calling it would raise
    robustness.main(["--smoke", "--out", str(tmp_path), "--resume"])
    assert read_rows(tmp_path) == rows


def test_chunks_are_put_back_where_they_belong(tmp_path, fake_training):
    flags = ["--dataset", "digits", "--epochs", "2", "--methods", "agad", "ttv2", "--seeds", "2"]
    flags += ["--means", "0", "0.4", "--stds", "0.05", "1"]
    whole, chunked = tmp_path / "whole", tmp_path / "chunked"
    robustness.main([*flags, "--out", str(whole), "--chunk", "8"])
    assert fake_training == ["agad 1-8 of 8", "ttv2 1-8 of 8"]
    robustness.main([*flags, "--out", str(chunked), "--chunk", "3"])
    assert fake_training[2:5] == ["agad 1-3 of 8", "agad 4-6 of 8", "agad 7-8 of 8"]
    assert read_rows(chunked) == read_rows(whole)
    for row in read_rows(whole):
        expected = 100 * (float(row["reference_mean"]) + float(row["reference_std"]) / 10)
        assert float(row["accuracy_percent"]) == pytest.approx(expected)
        assert row["paper_percent"] == row["difference"] == ""  # the paper has MNIST
    dataset = spt.results.load(chunked / "robustness.nc")
    assert dict(dataset.sizes) == {
        "algorithm": 2, "reference_mean": 2, "reference_std": 2, "seed": 2, "epoch": 2,
    }  # fmt: skip


def test_an_interrupted_table_goes_on(tmp_path, fake_training, monkeypatch):
    train = robustness.train_population

    def interrupted(*arguments, **options):
        if len(fake_training) == 1:
            raise KeyboardInterrupt
        return train(*arguments, **options)

    flags = ["--dataset", "digits", "--epochs", "1", "--out", str(tmp_path), "--chunk", "72"]
    monkeypatch.setattr(robustness, "train_population", interrupted)
    with pytest.raises(SystemExit):
        robustness.main(flags)
    assert {r["method"] for r in read_rows(tmp_path)} == {"ttv2"}
    monkeypatch.setattr(robustness, "train_population", train)
    robustness.main([*flags, "--resume"])
    assert len(fake_training) == 3 and len(read_rows(tmp_path)) == 72


def test_every_cell_of_both_tables_has_its_published_number():
    for net in robustness.PAPER:
        known = robustness.published(net)
        config = robustness.Config(net=net)
        cells = {(mean, std) for mean, std, _ in robustness.members(config)}
        assert set(known) == {(m, *cell) for m in config.methods for cell in cells}
    assert known["erider", 0.4, 0.05] == 91.72  # Table 1
    assert robustness.published("fcn")["ttv2", 0.4, 1.0] == 57.79  # Table 2


def test_full_runs_are_configured_as_the_paper_says():
    fcn, lenet = (tuned.train_config(net, "mnist", 40) for net in ("fcn", "lenet"))
    assert fcn.net.sizes == (784, 256, 128, 10) and fcn.net.activation == "sigmoid"
    assert lenet.net.sizes == (512, 128, 10) and lenet.net.convolutions == (16, 32)
    assert (fcn.batch_size, lenet.batch_size) == (10, 8)


@pytest.mark.parametrize("method", tuned.METHODS)
def test_every_method_has_rates_for_both_nets(method):
    for net in tuned.NETS:
        rates = tuned.rates_of(net, method)
        assert {"learning_rate", "transfer_rate"} <= set(rates) <= set(tuned.METHODS[method])
        assert all(value > 0 for value in rates.values())


def test_printed_rates_are_those_of_the_paper_in_our_units():
    erider, agad = (printed.rates_of("lenet", method) for method in ("erider", "agad"))
    assert erider == {
        "learning_rate": 0.5, "transfer_rate": 0.05, "digital_rate": 0.05, "chop_prob": 0.05,
        "gamma": 0.1,
    }  # fmt: skip
    # AGAD's transfer rate is multiplied by the global one, E-RIDER's isn't.
    assert agad["transfer_rate"] == pytest.approx(0.2 * 0.05)
    speed = [rates["learning_rate"] * rates["transfer_rate"] for rates in (erider, agad)]
    assert speed[0] / speed[1] == pytest.approx(250)
    assert printed.rates_of("fcn", "agad")["transfer_rate"] == pytest.approx(0.3 * 0.05)
    ttv2 = printed.rates_of("lenet", "ttv2")
    assert (ttv2["thres_scale"], ttv2["momentum"], ttv2["digital_rate"]) == (0.8, 0.1, 0.005)
    assert ttv2["transfer_rate"] == pytest.approx(0.005 * 0.005)


def test_printed_rates_reach_the_training_and_every_method_gets_what_it_takes():
    of = {"printed": {"erider": 0.5, "agad": 0.01}, "printed_erider": {"erider": 0.5, "agad": 0.5}}
    for rates, expected in of.items():
        config = robustness.Config(net="lenet", rates=rates)
        for method, learning_rate in expected.items():
            given = robustness.rates_of(config, method)
            assert given["learning_rate"] == learning_rate
            assert ("gamma" in given) == (method == "erider")
            train = robustness.train_of(config, method)
            assert (train.digital_rate, train.digital_decay, train.analog_decay) == (0.05, 1, 1)
    assert robustness.train_of(robustness.Config(net="lenet"), "agad").digital_rate == 0.01


def test_scripts_differ_from_the_paper_where_their_table_says_so():
    erider, agad = (printed.rates_of("lenet", m, scripts=True) for m in ("erider", "agad"))
    assert (erider["learning_rate"], erider["transfer_rate"]) == (0.1, 0.02)
    assert (agad["learning_rate"], agad["transfer_rate"]) == (0.01, pytest.approx(0.5 * 0.05))
    fcn = printed.rates_of("fcn", "erider", scripts=True)
    assert (fcn["chop_prob"], fcn["gamma"], fcn["learning_rate"]) == (0.1, 0.01, 0.5)
    assert printed.rates_of("lenet", "ttv2", scripts=True) == printed.rates_of("lenet", "ttv2")
    config = robustness.Config(net="lenet", rates="scripts")
    assert robustness.rates_of(config, "agad") == agad


def test_ttv2_with_printed_rates_cannot_move_what_is_behind_the_first_convolution():
    """H gains at most beta |P| / (0.8 dw_min) per read, and a column of 400 waits 400 steps."""
    rates = printed.rates_of("lenet", "ttv2")
    cells = spt.presets.reram_array_hfo2()
    largest = float(cells.w_max - cells.w_min)
    per_read = rates["transfer_rate"] * largest / (rates["thres_scale"] * float(cells.dw_min))
    reads = 40 * 7500 / 400
    assert reads * per_read < 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--chunk", "0"], "at least 1"),
        (["--stds", "-0.1"], "standard deviations"),
        (["--net", "lenet", "--dataset", "digits"], "28 x 28"),
        (["--rates", "printed", "--methods", "rider"], "other --methods"),
        (["--rates", "printed_erider", "--methods", "agad", "rider"], "has no eta for rider"),
        (["--net", "lenet", "--smoke"], "not --smoke"),
    ],
)
def test_wrong_values_are_refused(tmp_path, flags, message):
    with pytest.raises(SystemExit, match=message):
        robustness.main(["--out", str(tmp_path), *flags])


def test_the_peer_s_time_is_that_of_the_benchmark_times_the_steps(capsys):
    robustness.report("part", 10.0, 1000)
    robustness.report("part", 10.0, 1000, robustness.PEER["erider"])
    alone, beside = capsys.readouterr().out.splitlines()
    assert "10.00 ms per step" in alone and "aihwkit" not in alone
    ms = robustness.peer_ms("aihwkit, chopped")
    assert ms > 0 and beside.endswith(f"{ms:.1f} ms (benchmark): {ms:.0f} s")
