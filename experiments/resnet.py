"""Fig. 4 middle and right of arXiv 2602.21321: ResNet-18 on offsets of its symmetric points.

    python -m experiments.resnet --help

ResNet-18 (`experiments.nets.ResNetConfig`), whose last residual block and classifier are analog
and whose other layers are digital, learns CIFAR-100. Middle: the mean of the reference is off by
0.4, its cell-to-cell standard deviation varies; right: the standard deviation is 0.4, the mean
varies. Recorded are training loss, of which the authors' plotting script lists the values of the
middle panel, and test accuracy. Where CIFAR-100 is not at hand, it runs on Fashion-MNIST, MNIST or
the embedded digits, with nets as narrow as one likes: that shows how the methods depend on the
offsets, and is no reproduction of the figure.

Where paper and script differ there is a flag: `schedule` (80 epochs, rates times 0.1 every 35; or
100, times 0.85 every 30), `fraction` (all images; or 0.1), `analog` (the script's default is the
classifier alone). The falls come after the same shares of a run of another length.

Not as in the paper: weights start at random, while the script starts from weights that were trained
on ImageNet; images keep their 32 x 32 pixels, while the script enlarges them to 224 x 224, and are
not flipped; normalization is by groups of channels instead of by batches; reads are exact. Every
step reads `reads_per_transfer` columns, by default all. The paper doesn't say how many it reads;
by the defaults of its simulator, a read per image and position of a convolution, 128 x 7 x 7 = 6272
per step, which is more than the 4608 columns there are. One per step would see them once in 12
epochs. Of Table 4 are batch, p and gamma.
Its rates belong to another program's units. `RATES` are for each method the best of the same 6
(learning rates 0.1, 1 and 10, transfer rates 0.01 and 0.1) by the loss after 8 epochs of digits at
4 x 4 pixels, width 4, batch 32, offsets 0.4 +- 0.4, one seed that is not used here; nothing was
tried on CIFAR-100. The digital rate is the same for all methods.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sptrack as spt
from experiments import data, distributed, robustness, study, tables
from experiments.nets import ResNetConfig
from experiments.training import (
    UNITS,
    TrainConfig,
    steps_per_epoch,
)

REFERENCE = Path(__file__).parent / "reference" / "figure_4_middle_loss.csv"
FIXED = 0.4  # the mean while the std varies, the std while the mean varies
CLASSES = {"cifar100": 100}  # others: 10
SCHEDULES = {  # epochs, shares of them after which rates fall, factor
    "paper": (80, (35 / 80, 70 / 80), 0.1),
    "script": (100, (0.3, 0.6, 0.9), 0.85),
}
RATES: dict[str, dict[str, Any]] = {
    "ttv2": {"learning_rate": 10.0, "transfer_rate": 0.1},
    "agad": {"learning_rate": 10.0, "transfer_rate": 0.1, "chop_prob": 0.1},
    "erider": {"learning_rate": 0.1, "transfer_rate": 0.1, "chop_prob": 0.05, "gamma": 0.1},
}
RECORDS = robustness.RECORDS


@dataclasses.dataclass(frozen=True)
class Config:
    """Train ResNet-18; writes resnet.csv, .nc, .png and manifest.json.

    Attributes:
      dataset: cifar100 is read from the binary files in $SPTRACK_DATA_DIR/cifar100/ or downloaded,
        MNIST and Fashion-MNIST from IDX files; digits is embedded.
      methods: which methods to train.
      stds: standard deviations of the reference at mean 0.4, in weight units.
      means: means of the reference at standard deviation 0.4, in weight units; the paper has a
        plot only, these are the means of its tables.
      width: channels of the first blocks; default 64, the paper's, on CIFAR-100 and 8 elsewhere.
      side: images are averaged down to side x side pixels; default as they are.
      fraction: share of the images, training and test; the paper implies 1, its script has 0.1.
      analog: what is on arrays: the last residual block and the classifier, all blocks of the last
        width (stage) and the classifier, or the classifier alone.
      schedule: of learning rates and number of epochs, see above.
      epochs: passes over the training set; default by schedule.
      batch_size: images per step.
      digital_rate: learning rate of digital parameters.
      reads_per_transfer: columns of the residual array read per step, all of a matrix with fewer.
      seeds: seeds per point.
      chunk: most members (points x seeds) in one program.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within a chunk, after its last epoch.
      distributed: share the work out among the processes of a Slurm (or other) job.
      smoke: one step of a net of width 2 on digits, to see that everything works.
    """

    dataset: Literal["cifar100", "fashion_mnist", "mnist", "digits"] = "cifar100"
    methods: tuple[Literal["ttv2", "agad", "erider"], ...] = ("ttv2", "agad", "erider")
    stds: tuple[float, ...] = (0.05, 0.2, 0.4, 0.6, 0.8, 1.0)
    means: tuple[float, ...] = (0.0, 0.2, 0.3, 0.4)
    width: int | None = None
    side: int | None = None
    fraction: float = 1.0
    analog: Literal["block", "stage", "classifier"] = "block"
    schedule: Literal["paper", "script"] = "paper"
    epochs: int | None = None
    batch_size: int = 128
    digital_rate: float = 0.1
    reads_per_transfer: int = 8192
    seeds: int = 1
    chunk: int = 3
    out: Path = Path("runs/resnet")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def points(config: Config) -> list[tuple[float, float]]:
    """(mean, std) of both panels; what both have is trained once."""
    both = [(FIXED, std) for std in config.stds] + [(mean, FIXED) for mean in config.means]
    return list(dict.fromkeys(both))


def images(config: Config) -> data.Dataset:
    """The images that are asked for."""
    whole = data.load_or_exit(config.dataset)
    try:
        some = data.part(whole, config.fraction)
        return some if config.side is None else data.shrunk(some, config.side, channels(config))
    except ValueError as error:
        raise SystemExit(f"--fraction or --side: {error}.") from None


def channels(config: Config) -> int:
    """Colours of a pixel."""
    return 3 if config.dataset == "cifar100" else 1


def train_config(config: Config) -> TrainConfig:
    """How the net is trained."""
    epochs, shares, factor = SCHEDULES[config.schedule]
    width = config.width or (64 if config.dataset == "cifar100" else 8)
    net = ResNetConfig(
        CLASSES.get(config.dataset, 10), channels(config), width, analog=config.analog
    )
    return TrainConfig(
        dataclasses.replace(net, blocks=(1,)) if config.smoke else net,
        epochs=config.epochs or epochs,
        batch_size=config.batch_size,
        digital_rate=config.digital_rate,
        decay_at=shares,
        digital_decay=factor,
        analog_decay=factor,
    )


def run(config: Config) -> Any:
    """Trains with every method; each chunk is kept as it finishes.

    Returns:
      The labelled dataset (dimensions algorithm, point, seed, epoch).
    """
    check(config)
    train, dataset = train_config(config), images(config)
    if steps_per_epoch(train, dataset) < 1:
        raise SystemExit(
            f"{len(dataset.train_labels)} images don't fill a batch of {config.batch_size}: give "
            "a larger --fraction or a smaller --batch-size."
        )
    whole = [(*point, seed) for point in points(config) for seed in range(config.seeds)]
    chunks = range(0, len(whole), config.chunk)

    def part(method, first):
        return lambda: robustness.trained(
            method, whole, first, config.chunk, train, dataset, RATES[method],
            config.reads_per_transfer, config.out,
        )  # fmt: skip

    finished = study.collect(
        config.out,
        {f"{m}_{first}": part(m, first) for m in config.methods for first in chunks},
        spt.results.manifest(
            {"config": dataclasses.asdict(config), "train": train, "rates": RATES}, seed=0
        ),
        lambda records: write(config, label(config, records)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(config, finished)


def check(config: Config) -> None:
    """Refuses numbers that make no run."""
    counts = ("seeds", "epochs", "chunk", "batch_size", "width", "reads_per_transfer")
    for name in counts:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise SystemExit(f"--{name.replace('_', '-')} must be at least 1, got {value}.")
    width = config.width or 64
    if width % 16 and width & (width - 1):
        raise SystemExit(
            f"--width must be a power of two or a multiple of 16, so that groups of 16 channels "
            f"can be normalized; got {width}."
        )
    if not (config.methods and points(config)):
        raise SystemExit("Give --methods, and --stds or --means.")
    if min(config.stds, default=0) < 0:
        raise SystemExit(f"--stds are standard deviations >= 0, got {min(config.stds):g}.")


def label(config: Config, finished: dict[str, study.Records]) -> Any:
    """Names and units for the records; NaN where a chunk isn't finished."""
    means, stds = np.array(points(config)).T
    variables = {}
    for name in RECORDS:
        methods, values = study.joined(finished, name, len(means) * config.seeds)
        variables[name] = (
            ("algorithm", "point", "seed", "epoch"),
            values.reshape(len(methods), len(means), config.seeds, -1),
            {"units": UNITS[name][0], "long_name": UNITS[name][1]},
        )
    coords = {
        "algorithm": methods,
        "reference_mean": (("point",), means, {"units": "weight"}),
        "reference_std": (("point",), stds, {"units": "weight"}),
        "seed": np.arange(config.seeds),
        "epoch": np.arange(1, values.shape[-1] + 1),
    }
    return spt.results.to_dataset(variables, coords=coords)


def published() -> dict[tuple[str, float], float]:
    """(method, std) -> training loss at mean 0.4 in the authors' plotting script."""
    return {
        (method, float(row["ref_std"])): float(row[name])
        for row in tables.read_csv(REFERENCE)
        for method, name in robustness.NAMES.items()
    }


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per method and point after the last epoch, beside the authors' loss."""
    known, table, last = published(), [], dataset.isel(epoch=-1)
    for method in map(str, dataset.algorithm.values):
        for index in range(dataset.sizes["point"]):
            at = last.sel(algorithm=method).isel(point=index)
            mean, std = float(at.reference_mean), float(at.reference_std)
            row: dict[str, Any] = {"method": method, "reference_mean": mean, "reference_std": std}
            row |= {"seeds": at.sizes["seed"], "epochs": int(at.epoch)}
            for name, column, scale in (
                ("train_loss", "train_loss", 1),
                ("test_accuracy", "accuracy_percent", 100),
            ):
                values = scale * at[name].values.astype(float)
                row[column] = float(values.mean())
                row[f"{column}_std"] = float(values.std(ddof=1)) if values.size > 1 else None
            row["paper_loss"] = known.get((method, std)) if mean == FIXED else None
            for name in ("sp_rms_error", "pulses_training", "pulses_transfer"):
                row[name] = float(at[name].mean())
            table.append(row)
    return table


def write(config: Config, dataset: Any) -> None:
    """Writes resnet.csv, .nc and .png."""
    study.write(config.out, "resnet", rows(dataset), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Loss and accuracy against std and mean; the authors' losses as open markers."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(10, 7), layout="constrained", sharey="row")
    panels = (("reference_std", "reference_mean"), ("reference_mean", "reference_std"))
    columns = (("train_loss", "training loss (nat)"), ("accuracy_percent", "test accuracy (%)"))
    methods = list(dict.fromkeys(row["method"] for row in table))
    for (column, text), line in zip(columns, axes, strict=True):
        for (x, fixed), ax in zip(panels, line, strict=True):
            for method, color in zip(methods, tables.COLOURS, strict=False):
                at = [r for r in table if r["method"] == method and r[fixed] == FIXED]
                at.sort(key=lambda row, x=x: row[x])
                ax.errorbar([r[x] for r in at], [r[column] for r in at],
                            yerr=[r[f"{column}_std"] or 0 for r in at], marker="o", capsize=3,
                            color=color, label=robustness.TITLES[method])  # fmt: skip
                known = [(r[x], r["paper_loss"]) for r in at if r["paper_loss"]]
                if column == "train_loss" and x == "reference_std" and known:
                    ax.plot(*zip(*known, strict=True), "s--", mfc="none", color=color, lw=0.8,
                            label=f"{robustness.TITLES[method]}, authors, CIFAR-100")  # fmt: skip
            ax.set_xlabel(f"{x.replace('_', ' ')} (weight units), {fixed[10:]} {FIXED}")
            ax.grid(alpha=0.3)
        line[0].set_ylabel(text)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3,
                  fontsize=8)  # fmt: skip
    figure.savefig(path, dpi=150)
    plt.close(figure)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""
    return {
        "method": row["method"],
        "mean": f"{row['reference_mean']:g}",
        "std": f"{row['reference_std']:g}",
        "training loss": tables.with_spread(row, "train_loss", ".3f"),
        "authors' loss": "" if row["paper_loss"] is None else f"{row['paper_loss']:.3f}",
        "accuracy %": tables.with_spread(row, "accuracy_percent", ".1f"),
        "SP RMS error": f"{row['sp_rms_error']:.3f}",
        "training": f"{row['pulses_training']:.1f}",
        "transfer": f"{row['pulses_transfer']:.3f}",
    }


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.resnet")
    if config.smoke:
        few: dict[str, Any] = {"dataset": "digits", "fraction": 0.02, "width": 2, "batch_size": 16}
        few |= {"methods": ("erider",), "stds": (1.0,), "means": ()}
        config = dataclasses.replace(config, seeds=1, epochs=1, side=None, **few)
    distributed.start(config.distributed)
    print(tables.text([shown(row) for row in rows(run(config))]))
    print("(the authors' losses: CIFAR-100, weights from ImageNet; pulses per cell)")
    print(f"Results: {config.out}/resnet.csv, .nc, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
