"""Fig. 4 middle and right: size and analog leaves of ResNet-18, files of a smoke run, its flags."""

import csv

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import sptrack as spt
from experiments import resnet, robustness
from experiments.nets import ResNetConfig, make_net
from experiments.training import falling


def shapes_and_labels(config):
    """Dotted path -> (shape, "analog" or "digital") of all parameters; nothing is computed."""
    params = jax.eval_shape(lambda: nnx.split(make_net(config, nnx.Rngs(0)), nnx.Param, ...)[1])
    labels = jax.tree.leaves(spt.nn.labels(params))
    leaves = jax.tree_util.tree_leaves_with_path(nnx.as_pure(params))
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): (leaf.shape, label)
        for (path, leaf), label in zip(leaves, labels, strict=True)
    }


def closed_form(width, classes):
    """Parameters of ResNet-18 with a stem of 3 x 3 on three colours, by hand: 11,220,132 at most.

    Convolutions of a stage with widths a -> b: 9ab + 27bb, and ab of the shortcut where a != b;
    two parameters of normalization per channel of every convolution; the classifier with bias.
    """
    w = width
    total = 27 * w + 2 * w + 36 * w * w + 8 * w
    for a, b in ((w, 2 * w), (2 * w, 4 * w), (4 * w, 8 * w)):
        total += 9 * a * b + 27 * b * b + a * b + 10 * b
    return total + 8 * w * classes + classes


def test_resnet_18_has_the_parameters_that_it_has_elsewhere():
    """11,220,132 are those of public implementations for CIFAR-100; arrays have a scale more."""
    assert closed_form(64, 100) == 11_220_132
    for width, classes, analog_outputs in ((64, 100, 512 + 512 + 100), (8, 10, 64 + 64 + 10)):
        found = shapes_and_labels(ResNetConfig(classes, width=width))
        count = sum(int(jnp.prod(jnp.array(shape))) for shape, _ in found.values())
        assert count == closed_form(width, classes) + analog_outputs


ANALOG = {
    "block": ["blocks.7.convolutions.0", "blocks.7.convolutions.1", "classifier"],
    "stage": [
        "blocks.6.convolutions.0", "blocks.6.convolutions.1", "blocks.6.shortcut",
        "blocks.7.convolutions.0", "blocks.7.convolutions.1", "classifier",
    ],
    "classifier": ["classifier"],
}  # fmt: skip


@pytest.mark.parametrize("which", ANALOG)
def test_kernels_of_the_last_part_are_analog_and_nothing_else(which):
    found = shapes_and_labels(ResNetConfig(10, width=2, analog=which))
    analog = [path for path, (_, label) in found.items() if label == "analog"]
    assert analog == [f"{path}.kernel" for path in ANALOG[which]]


def test_resnet_18_halves_images_three_times():
    inputs = []

    def follow(x):
        net = make_net(ResNetConfig(7, width=2), nnx.Rngs(0))
        logits = net(x.reshape(5, -1))
        for block in net.blocks:
            x = block(x) if inputs else block(jnp.zeros((5, 32, 32, 2)))
            inputs.append(x.shape)
        return logits

    assert jax.eval_shape(follow, jnp.zeros((5, 32, 32, 3))).shape == (5, 7)
    assert inputs[1::2] == [(5, 32, 32, 2), (5, 16, 16, 4), (5, 8, 8, 8), (5, 4, 4, 16)]


def test_a_smoke_run_writes_everything_and_a_resumed_one_computes_nothing(tmp_path, monkeypatch):
    resnet.main(["--smoke", "--out", str(tmp_path)])
    with (tmp_path / "resnet.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["method"], row["reference_mean"], row["reference_std"]) == ("erider", "0.4", "1")
    assert row["paper_loss"] == "0.308202"
    assert 1 < float(row["train_loss"]) < 10
    assert (tmp_path / "resnet.png").stat().st_size > 10_000
    assert dict(spt.results.load(tmp_path / "resnet.nc").sizes)["point"] == 1
    assert (tmp_path / "manifest.json").exists()
    monkeypatch.setattr(robustness, "train_population", None)  # calling it would raise
    before = (tmp_path / "resnet.csv").read_bytes()
    resnet.main(["--smoke", "--out", str(tmp_path), "--resume"])
    assert (tmp_path / "resnet.csv").read_bytes() == before


def test_the_point_of_both_panels_is_trained_once():
    points = resnet.points(resnet.Config())
    assert len(points) == len(set(points)) == 9
    assert [std for mean, std in points if mean == 0.4] == [0.05, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert sorted(mean for mean, std in points if std == 0.4) == [0.0, 0.2, 0.3, 0.4]


def test_schedules_are_those_of_paper_and_script():
    paper = resnet.train_config(resnet.Config())
    script = resnet.train_config(resnet.Config(schedule="script", analog="classifier"))
    assert (paper.epochs, script.epochs) == (80, 100)
    for train, epochs, rates in (
        (paper, (34, 36, 69, 71), (1, 0.1, 0.1, 0.01)),
        (script, (29, 31, 59, 61, 89, 91), (1, 0.85, 0.85, 0.85**2, 0.85**2, 0.85**3)),
    ):
        fake = resnet.data.load("digits")._replace(train_labels=range(128 * 10))  # 10 steps
        rate = falling(1.0, train.digital_decay, train, fake)
        assert [float(rate(10 * epoch)) for epoch in epochs] == pytest.approx(rates)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["--width", "20"], "power of two or a multiple of 16.*got 20"),
        (["--stds", "-1"], "deviations >= 0, got -1"),
        (["--side", "3"], "8 x 8 can't be averaged to a side of 3"),
        (["--fraction", "1.5"], r"in \(0, 1\], got 1.5"),
        (["--fraction", "0.01"], "14 images don't fill a batch of 128"),
    ],
)
def test_wrong_values_are_refused(tmp_path, flags, message):
    with pytest.raises(SystemExit, match=message):
        resnet.main(["--dataset", "digits", "--out", str(tmp_path), *flags])
