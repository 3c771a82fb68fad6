"""The main job: train a net on cells whose symmetric points are off, with six algorithms.

    python -m experiments.quickstart --help

Digital SGD, analog SGD, residual learning with zero reference, two-stage, RIDER and E-RIDER train
the same fully connected net on the same kind of cells, several seeds each, all seeds of an
algorithm in one compiled program. Algorithms with a residual array follow the schedule of real
arrays (`spt.ColumnTransfer`) and share all rates, so that they differ only in what they take for
the symmetric point. "frozen" is the control: analog weights stay as they are, and only the digital
scales and biases learn, as they do with every algorithm.
"""

import csv
import dataclasses
import datetime
import json
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

import sptrack as spt
from experiments import data
from experiments.training import NetConfig, TrainConfig, falling, train_population

ALGORITHMS = (
    "digital_sgd",
    "frozen",
    "analog_sgd",
    "residual_learning",
    "two_stage",
    "rider",
    "erider",
)


@dataclasses.dataclass(frozen=True)
class Rates:
    """Rates of the analog algorithms; `docs/algorithms.md` says how these values were found.

    Attributes:
      analog_sgd: learning rate of analog SGD.
      residual: learning rate of the residual array.
      transfer: transfer rate.
      gamma: weight of the residual in what the model sees.
      eta: rate of the filter.
      chop_prob: flips per column read.
      reads_per_transfer: columns of the residual array read per step.
      num_pulses: zero-shifting pulses per cell of the two-stage algorithm.
    """

    analog_sgd: float
    residual: float
    transfer: float
    gamma: float
    eta: float
    chop_prob: float
    reads_per_transfer: int
    num_pulses: int


@dataclasses.dataclass(frozen=True)
class Setting:
    """What belongs to a data set: net, training, rates."""

    train: TrainConfig
    rates: Rates


_DIGITS = Setting(
    TrainConfig(NetConfig((64, 128, 64, 10), "tanh"), epochs=40, analog_decay=0.3),
    Rates(
        analog_sgd=0.02,
        residual=0.5,
        transfer=0.2,
        gamma=0.1,
        eta=1.0,
        chop_prob=0.2,
        reads_per_transfer=1,
        num_pulses=2000,
    ),
)
_MNIST = Setting(
    TrainConfig(
        NetConfig((784, 256, 128, 10), "sigmoid", weight_range=0.6),
        epochs=10,
        decay_at=0.6,
        analog_decay=0.2,
    ),
    Rates(
        analog_sgd=0.02,
        residual=8.0,
        transfer=0.03,
        gamma=0.1,
        eta=1.0,
        chop_prob=0.5,
        reads_per_transfer=28,
        num_pulses=2000,
    ),
)
SETTINGS = {"digits": _DIGITS, "mnist": _MNIST, "fashion_mnist": _MNIST}


@dataclasses.dataclass(frozen=True)
class Config:
    """Train on imperfect cells and compare algorithms.

    Attributes:
      dataset: digits is embedded; MNIST and Fashion-MNIST are read from IDX files in
        $SPTRACK_DATA_DIR/<name>/ or downloaded.
      device: preset of the cells, for all arrays.
      reference_mean: mean error of the cells' symmetric points, in weight units.
      reference_std: its cell-to-cell standard deviation.
      algorithms: which algorithms to train.
      seeds: number of seeds, each with cells, initial weights and batches of its own.
      first_seed: the first seed; results of a seed don't depend on the others.
      epochs: passes over the training set; default by data set.
      out: folder for quickstart.csv, .nc, .png and manifest.json.
      overwrite: replace results of another configuration in that folder.
      fast_random: use the fast generator (spt.random.fast_key) instead of threefry.
      smoke: one epoch of one seed, to see that everything works.
    """

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    device: Literal["reram_array_om", "reram_array_hfo2"] = "reram_array_om"
    reference_mean: float = 0.4
    reference_std: float = 0.4
    algorithms: tuple[
        Literal[
            "digital_sgd",
            "frozen",
            "analog_sgd",
            "residual_learning",
            "two_stage",
            "rider",
            "erider",
        ],
        ...,
    ] = ALGORITHMS
    seeds: int = 3
    first_seed: int = 0
    epochs: int | None = None
    out: Path = Path("runs/quickstart")
    overwrite: bool = False
    fast_random: bool = True
    smoke: bool = False


def setting_of(config: Config) -> Setting:
    """Net, training and rates of a configuration."""
    setting = SETTINGS[config.dataset]
    epochs = 1 if config.smoke else config.epochs
    if epochs is None:
        return setting
    return dataclasses.replace(setting, train=dataclasses.replace(setting.train, epochs=epochs))


def make_analog(name: str, config: Config, setting: Setting, dataset: Any):
    """A function from key to the transformation of the analog weights."""
    train, rates = setting.train, setting.rates
    spec = getattr(spt.presets, config.device)(
        reference_mean=config.reference_mean, reference_std=config.reference_std
    )
    if name == "digital_sgd":
        return lambda key: optax.sgd(
            falling(train.digital_rate, train.digital_decay, train, dataset)
        )
    if name in ("frozen", "analog_sgd"):
        start = 0.0 if name == "frozen" else rates.analog_sgd
        rate = falling(start, train.analog_decay, train, dataset)
        return lambda key: spt.analog_sgd(rate, weight_spec=spec, key=key)
    rate = falling(rates.residual, train.analog_decay, train, dataset)
    common = {
        "residual_spec": spec,
        "weight_spec": spec,
        "transfer_rate": falling(rates.transfer, train.analog_decay, train, dataset),
        "gamma": rates.gamma,
        "transfer": spt.ColumnTransfer(reads_per_transfer=rates.reads_per_transfer),
    }
    special = {
        "residual_learning": {"reference": "zero"},
        "two_stage": {"num_pulses": rates.num_pulses, "average": "tail"},
        "rider": {"eta": rates.eta},
        "erider": {"eta": rates.eta, "chop_prob": rates.chop_prob},
    }[name]
    factory = getattr(spt, name)
    return lambda key: factory(rate, key=key, **common, **special)


def run(config: Config) -> Any:
    """Trains with every algorithm; results are written as each one finishes.

    Returns:
      The labelled dataset (dimensions algorithm, seed, epoch) of all that finished.
    """
    setting = setting_of(config)
    dataset = data.load(config.dataset)
    manifest = spt.results.manifest(
        {"config": dataclasses.asdict(config), "setting": setting}, seed=config.first_seed
    )
    prepare(config, manifest)
    root = (spt.random.fast_key if config.fast_random else jax.random.key)(0)
    seeds = np.arange(1 if config.smoke else config.seeds) + config.first_seed
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, seeds)
    finished: dict[str, dict[str, np.ndarray]] = {}
    try:
        for name in config.algorithms:
            analog = make_analog(name, config, setting, dataset)
            finished[name] = train_population(
                analog, setting.train, dataset, keys, progress=name.ljust(17)
            )
            labelled = label(finished, seeds)
            write(config.out, labelled, manifest)
    except KeyboardInterrupt:
        kept = ", ".join(finished) or "none"
        print(f"\nInterrupted. Algorithms finished and kept in {config.out}: {kept}.")
        raise SystemExit(130) from None
    return labelled


def prepare(config: Config, manifest: dict) -> None:
    """Makes the folder; refuses one that holds results of another configuration."""
    if config.seeds < 1 or (config.epochs is not None and config.epochs < 1):
        raise SystemExit(
            f"--seeds and --epochs must be at least 1, got {config.seeds} and {config.epochs}."
        )
    if not config.algorithms:
        raise SystemExit(f"--algorithms needs at least one of {', '.join(ALGORITHMS)}.")
    old = config.out / "manifest.json"
    if old.exists() and not config.overwrite:
        known = {**json.loads(old.read_text())["config"]["config"], "overwrite": False}
        ours = {**manifest["config"]["config"], "overwrite": False}
        if known != ours:
            changed = ", ".join(sorted(k for k in ours if ours[k] != known.get(k)))
            raise SystemExit(
                f"{config.out} holds results of another configuration (different: {changed}). "
                "Choose another --out, or replace them with --overwrite."
            )
    config.out.mkdir(parents=True, exist_ok=True)


def label(finished: dict[str, dict[str, np.ndarray]], seeds: np.ndarray) -> Any:
    """Names and units for the records."""
    units = {
        "test_accuracy": ("1", "test accuracy"),
        "train_loss": ("nat", "training loss"),
        "sp_rms_error": ("weight", "RMS error of the symmetric point"),
        "pulses_calibration": ("pulse/cell", "calibration pulses"),
        "pulses_training": ("pulse/cell", "training pulses"),
        "pulses_transfer": ("pulse/cell", "transfer pulses"),
    }
    dims = ("algorithm", "seed", "epoch")
    variables = {
        name: (
            dims,
            np.stack([records[name] for records in finished.values()]),
            {"units": unit, "long_name": long_name},
        )
        for name, (unit, long_name) in units.items()
    }
    epochs = next(iter(finished.values()))["test_accuracy"].shape[1]
    coords = {"algorithm": list(finished), "seed": seeds, "epoch": np.arange(1, epochs + 1)}
    return spt.results.to_dataset(variables, coords=coords)


def rows(dataset: Any) -> list[dict[str, Any]]:
    """The table: one row per algorithm, at the last epoch, mean and std over seeds."""
    last = dataset.isel(epoch=-1)
    table = []
    for name in dataset.algorithm.values:
        at = last.sel(algorithm=name)
        accuracy = 100 * at.test_accuracy.values
        row = {
            "algorithm": str(name),
            "seeds": accuracy.size,
            "accuracy_percent": accuracy.mean(),
            "accuracy_std": accuracy.std(ddof=1) if accuracy.size > 1 else np.nan,
        }
        for column in ("sp_rms_error", "pulses_calibration", "pulses_training", "pulses_transfer"):
            row[column] = float(at[column].mean())
        table.append(row)
    return table


def write(folder: Path, dataset: Any, manifest: dict) -> None:
    """Writes quickstart.csv, .nc, .png and manifest.json."""
    table = rows(dataset)
    with (folder / "quickstart.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in table
        )
    spt.results.save(dataset, folder / "quickstart.nc")
    draw(dataset, folder / "quickstart.png")
    ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    spt.results.save_manifest(manifest | {"ended": ended}, folder / "manifest.json")


def draw(dataset: Any, path: Path) -> None:
    """Accuracy and tracking error against epochs."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    spt.plot.learning_curves(dataset, "test_accuracy", ax=left)
    left.set_title("Accuracy of the model")
    spt.plot.learning_curves(dataset, "sp_rms_error", ax=right)  # NaN draws nothing
    right.get_legend().remove()  # same colours as on the left
    right.set_ylim(bottom=0)
    right.set_title("Reference against true symmetric points, pulsed cells")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def show(table: list[dict[str, Any]]) -> str:
    """The table as text."""
    heads = ("algorithm", "test accuracy %", "SP RMS error", "calibration", "training", "transfer")
    lines = [heads]
    for row in table:
        accuracy = f"{row['accuracy_percent']:.1f}"
        if np.isfinite(row["accuracy_std"]):
            accuracy += f" ± {row['accuracy_std']:.1f}"
        names = ("sp_rms_error", "pulses_calibration", "pulses_training", "pulses_transfer")
        forms = (".3f", ".0f", ".1f", ".3f")
        numbers = [
            format(row[n], form) if np.isfinite(row[n]) else "-"
            for n, form in zip(names, forms, strict=True)
        ]
        lines.append((row["algorithm"], accuracy, *numbers))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([body[0], "-" * len(body[0]), *body[1:]])


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.quickstart")
    print(
        f"{config.dataset} on {config.device}, symmetric points off by {config.reference_mean} ± "
        f"{config.reference_std}"
    )
    dataset = run(config)
    print(show(rows(dataset)))
    print("(last three columns: pulses per cell)")
    print(f"Results: {config.out}/quickstart.csv, .nc, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
