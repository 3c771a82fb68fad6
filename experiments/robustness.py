"""Tables 1 and 2 of arXiv 2602.21321: accuracy against how far symmetric points are off.

    python -m experiments.robustness --help

MNIST on `reram_array_hfo2` (4.3 states) with reads as in Table 6; the offset of every cell of both
arrays is drawn from a normal distribution with reference mean 0, 0.2, 0.3 or 0.4 and std 0.05 to 1.
"fcn" is Table 2 (784-256-128-10, sigmoid, batch 10), "lenet" Table 1 (batch 8, tanh). All cells of
the table and all seeds of a method are members of one program; where memory doesn't take them all,
`chunk` members at a time, which changes results by rounding only. A CPU is quickest with four,
whose arrays its cache holds: 2.5 ms per step and member on 2 cores, 8 with 24. LeNet-5 takes 3 ms
with a process on each core (`--distributed`). A seed has the same devices, initial weights and
batches in every cell of the table, up to the offsets.

Where this differs from the paper's runs: gradients are rounded to pulses cell by cell instead of
coming as trains on the lines. Rates are those of `experiments.search`, one setting per method and
net for the whole table. A full run, 40 epochs and 3 seeds, takes a GPU. One column is read per
step, as the paper prints for LeNet-5 (nothing for the other net): the 784 columns of the first
layer 7.6 times in an epoch of 6,000 steps.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import sptrack as spt
from experiments import data, distributed, printed, study, tables, tuned
from experiments.training import (
    UNITS,
    TrainConfig,
    member_keys,
    steps_per_epoch,
    train_population,
)

REFERENCE = Path(__file__).parent / "reference" / "tables_1_2_accuracy.csv"
PAPER = {"fcn": "T2_FCN", "lenet": "T1_LeNet"}  # which of the tables
NAMES = {"ttv2": "TTv2", "agad": "AGAD", "erider": "E-RIDER"}  # methods there
BENCHMARK = Path(__file__).parent / "results" / "benchmark_cpu" / "steps.csv"
PEER = {"ttv2": "aihwkit, TT-v2", "agad": "aihwkit, AGAD", "erider": "aihwkit, chopped"}  # there
TITLES = NAMES | {"rider": "RIDER", "two_stage": "two-stage"}
RECORDS = (
    "test_accuracy", "train_loss", "sp_rms_error", "weight_rms", "pulses_training",
    "pulses_transfer",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Fill the tables; writes robustness.csv, .nc, .png and manifest.json.

    Attributes:
      net: fcn (Table 2) or lenet (Table 1).
      dataset: digits is embedded; MNIST and Fashion-MNIST are read from IDX files in
        $SPTRACK_DATA_DIR/<name>/ or downloaded.
      methods: which methods to train; the paper has ttv2, agad and erider.
      means: reference means, in weight units.
      stds: reference standard deviations.
      seeds: seeds per cell of the table.
      epochs: passes over the training set; the paper has 40.
      rates: "searched" (`experiments.search`), "printed" in the paper, of its released "scripts"
        (both `experiments.printed`), or "printed_erider", E-RIDER's printed ones for all.
      reads_per_transfer: columns of the residual array read per step.
      chunk: most members (cells x seeds) in one program; default 72, 4 on a CPU.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within a method, after its last epoch.
      distributed: share the work out among the processes of a Slurm (or other) job.
      smoke: one epoch of two cells and one seed on digits, to see that everything works.
    """

    net: Literal["fcn", "lenet"] = "fcn"
    dataset: Literal["digits", "mnist", "fashion_mnist"] = "mnist"
    methods: tuple[Literal["ttv2", "agad", "erider", "rider", "two_stage"], ...] = (
        "ttv2",
        "agad",
        "erider",
    )
    means: tuple[float, ...] = (0.0, 0.2, 0.3, 0.4)
    stds: tuple[float, ...] = (0.05, 0.2, 0.3, 0.4, 0.7, 1.0)
    seeds: int = 3
    epochs: int = 40
    rates: Literal["searched", "printed", "scripts", "printed_erider"] = "searched"
    reads_per_transfer: int = 1
    chunk: int | None = None
    out: Path = Path("runs/robustness")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def members(config: Config) -> list[tuple[float, float, int]]:
    """Mean, std and seed of every member."""
    return [
        (mean, std, seed)
        for mean in config.means
        for std in config.stds
        for seed in range(config.seeds)
    ]


def run(config: Config) -> Any:
    """Trains with every method; each chunk is kept as it finishes.

    Returns:
      The labelled dataset (dimensions algorithm, reference_mean, reference_std, seed, epoch).
    """
    check(config)
    chunk = config.chunk or (4 if jax.default_backend() == "cpu" else 72)
    config = dataclasses.replace(config, chunk=chunk)
    trains = {method: train_of(config, method) for method in config.methods}
    rates = {method: rates_of(config, method) for method in config.methods}
    dataset = data.load_or_exit(config.dataset)
    whole = members(config)
    chunks = range(0, len(whole), chunk)

    of_benchmark = (config.net, config.dataset) == ("fcn", "mnist")

    def part(method, first):
        return lambda: trained(
            method, whole, first, chunk, trains[method], dataset, rates[method],
            config.reads_per_transfer, config.out,
            peer=PEER.get(method) if of_benchmark else None,
        )  # fmt: skip

    settings = {"train": trains, "rates": rates, "reads_per_transfer": config.reads_per_transfer}
    finished = study.collect(
        config.out,
        {f"{m}_{first}": part(m, first) for m in config.methods for first in chunks},
        spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0),
        lambda records: write(config, label(config, records)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(config, finished)


def train_of(config: Config, method: str) -> TrainConfig:
    """How a net trains with a method."""
    train = tuned.train_config(config.net, config.dataset, config.epochs, smoke=config.smoke)
    if config.rates == "searched":
        return train
    return printed.training(train, rates_of(config, method))


def rates_of(config: Config, method: str) -> dict[str, float]:
    """The numbers that a method is given."""
    if config.rates == "searched":
        return tuned.rates_of(config.net, method)
    of = "erider" if config.rates == "printed_erider" else method
    found = printed.rates_of(config.net, of, scripts=config.rates == "scripts")
    return {name: value for name, value in found.items() if name in tuned.takes(method)}


def trained(
    method: str,
    whole: list[tuple[float, float, int]],
    first: int,
    chunk: int,
    train: TrainConfig,
    dataset: Any,
    rates: dict[str, Any],
    reads: int,
    out: Path,
    *,
    peer: str | None = None,
) -> study.Records:
    """Trains members first, first + 1, ... (reference mean, std and seed), a chunk of the whole."""
    name, some = f"{method}_{first}", whole[first : first + chunk]
    means, stds, seeds = zip(*some, strict=True)

    def make(key, mean, std):
        cells = spt.presets.reram_array_hfo2(reference_mean=mean, reference_std=std)
        return tuned.make_analog(method, key, cells, train, dataset, rates, reads)

    begin = time.perf_counter()
    records = train_population(
        make,
        train,
        dataset,
        member_keys(seeds, fast_random=True),
        numbers={"mean": means, "std": stds},
        progress=f"{method} {first + 1}-{first + len(some)} of {len(whole)}".ljust(20),
        checkpoint=study.checkpoint(out, name),
    )
    steps = len(some) * train.epochs * steps_per_epoch(train, dataset)
    report(name, time.perf_counter() - begin, steps, peer)
    return {key: records[key] for key in RECORDS}


def report(name: str, seconds: float, steps: int, peer: str | None = None) -> None:
    """Prints what a part took, compilation included, and aihwkit's program for as many steps."""
    text = (
        f"{name}: {seconds:.0f} s on {jax.device_count()} {jax.default_backend()} device(s), "
        f"{1e3 * seconds / steps:.2f} ms per step and instance"
    )
    if peer is not None:
        ms = peer_ms(peer)
        text += f"; {peer} on 2 cores, {ms:.1f} ms (benchmark): {ms * steps / 1e3:.0f} s"
    print(text, flush=True)


def peer_ms(program: str) -> float:
    """Milliseconds that one step takes there, from the committed benchmark of the same net."""
    rows = tables.read_csv(BENCHMARK)
    return next(float(row["ms_per_step"]) for row in rows if row["program"] == program)


def check(config: Config) -> None:
    """Refuses numbers that make no run."""
    counts = config.seeds, config.epochs, config.chunk, config.reads_per_transfer
    if min(1 if count is None else count for count in counts) < 1:
        raise SystemExit(
            "--seeds, --epochs, --chunk and --reads-per-transfer must be at least 1, got "
            f"{config.seeds}, {config.epochs}, {config.chunk} and {config.reads_per_transfer}."
        )
    if not (config.methods and config.means and config.stds):
        raise SystemExit("--methods, --means and --stds need at least one value each.")
    if config.rates in ("printed", "scripts") and not set(config.methods) <= set(printed.METHODS):
        raise SystemExit(
            f"--rates {config.rates} has numbers for {', '.join(printed.METHODS)}, not for all of "
            f"{', '.join(config.methods)}; give other --methods, or --rates searched."
        )
    for method in config.methods:
        missing = set(tuned.METHODS[method]) - set(rates_of(config, method))
        if missing:
            raise SystemExit(
                f"--rates {config.rates} has no {', '.join(sorted(missing))} for {method}; give "
                "other --methods, or --rates searched."
            )
    if min(config.stds) < 0:
        raise SystemExit(f"--stds are standard deviations >= 0, got {min(config.stds):g}.")


def label(config: Config, finished: dict[str, study.Records]) -> Any:
    """Names and units for the records; NaN where a chunk isn't finished."""
    shape = (len(config.means), len(config.stds), config.seeds, config.epochs)
    variables = {}
    for record in RECORDS:
        methods, values = study.joined(finished, record, len(members(config)))
        unit, long_name = UNITS[record]
        variables[record] = (
            ("algorithm", "reference_mean", "reference_std", "seed", "epoch"),
            values.reshape(-1, *shape),
            {"units": unit, "long_name": long_name},
        )
    coords = {
        "algorithm": methods,
        "reference_mean": (("reference_mean",), np.array(config.means), {"units": "weight"}),
        "reference_std": (("reference_std",), np.array(config.stds), {"units": "weight"}),
        "seed": np.arange(config.seeds),
        "epoch": np.arange(1, config.epochs + 1),
    }
    return spt.results.to_dataset(variables, coords=coords)


def published(net: str) -> dict[tuple[str, float, float], float]:
    """(method, mean, std) -> accuracy in percent in the paper's table for the net."""
    rows = [row for row in tables.read_csv(REFERENCE) if row["table"] == PAPER[net]]
    ours = {name: method for method, name in NAMES.items()}
    return {
        (ours[r["method"]], float(r["reference_mean"]), float(r["reference_std"])): float(
            r["accuracy_percent"]
        )
        for r in rows
    }


def rows(dataset: Any, config: Config) -> list[dict[str, Any]]:
    """One row per method and cell after the last epoch; of MNIST beside the paper's."""
    known = published(config.net) if config.dataset == "mnist" else {}
    table, last = [], dataset.isel(epoch=-1)
    for method in dataset.algorithm.values:
        for mean in dataset.reference_mean.values:
            for std in dataset.reference_std.values:
                at = last.sel(algorithm=method, reference_mean=mean, reference_std=std)
                accuracy = 100 * at.test_accuracy.values.astype(float)
                paper = known.get((str(method), float(mean), float(std)))
                row = {
                    "method": str(method),
                    "reference_mean": float(mean),
                    "reference_std": float(std),
                    "seeds": accuracy.size,
                    "epochs": int(dataset.epoch[-1]),
                    "accuracy_percent": float(accuracy.mean()),
                    "accuracy_std": float(accuracy.std(ddof=1)) if accuracy.size > 1 else None,
                    "paper_percent": paper,
                    "difference": None if paper is None else float(accuracy.mean()) - paper,
                }
                for record in RECORDS[1:]:
                    row[record] = float(at[record].mean())
                table.append(row)
    return table


def write(config: Config, dataset: Any) -> None:
    """Writes robustness.csv, .nc and .png."""
    study.write(config.out, "robustness", rows(dataset, config), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Accuracy against std, a panel per mean; the paper's as open markers on dashed lines."""
    import matplotlib.pyplot as plt

    means, stds = (sorted({r[f"reference_{name}"] for r in table}) for name in ("mean", "std"))
    methods = list(dict.fromkeys(row["method"] for row in table))
    figure, axes = plt.subplots(
        1, len(means), figsize=(4.2 + 2.6 * len(means), 4.2), layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for ax, mean in zip(axes[0], means, strict=True):
        for method, color in zip(methods, tables.COLOURS, strict=False):
            at = [r for r in table if (r["reference_mean"], r["method"]) == (mean, method)]
            x = [r["reference_std"] for r in at]
            ax.errorbar(x, [r["accuracy_percent"] for r in at],
                        yerr=[r["accuracy_std"] or 0 for r in at], marker="o", capsize=3,
                        color=color, label=TITLES[method])  # fmt: skip
            if any(r["paper_percent"] is not None for r in at):
                ax.plot(x, [r["paper_percent"] for r in at], "s--", mfc="none", color=color,
                        lw=0.8, label=f"{TITLES[method]}, paper")  # fmt: skip
        ax.set_title(f"reference mean {mean:g}")
        ax.set_xticks(stds, [f"{std:g}" for std in stds])
        ax.set_xlabel("reference std (weight units)")
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("test accuracy (%)")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""

    def text(name, form):
        value = row[name]
        return "" if value is None or not np.isfinite(value) else format(value, form)

    spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.2f}"
    return {
        "method": row["method"],
        "mean": f"{row['reference_mean']:g}",
        "std": f"{row['reference_std']:g}",
        "accuracy %": f"{row['accuracy_percent']:.2f}{spread}",
        "paper %": text("paper_percent", ".2f"),
        "difference": text("difference", "+.2f"),
        "SP RMS error": text("sp_rms_error", ".3f"),
        "W RMS": text("weight_rms", ".3f"),
        "training": text("pulses_training", ".1f"),
        "transfer": text("pulses_transfer", ".3f"),
    }


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.robustness")
    if config.smoke:
        few: dict[str, Any] = {"dataset": "digits", "epochs": 1, "seeds": 1, "means": (0.4,)}
        config = dataclasses.replace(config, methods=("erider",), stds=(0.05, 1.0), **few)
    distributed.start(config.distributed)
    begin = time.perf_counter()
    table = rows(run(config), config)
    print(tables.text([shown(row) for row in table]))
    print(f"(after {config.epochs} epochs, the paper's after 40; pulses per cell)")
    print(f"{time.perf_counter() - begin:.0f} s in all")
    print(f"Results: {config.out}/robustness.csv, .nc, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
