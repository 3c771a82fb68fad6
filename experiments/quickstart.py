"""The main job: train a net on cells whose symmetric points are off, with six algorithms.

    python -m experiments.quickstart --help

Digital SGD, analog SGD, residual learning with zero reference, two-stage, RIDER and E-RIDER train
the same fully connected net on the same kind of cells, several seeds each, all seeds of an
algorithm in one compiled program. Algorithms with a residual array follow the schedule of real
arrays (`spt.ColumnTransfer`) and share all rates, so that they differ only in what they take for
the symmetric point. "frozen" is the control: analog weights stay as they are, and only the digital
scales and biases learn, as they do with every algorithm.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sptrack as spt
from experiments import data, distributed, study, tables
from experiments.settings import analog, setting_of, small
from experiments.training import UNITS, member_keys, train_population

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
      resume: go on where an earlier run stopped, also within an algorithm, after its last epoch.
      distributed: share the algorithms out among the processes of a Slurm (or other) job.
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
    resume: bool = False
    distributed: bool = False
    fast_random: bool = True
    smoke: bool = False


def run(config: Config) -> Any:
    """Trains with every algorithm; each one is kept as it finishes.

    Returns:
      The labelled dataset (dimensions algorithm, seed, epoch) of all that finished.
    """
    check(config)
    setting = setting_of(config.dataset, 1 if config.smoke else config.epochs)
    dataset = data.load_or_exit(config.dataset)
    if config.smoke:
        setting, dataset = small(setting, dataset)
    cells = getattr(spt.presets, config.device)(
        reference_mean=config.reference_mean, reference_std=config.reference_std
    )
    seeds = np.arange(1 if config.smoke else config.seeds) + config.first_seed
    keys = member_keys(seeds, fast_random=config.fast_random)

    def part(name):
        def make(key):
            return analog(name, key, cells, setting, dataset)

        return lambda: train_population(
            make,
            setting.train,
            dataset,
            keys,
            progress=name.ljust(17),
            checkpoint=study.checkpoint(config.out, name),
        )

    manifest = spt.results.manifest(
        {"config": dataclasses.asdict(config), "setting": setting}, seed=config.first_seed
    )
    finished = study.collect(
        config.out,
        {name: part(name) for name in config.algorithms},
        manifest,
        lambda records: write(config.out, label(records, seeds)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(finished, seeds)


def check(config: Config) -> None:
    """Refuses numbers that make no run."""
    if config.seeds < 1 or (config.epochs is not None and config.epochs < 1):
        raise SystemExit(
            f"--seeds and --epochs must be at least 1, got {config.seeds} and {config.epochs}."
        )
    if not config.algorithms:
        raise SystemExit(f"--algorithms needs at least one of {', '.join(ALGORITHMS)}.")


def label(finished: dict[str, dict[str, np.ndarray]], seeds: np.ndarray) -> Any:
    """Names and units for the records."""
    dims = ("algorithm", "seed", "epoch")
    variables = {
        name: (
            dims,
            np.stack([records[name] for records in finished.values()]),
            {"units": unit, "long_name": long_name},
        )
        for name, (unit, long_name) in UNITS.items()
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


def write(folder: Path, dataset: Any) -> None:
    """Writes quickstart.csv, .nc and .png."""
    tables.write_csv(rows(dataset), folder / "quickstart.csv")
    spt.results.save(dataset, folder / "quickstart.nc")
    draw(dataset, folder / "quickstart.png")


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
    distributed.start(config.distributed)
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
