"""The search: protocol, the same budget for all, and that a smoke run leaves its tables."""

import csv

import numpy as np
import pytest

from experiments import data, search, tuned

METHODS = tuple(tuned.METHODS)


def read_rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_smoke_run_writes_everything_and_a_resumed_one_computes_nothing(tmp_path, monkeypatch):
    search.main(["--smoke", "--out", str(tmp_path)])
    rows = read_rows(tmp_path / "search.csv")
    assert [(r["stage"], r["candidate"]) for r in rows] == [
        ("random", "0"), ("random", "1"), ("local", "0"), ("local", "1"),
    ]  # fmt: skip
    (best,) = read_rows(tmp_path / "tuned.csv")
    assert float(best["score"]) == max(float(r["score"]) for r in rows)
    assert best["dataset"] == "digits" and best["candidates"] == "4"
    assert (tmp_path / "search.png").stat().st_size > 10_000
    assert (tmp_path / "search.nc").exists() and (tmp_path / "manifest.json").exists()
    monkeypatch.setattr(search, "train_population", None)  # calling it would raise
    search.main(["--smoke", "--out", str(tmp_path), "--resume"])
    assert read_rows(tmp_path / "search.csv") == rows


def test_all_methods_get_the_same_points_inside_the_ranges():
    found = {method: search.random_candidates(method, 8) for method in METHODS}
    for method, candidates in found.items():
        assert set(candidates) == set(tuned.METHODS[method])
        for name, values in candidates.items():
            np.testing.assert_array_equal(values, found["erider"].get(name, values))
            low, high = search.RANGES[name]
            # A Latin hypercube: one point in each eighth of the logarithm.
            eighths = np.floor(8 * np.log(values / low) / np.log(high / low))
            assert sorted(eighths) == list(range(8))


def test_local_candidates_surround_the_best_one():
    best = {"learning_rate": 4.0, "transfer_rate": 0.05}
    found = search.local_candidates(best, 2000)
    assert set(found) == set(best)
    for name, value in best.items():
        low, high = search.RANGES[name]
        steps = np.log(found[name] / value) / np.log(high / low)
        assert abs(steps.mean()) < 5 * 0.125 / np.sqrt(2000)
        assert steps.std() == pytest.approx(0.125, rel=0.1)


def test_the_best_has_the_highest_mean_over_cells():
    records = {
        "accuracy": np.array([[0.9, 0.1], [0.6, 0.6], [0.5, 0.5]]),
        "learning_rate": np.array([1.0, 2.0, 3.0]),
    }
    assert search.best_of(records) == (1, {"learning_rate": 2.0})


EARLIER = """method,learning_rate,transfer_rate,chop_prob,gamma,eta,score
agad,1,0.1,0.2,,,70
agad,2,0.2,0.2,,,90
agad,3,0.3,0.2,,,80
ttv2,4,0.4,,,,60
"""


def test_the_best_of_earlier_searches_are_tried_again_each_of_them_once(tmp_path):
    one, other = tmp_path / "search.csv", tmp_path / "tuned.csv"
    one.write_text(EARLIER)
    other.write_text("".join(EARLIER.splitlines(keepends=True)[:3]))
    found = search.earlier_candidates("agad", search.Config(earlier=(one, other), keep=2))
    assert {name: list(values) for name, values in found.items()} == {
        "learning_rate": [2, 3, 1], "transfer_rate": [0.2, 0.3, 0.1], "chop_prob": [0.2, 0.2, 0.2],
    }  # fmt: skip


def test_a_run_with_earlier_candidates_scores_nothing_else(tmp_path):
    table = tmp_path / "search.csv"
    table.write_text(EARLIER)
    flags = ["--smoke", "--earlier", str(table), "--out", str(tmp_path / "again")]
    search.main(flags)
    (row,) = read_rows(tmp_path / "again" / "search.csv")
    assert (row["method"], row["stage"], row["learning_rate"]) == ("ttv2", "again", "4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no search.csv or tuned.csv"),
        ("a,b\n1,2\n", "no search.csv or tuned.csv"),
        (EARLIER.replace("90", "high"), "no search.csv or tuned.csv"),
        (EARLIER.replace("ttv2", "other"), "no candidates of ttv2"),
    ],
)
def test_what_is_no_table_of_a_search_is_refused(tmp_path, text, message):
    table = tmp_path / "search.csv"
    if text is not None:
        table.write_text(text)
    method = "ttv2" if "candidates" in message else "agad"
    with pytest.raises(SystemExit, match=message):
        search.earlier_candidates(method, search.Config(earlier=(table,)))


def test_validation_is_training_data_that_is_not_trained_on():
    whole = data.load("digits")
    some = search.split(whole, 900, 500)
    assert (len(some.train_labels), len(some.test_labels)) == (900, 500)
    rows = {image.tobytes() for image in whole.train_images}
    mine = [image.tobytes() for image in some.train_images]
    other = [image.tobytes() for image in some.test_images]
    assert {*mine, *other} <= rows
    assert len({*mine} & {*other}) <= len(whole.train_images) - len(rows)  # but for doubles
    with pytest.raises(SystemExit, match="together at most 1438"):
        search.split(whole, 1000, 500)


@pytest.mark.parametrize("flags", [["--random", "0"], ["--epochs", "0"]])
def test_wrong_values_are_refused(tmp_path, flags):
    with pytest.raises(SystemExit, match="at least 1"):
        search.main(["--out", str(tmp_path), *flags])
