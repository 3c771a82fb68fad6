"""All algorithms on the same cells: accuracy, tracking error, pulses and cost of an update.

    python -m experiments.algorithms --help

Every algorithm trains the same net twice: on cells whose symmetric points are known (offsets
0 ± 0.05) and on cells where they are off (0.4 ± 0.4). All seeds and both offsets of an algorithm
are one compiled program. Rates are shared, as `experiments.settings` has them: no algorithm was
tuned by itself, and algorithms of one family differ only in what their names say.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sptrack as spt
from experiments import data, distributed, study, tables
from experiments.settings import ALGORITHMS, analog, setting_of, small
from experiments.training import UNITS, member_keys, train_population

OFFSETS = ((0.0, 0.05), (0.4, 0.4))  # mean and std of the reference error
PULSES = ("pulses_calibration", "pulses_training", "pulses_transfer")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare all algorithms; writes algorithms.csv, .nc, .png and manifest.json.

    Attributes:
      dataset: digits is embedded; MNIST and Fashion-MNIST are read from IDX files in
        $SPTRACK_DATA_DIR/<name>/ or downloaded.
      device: preset of the cells, for all arrays; default reram_array_om (21 states).
      algorithms: which algorithms to train.
      seeds: number of seeds, each with cells, initial weights and batches of its own.
      epochs: passes over the training set; default by data set.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within an algorithm, after its last epoch.
      distributed: share the algorithms out among the processes of a Slurm (or other) job.
      smoke: one epoch of one seed with three algorithms, to see that everything works.
    """

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    device: Literal["reram_array_om", "reram_array_hfo2"] = "reram_array_om"
    algorithms: tuple[str, ...] = ALGORITHMS
    seeds: int = 3
    epochs: int | None = None
    out: Path = Path("runs/algorithms")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def run(config: Config) -> Any:
    """Trains with every algorithm; each one is kept as it finishes.

    Returns:
      The labelled dataset (dimensions algorithm, offset, seed, epoch).
    """
    if config.smoke:
        few = ("digital_sgd", "agad", "mixed_precision")
        config = dataclasses.replace(config, seeds=1, epochs=1, algorithms=few)
    check(config)
    setting = setting_of(config.dataset, config.epochs)
    dataset = data.load_or_exit(config.dataset)
    if config.smoke:
        setting, dataset = small(setting, dataset)
    preset = getattr(spt.presets, config.device)
    pairs = [(offset, seed) for offset in OFFSETS for seed in range(config.seeds)]
    # Both offsets of a seed get the same key: the same cells up to their offsets.
    keys = member_keys([seed for _, seed in pairs], fast_random=True)
    numbers = {
        "mean": [offset[0] for offset, _ in pairs],
        "std": [offset[1] for offset, _ in pairs],
    }

    def part(name):
        def make(key, mean, std):
            cells = preset(reference_mean=mean, reference_std=std)
            return analog(name, key, cells, setting, dataset)

        def train():
            records = train_population(
                make,
                setting.train,
                dataset,
                keys,
                numbers=numbers,
                progress=name.ljust(17),
                checkpoint=study.checkpoint(config.out, name),
            )
            shape = (len(OFFSETS), config.seeds, -1)
            return {record: values.reshape(shape) for record, values in records.items()}

        return train

    manifest = spt.results.manifest(
        {"config": dataclasses.asdict(config), "setting": setting, "offsets": OFFSETS}, seed=0
    )
    finished = study.collect(
        config.out,
        {name: part(name) for name in config.algorithms},
        manifest,
        lambda records: write(config.out, label(records)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(finished)


def check(config: Config) -> None:
    """Refuses numbers and names that make no run."""
    if config.seeds < 1 or (config.epochs is not None and config.epochs < 1):
        raise SystemExit(
            f"--seeds and --epochs must be at least 1, got {config.seeds} and {config.epochs}."
        )
    unknown = sorted(set(config.algorithms) - set(ALGORITHMS))
    if unknown or not config.algorithms:
        raise SystemExit(
            f"--algorithms are some of {', '.join(ALGORITHMS)}; got {' '.join(unknown) or 'none'}."
        )


def label(finished: dict[str, study.Records]) -> Any:
    """Names and units for the records."""
    variables = {
        name: (
            ("algorithm", "offset", "seed", "epoch"),
            np.stack([records[name] for records in finished.values()]),
            {"units": unit, "long_name": long_name},
        )
        for name, (unit, long_name) in UNITS.items()
    }
    *_, seeds, epochs = next(iter(finished.values()))["test_accuracy"].shape
    coords = {
        "algorithm": list(finished),
        "offset": [f"{mean:g} ± {std:g}" for mean, std in OFFSETS],
        "seed": np.arange(seeds),
        "epoch": np.arange(1, epochs + 1),
    }
    return spt.results.to_dataset(variables, coords=coords)


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per offset and algorithm, at the last epoch, mean and std over seeds."""
    last = dataset.isel(epoch=-1)
    table = []
    for offset in dataset.offset.values:
        for name in dataset.algorithm.values:
            at = last.sel(algorithm=name, offset=offset)
            accuracy = 100 * at.test_accuracy.values
            row = {
                "offset": str(offset),
                "algorithm": str(name),
                "seeds": accuracy.size,
                "accuracy_percent": float(accuracy.mean()),
                "accuracy_std": float(accuracy.std(ddof=1)) if accuracy.size > 1 else None,
            }
            for record in ("sp_rms_error", *PULSES):
                value = float(at[record].mean())
                row[record] = value if np.isfinite(value) else None
            cost = update_cost(str(name))
            row["update_ns"] = None if cost is None else float(cost.time_ns)
            row["digital_values"] = None if cost is None else float(cost.storage)
            table.append(row)
    return table


def update_cost(name: str) -> Any:
    """Cost of one update of a 512 x 512 array (`spt.costs`), None where nothing is pulsed."""
    return spt.costs.update_cost(name) if name in spt.costs.SOURCES else None


def write(folder: Path, dataset: Any) -> None:
    """Writes algorithms.csv, .nc and .png."""
    study.write(folder, "algorithms", rows(dataset), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Accuracy by algorithm, a marker per offset."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["algorithm"] for row in table))
    figure, ax = plt.subplots(figsize=(9, 0.5 * len(names) + 1.5), layout="constrained")
    for index, offset in enumerate(dict.fromkeys(row["offset"] for row in table)):
        at = [row for row in table if row["offset"] == offset]
        ax.errorbar(
            [row["accuracy_percent"] for row in at],
            [names.index(row["algorithm"]) + 0.12 * (2 * index - 1) for row in at],
            xerr=[row["accuracy_std"] or 0 for row in at],
            fmt="os"[index % 2],
            color=tables.COLOURS[index],
            capsize=3,
            label=f"symmetric points off by {offset}",
        )
    ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    ax.invert_yaxis()
    ax.grid(axis="x", alpha=0.3)
    ax.set_xlabel("test accuracy (%), mean and std over seeds")
    figure.legend(loc="outside upper center", ncols=2)  # inside it would cover a marker
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.algorithms")
    distributed.start(config.distributed)
    print(f"{config.dataset} on {config.device}")
    table = rows(run(config))
    print(tables.text([shown(row) for row in table]))
    print("(pulses per cell; cost of one update of a 512 x 512 array)")
    print(f"Results: {config.out}/algorithms.csv, .nc, .png, manifest.json", file=sys.stderr)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""

    def text(name, form):
        return "" if row[name] is None else format(row[name], form)

    spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.1f}"
    return {
        "offset": row["offset"],
        "algorithm": row["algorithm"],
        "accuracy %": f"{row['accuracy_percent']:.1f}{spread}",
        "SP RMS error": text("sp_rms_error", ".3f"),
        "calibration": text("pulses_calibration", ".0f"),
        "training": text("pulses_training", ".1f"),
        "transfer": text("pulses_transfer", ".3f"),
        "update ns": text("update_ns", ".1f"),
        "digital values": text("digital_values", ".0f"),
    }


if __name__ == "__main__":
    main()
