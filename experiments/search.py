"""Hyper-parameters by a vmapped search, for every method with the same protocol and budget.

    python -m experiments.search --help

Protocol, the same for all methods of a net:

1. The training set is shuffled once (NumPy's generator, seed 0); its last `validation` examples are
   set apart, and the first `examples` are trained on. The test set is not looked at.
2. Random: `random` candidates from a Latin hypercube over the logarithms of `RANGES`. All methods
   get the same points of the cube, each in the parameters that it has (`experiments.tuned`).
3. Local: `local` candidates around the best one so far, each parameter times exp(s xi), s an eighth
   of the range's logarithm, kept inside the range.
4. With `--earlier` there is another stage instead of these two: the `keep` best candidates that
   other searches found for a method are tried again, as a rule in longer runs. A short run tells
   little about which of two good rates is better in a long one.
5. A candidate's score is its validation accuracy after the last epoch, mean over the cells
   `OFFSETS` (reference mean and std) with one seed: one setting has to do for all cells, as in the
   paper. The best of all candidates wins. The seed is the first one of `experiments.robustness`:
   rates are chosen on the devices of two of its cells, though not on its test images.

Net, batch, epochs, schedule of the rates, reads and the digital rate are the same for everybody.
`chunk` candidates and their cells are the members of one program. search.csv has every candidate,
tuned.csv the winners; `experiments.tuned` reads the committed one.
"""

import dataclasses
import functools
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import sptrack as spt
from experiments import data, distributed, study, tables, tuned
from experiments.training import member_keys, train_population

RANGES = {
    "learning_rate": (1.0, 32.0),
    "transfer_rate": (0.003, 1.0),
    "chop_prob": (0.05, 0.5),
    "gamma": (0.01, 0.5),
    "eta": (0.01, 1.0),
}
OFFSETS = ((0.0, 0.05), (0.4, 0.4))
STAGES = {"random": "o", "local": "^", "again": "s"}  # and their marks in the figure


@dataclasses.dataclass(frozen=True)
class Config:
    """Search rates; writes search.csv, tuned.csv, search.nc, search.png and manifest.json.

    Attributes:
      net: fcn (Table 2) or lenet (Table 1).
      dataset: digits is embedded; MNIST and Fashion-MNIST are read from IDX files.
      methods: which methods to search for.
      random: candidates of the random stage.
      local: candidates of the local stage.
      earlier: tables of earlier searches (search.csv or tuned.csv), whose best candidates are tried
        instead of new ones; of this net or another.
      keep: candidates of each method that are taken from each of these tables.
      examples: training examples.
      validation: examples of the training set that are set apart to choose with.
      epochs: passes over the training examples.
      reads_per_transfer: columns of the residual array read per step.
      chunk: most candidates in one program; default 8, 2 on a CPU.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within a stage, after its last epoch.
      distributed: share the candidates out among the processes of a Slurm (or other) job.
      smoke: two candidates per stage and one method on digits, to see that everything works.
    """

    net: Literal["fcn", "lenet"] = "fcn"
    dataset: Literal["digits", "mnist", "fashion_mnist"] = "mnist"
    methods: tuple[Literal["ttv2", "agad", "erider", "rider", "two_stage"], ...] = (
        "ttv2",
        "agad",
        "erider",
    )
    random: int = 8
    local: int = 4
    earlier: tuple[Path, ...] = ()
    keep: int = 2
    examples: int = 30000
    validation: int = 10000
    epochs: int = 1
    reads_per_transfer: int = 1
    chunk: int | None = None
    out: Path = Path("runs/search")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def split(dataset: data.Dataset, examples: int, validation: int) -> data.Dataset:
    """The first training examples after shuffling, and the last ones in the place of the test set.

    Raises:
      SystemExit: if there are not so many.
    """
    size = len(dataset.train_labels)
    if min(examples, validation) < 1 or examples + validation > size:
        raise SystemExit(
            f"--examples and --validation must be at least 1 and together at most {size}, got "
            f"{examples} and {validation}."
        )
    order = np.random.default_rng(0).permutation(size)
    first, last = order[:examples], order[-validation:]
    images, labels = dataset.train_images, dataset.train_labels
    return data.Dataset(images[first], labels[first], images[last], labels[last], dataset.name)


def random_candidates(method: str, count: int) -> dict[str, np.ndarray]:
    """Points of a Latin hypercube over the logarithms of `RANGES`, in the method's parameters."""
    rng = np.random.default_rng(0)
    cube = {name: (rng.permutation(count) + rng.random(count)) / count for name in RANGES}
    return {
        name: np.exp((1 - cube[name]) * np.log(low) + cube[name] * np.log(high))
        for name, (low, high) in RANGES.items()
        if name in tuned.METHODS[method]
    }


def local_candidates(best: dict[str, float], count: int) -> dict[str, np.ndarray]:
    """Points around the best one, inside the ranges."""
    rng, found = np.random.default_rng(1), {}
    for name, (low, high) in RANGES.items():
        factors = np.exp(np.log(high / low) / 8 * rng.standard_normal(count))
        if name in best:
            found[name] = np.clip(best[name] * factors, low, high)
    return found


def earlier_candidates(method: str, config: Config) -> dict[str, np.ndarray]:
    """The best candidates of a method in the tables of earlier searches, each of them once.

    Raises:
      SystemExit: if a table isn't there, is no table of a search, or has nothing on the method.
    """
    names, found = tuned.METHODS[method], []
    for path in config.earlier:
        try:
            table = [row for row in tables.read_csv(path) if row["method"] == method]
            table.sort(key=lambda row: -float(row["score"]))
            best = [tuple(float(row[name]) for name in names) for row in table[: config.keep]]
        except (OSError, KeyError, ValueError) as error:
            raise SystemExit(
                f"--earlier {path}: no search.csv or tuned.csv ({error!r})."
            ) from error
        if not best:
            raise SystemExit(f"--earlier {path} has no candidates of {method}; see --methods.")
        found += best
    return dict(zip(names, np.array(list(dict.fromkeys(found))).T, strict=True))


def best_of(records: study.Records) -> tuple[int, dict[str, float]]:
    """Index and parameters of the candidate with the highest score."""
    index = int(np.argmax(records["accuracy"].mean(axis=1)))
    return index, {k: float(v[index]) for k, v in records.items() if k in RANGES}


def score(
    method: str, candidates: dict[str, np.ndarray], config: Config, dataset: Any, name: str
) -> study.Records:
    """Trains candidates on all cells: their parameters, and accuracy (candidates, cells)."""
    train = tuned.train_config(config.net, config.dataset, config.epochs, smoke=config.smoke)
    count = len(candidates["learning_rate"])
    numbers = {key: np.repeat(values, len(OFFSETS)) for key, values in candidates.items()}
    means, stds = np.tile(np.array(OFFSETS), (count, 1)).T

    reads = config.reads_per_transfer

    def make(key, mean, std, **rates):
        cells = spt.presets.reram_array_hfo2(reference_mean=mean, reference_std=std)
        return tuned.make_analog(method, key, cells, train, dataset, rates, reads)

    records = train_population(
        make,
        train,
        dataset,
        member_keys(np.zeros(len(means), int), fast_random=True),
        numbers={"mean": means, "std": stds, **numbers},
        progress=name.ljust(17),
        checkpoint=study.checkpoint(config.out, name),
    )
    accuracy = records["test_accuracy"][:, -1].reshape(count, len(OFFSETS))
    return {"accuracy": np.nan_to_num(accuracy), **candidates}


def run(config: Config) -> dict[str, study.Records]:
    """Searches; every chunk is kept as it finishes. Returns the records of every chunk."""
    names = "random", "local", "keep", "epochs", "reads_per_transfer", "chunk"
    counts = [getattr(config, name) for name in names]
    if min(1 if count is None else count for count in counts) < 1 or not config.methods:
        flags = ", ".join("--" + name.replace("_", "-") for name in names)
        raise SystemExit(
            f"{flags} must be at least 1, got {', '.join(map(str, counts))}; --methods needs some."
        )
    chunk = config.chunk or (2 if jax.default_backend() == "cpu" else 8)
    config = dataclasses.replace(config, chunk=chunk)
    dataset = split(data.load_or_exit(config.dataset), config.examples, config.validation)
    settings = {
        "train": tuned.train_config(config.net, config.dataset, config.epochs, smoke=config.smoke)
    }
    settings |= {"ranges": RANGES, "offsets": OFFSETS}
    again = {name: earlier_candidates(name, config) for name in config.methods if config.earlier}
    settings |= {"again": again} if again else {}
    manifest = spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0)

    def collect(stage, candidates_of, known, *, overwrite=False):
        """Scores a stage's candidates, `chunk` in a part; `known` are the parts before it."""
        parts = {name: (lambda records=records: records) for name, records in known.items()}
        for method in config.methods:
            candidates = candidates_of(method)
            for first in range(0, len(candidates["learning_rate"]), chunk):
                some = {key: values[first : first + chunk] for key, values in candidates.items()}
                name = f"{method}_{stage}_{first}"
                parts[name] = functools.partial(score, method, some, config, dataset, name)
        return study.collect(
            config.out, parts, manifest, lambda records: write(config, records),
            resume=config.resume, overwrite=overwrite,
        )  # fmt: skip

    def around_best(method):
        found = [tried[f"{method}_random_{n}"] for n in range(0, config.random, chunk)]
        _, best = best_of({k: np.concatenate([f[k] for f in found]) for k in found[0]})
        return local_candidates(best, config.local)

    if again:
        return collect("again", again.__getitem__, {}, overwrite=config.overwrite)
    # The local stage waits for the random one, parts of which other processes may have scored.
    anywhere = functools.partial(random_candidates, count=config.random)
    tried = collect("random", anywhere, {}, overwrite=config.overwrite)
    return collect("local", around_best, tried)


def rows(finished: dict[str, study.Records]) -> list[dict[str, Any]]:
    """One row per candidate."""
    table = []
    for name, records in finished.items():
        method, stage, first = name.rsplit("_", 2)
        for index in range(len(records["accuracy"])):
            row: dict[str, Any] = {"method": method, "stage": stage}
            row["candidate"] = int(first) + index
            row |= {key: float(records[key][index]) if key in records else None for key in RANGES}
            row |= {
                f"accuracy_{mean:g}_{std:g}": 100 * float(records["accuracy"][index, cell])
                for cell, (mean, std) in enumerate(OFFSETS)
            }
            row["score"] = 100 * float(records["accuracy"][index].mean())
            table.append(row)
    return table


def winners(table: list[dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """The best candidate of each method, and how many it was chosen from."""
    found = []
    for method in dict.fromkeys(row["method"] for row in table):
        of_method = [row for row in table if row["method"] == method]
        best = max(of_method, key=lambda row: row["score"])
        row = {"net": config.net, "dataset": config.dataset, "method": method}
        row |= {name: best[name] for name in RANGES}
        row |= {"score": best["score"], "candidates": len(of_method)}
        row["steps"] = config.epochs * (config.examples // tuned.NETS[config.net].batch_size)
        row["reads_per_transfer"] = config.reads_per_transfer
        found.append(row)
    return found


def label(finished: dict[str, study.Records]) -> Any:
    """All candidates with names and units."""
    table = rows(finished)
    attributes = {"accuracy": "validation accuracy"}
    variables: dict[str, tuple] = {
        "accuracy": (
            ("candidate", "offset"),
            np.concatenate([records["accuracy"] for records in finished.values()]),
            {"units": "1", "long_name": attributes["accuracy"]},
        )
    }
    for name in RANGES:
        values = [np.nan if row[name] is None else row[name] for row in table]
        variables[name] = ("candidate", np.array(values))
    coords = {
        "candidate": [f"{r['method']} {r['stage']} {r['candidate']}" for r in table],
        "offset": [f"{mean:g} ± {std:g}" for mean, std in OFFSETS],
    }
    return spt.results.to_dataset(variables, coords=coords)


def write(config: Config, finished: dict[str, study.Records]) -> None:
    """Writes search.csv, tuned.csv, search.nc and search.png."""
    table = rows(finished)
    tables.write_csv(table, config.out / "search.csv")
    tables.write_csv(winners(table, config), config.out / "tuned.csv")
    spt.results.save(label(finished), config.out / "search.nc")
    draw(table, config.out / "search.png")


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Score against each parameter, a colour per method."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    names = [name for name in RANGES if any(row[name] is not None for row in table)]
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.4 + 2.9 * len(names), 3.8), layout="constrained", sharey=True
    )
    methods = list(dict.fromkeys(row["method"] for row in table))
    for ax, name in zip(axes, names, strict=True):
        for method, color in zip(methods, tables.COLOURS, strict=False):
            points = [(r[name], r["score"], r["stage"]) for r in table if r["method"] == method]
            for stage, marker in STAGES.items():
                at = [(x, y) for x, y, which in points if which == stage and x is not None]
                if at:
                    ax.plot(*zip(*at, strict=True), marker, color=color, mfc="none",
                            label=f"{method}, {stage}")  # fmt: skip
        low, high = RANGES[name]
        ax.set_xscale("log")
        ax.set_xlim(0.8 * low, 1.25 * high)
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.minorticks_off()
        ax.set_xlabel(name.replace("_", " "))
        ax.grid(alpha=0.3)
    axes[0].set_ylabel("validation accuracy (%), mean over cells")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.search")
    if config.smoke:
        few: dict[str, Any] = {"methods": ("ttv2",), "random": 2, "local": 2}
        few |= {"dataset": "digits", "examples": 100, "validation": 100}
        config = dataclasses.replace(config, **few)
    distributed.start(config.distributed)
    table = rows(run(config))
    print(tables.text([shown(row) for row in table]))
    print("\nBest of each method:")
    print(tables.text([shown(row) for row in winners(table, config)]))
    print(f"Results: {config.out}/search.csv, tuned.csv, .nc, .png", file=sys.stderr)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""
    return {name: tables.cell(value, ".3g") for name, value in row.items()}


if __name__ == "__main__":
    main()
