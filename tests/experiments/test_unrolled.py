"""Training as a differentiable function, and the two studies made of it."""

import csv

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sptrack as spt
from experiments import gradient_tuning, sensitivity, unrolled


def test_gradients_through_training_are_central_differences(x64):
    """With the same keys, in one direction of rates and cells; the tail is an epoch of two."""
    at = unrolled.start() | {"cells.center_mean": jnp.asarray(0.4)}
    at = jax.tree.map(lambda x: jnp.asarray(x, float), at)
    way = dict(zip(at, (1.0, -0.5, 0.3, 0.7, 0.0, 0.2), strict=True))
    (key,) = unrolled.batches(1)[0]

    def along(step):
        moved = {name: value + step * way[name] for name, value in at.items()}
        return unrolled.loss(key, moved, method="mean", train=unrolled.train_config(2))

    slope = jax.jit(jax.grad(along))(0.0)
    run = jax.jit(along)
    above, below = run(1e-4), run(-1e-4)
    assert abs(slope) > 0.1
    np.testing.assert_allclose(slope, (above - below) / 2e-4, rtol=0.02)


def test_schedules_go_through_their_knots():
    rate = unrolled.at_knots(jnp.log(jnp.array([1.0, 4.0, 1.0])), 100)
    np.testing.assert_allclose([rate(0), rate(25), rate(50), rate(100)], [1, 2, 4, 1], rtol=1e-6)
    assert unrolled.at_knots(jnp.log(3.0), 100) == pytest.approx(3)


def test_the_log_probability_is_that_of_the_flips_of_a_schedule():
    """No flips in the first third of the run, one in every step of the last; sure, but in between.

    The 15 steps in between have an entropy of 2.1 nats. By a schedule that runs backwards, or by a
    constant, there would be flips of probability e^-12 or certain ones missing, -inf.
    """
    (key,) = unrolled.batches(1)[0]
    numbers = unrolled.start() | {"chop_prob": jnp.array([-12.0, -12.0, 0.0, 0.0])}
    train = unrolled.train_config(1, smoke=True)
    _, log_prob = jax.jit(lambda: unrolled.run(key, numbers, method="mean", train=train))()
    assert -10 < log_prob < 0


BEST = {"learning_rate": 1.0, "transfer_rate": 0.1, "gamma": 0.1, "eta": 0.1, "chop_prob": 0.1}


def bowl(key, numbers, *, method, train, chopper="scalar"):
    """Instead of a training: a bowl around `BEST`, and noise; the chopper shows in its flips only.

    E[flips] = p, so d/d(log p) of the loss, 2 flips, is 2 p; with p at knots, a flip at each.
    """
    del train
    noise, coin = jax.random.split(key)
    smooth = [name for name in BEST if name != "chop_prob"]
    loss = sum(jnp.mean((numbers[name] - np.log(BEST[name])) ** 2) for name in smooth)
    loss += 0.1 * jax.random.normal(noise)
    p = jnp.exp(numbers["chop_prob"])
    flips = jax.random.bernoulli(coin, p).astype(float)
    if method == "aggregate" or chopper == "relaxed_scalar":
        return loss + 2 * jnp.mean(p), jnp.zeros(())
    log_probs = spt.estimators.bernoulli_log_prob(flips, 1, p)
    return loss + 2 * jnp.mean(flips), jnp.sum(log_probs)


def test_sensitivity_by_four_ways_where_it_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(unrolled, "run", bowl)
    flags = ["--seeds", "4000", "--pulse-seeds", "400", "--out", str(tmp_path)]
    monkeypatch.setattr(unrolled, "CHUNK", 4000)
    sensitivity.main(flags)
    with (tmp_path / "sensitivity.csv").open() as file:
        table = {row["parameter"]: row for row in csv.DictReader(file)}
    expected = {
        f"log {name}": 2 * np.log(unrolled.RATES[name][0] / best) for name, best in BEST.items()
    }
    expected["log chop_prob"] = 2 * unrolled.RATES["chop_prob"][0]
    for name, slope in expected.items():
        for way in ("mean_field", "evolution", "pulses_central"):
            error = 4.5 * float(table[name][f"{way}_error"]) + 0.01 * abs(slope) + 1e-4
            assert abs(float(table[name][way]) - slope) < error, (name, way)
    assert float(table["log learning_rate"]["mean_central"]) == pytest.approx(
        expected["log learning_rate"], rel=1e-3
    )
    assert float(table["log cells.dw_min"]["mean_field"]) == 0
    relaxed = table["log relaxed chop_prob"]
    assert float(relaxed["mean_field"]) == pytest.approx(expected["log chop_prob"], rel=1e-3)
    assert {relaxed[way] for way in sensitivity.WAYS[1:]} == {""}
    assert dict(spt.results.load(tmp_path / "sensitivity.nc").sizes)["way"] == 4
    assert (tmp_path / "sensitivity.png").stat().st_size > 10_000
    monkeypatch.setattr(unrolled, "run", None)  # calling it would raise
    sensitivity.main([*flags, "--resume"])


def test_tuning_finds_the_bottom_of_a_bowl(tmp_path, monkeypatch):
    monkeypatch.setattr(unrolled, "run", bowl)
    gradient_tuning._tester.cache_clear()
    flags = ["--repeats", "2", "--seeds", "4", "--steps", "60", "--out", str(tmp_path)]
    gradient_tuning.main(flags)
    gradient_tuning._tester.cache_clear()
    with (tmp_path / "gradient_tuning.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["method"] for row in table] == 2 * list(gradient_tuning.METHODS)
    for row in table:
        if row["method"] in ("mean field", "schedule", "evolution"):
            for name in ("learning_rate", "transfer_rate", "gamma", "eta"):
                values = np.array(row[name].split(), float)
                np.testing.assert_allclose(values, BEST[name], rtol=0.25)
    assert len(table[2]["eta"].split()) == gradient_tuning.KNOTS
    assert int(table[-1]["trainings"]) == 4 * int(table[-2]["trainings"])
    assert (tmp_path / "gradient_tuning.png").stat().st_size > 10_000
    monkeypatch.setattr(unrolled, "run", None)
    gradient_tuning.main([*flags, "--resume"])


def test_random_candidates_are_inside_the_ranges_and_the_best_is_the_least():
    config = gradient_tuning.Config(steps=2, seeds=2)
    points = gradient_tuning.candidates(config, 0)
    assert len(points["eta"]) == 4 * config.budget // 2
    for name, values in points.items():
        low, high = gradient_tuning.limits(name)
        assert np.all((values >= low) & (values <= high))
    scores = np.array([3.0, np.nan, 1.0, 0.5])
    found = {name: values[:4] for name, values in points.items()} | {"score": scores}
    assert gradient_tuning.best_of(found, 3)["eta"] == pytest.approx(points["eta"][2])


@pytest.mark.parametrize("module", [sensitivity, gradient_tuning])
def test_too_few_are_refused(tmp_path, module):
    with pytest.raises(SystemExit, match="must be at least 2"):
        module.main(["--out", str(tmp_path), "--seeds", "1"])
