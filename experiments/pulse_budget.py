"""Fig. 4 left of arXiv 2602.21321: pulses until the training loss is low, calibration included.

    python -m experiments.pulse_budget --help

Two-stage: N pulses find the symmetric points (`experiments.calibrated` says how the paper does it),
then TT-v2 trains. E-RIDER trains on the same cells at once. The cost is the paper's, pulse slots of
one array: N + 5 per step, whatever the cells get of them; beside it stands what cells get, N plus
the pulses sent to P and W per cell. The paper has one run per point; here are several seeds, so
that "E-RIDER consistently achieves a lower total pulse cost" can be checked. It names a target of
0.2, the released script has 0.1: both are counted.

Rates on digits: for each method the best of the same 16 (4 learning rates x 4 transfer rates) by
the epochs to a loss of 0.2, then by the loss, at 1000 states (N = 6000) with a seed that is not
used here; learning rates 0.05 to 3.2, transfer rates 0.02 to 2.5, the largest of which both methods
have. With LeNet-5 the best of the same 9 (learning rates 0.8, 3.2, 12.8, transfer rates 0.1, 0.5,
2.5) by the loss after 3 epochs of MNIST, likewise: 0.087 of 0.087 to 0.136 for E-RIDER, 0.071 of
0.071 to 0.101 for the two-stage method. Every one of them reached 0.2 in the second epoch. All else
is `experiments.settings`.
"""

import dataclasses
import itertools
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

import sptrack as spt
from experiments import calibrated, data, distributed, study, tables
from experiments.settings import Setting, small
from experiments.training import UNITS, member_keys, steps_per_epoch, train_population

REFERENCE = Path(__file__).parent / "reference" / "figure_4_left_pulses.csv"
SLOTS = 5  # pulse slots per step
RATES = {  # of P, of the transfer
    "digits": {"two_stage": (0.8, 2.5), "erider": (0.8, 2.5)},
    "mnist": {"two_stage": (3.2, 0.5), "erider": (3.2, 0.5)},
}
Point = tuple[str, int, int]  # method, states, N
TITLES = {"two_stage": "two-stage", "erider": "E-RIDER"}
RECORDS = ("train_loss", "pulses_training", "pulses_transfer")


@dataclasses.dataclass(frozen=True)
class Config:
    """Count pulses to the target loss; writes pulse_budget.csv, .nc, .png and manifest.json.

    Attributes:
      dataset: digits is embedded; MNIST and Fashion-MNIST (with LeNet-5) are read from IDX files.
      states: numbers of states of the cells, (w_max - w_min) / dw_min.
      pulses: calibration pulses N of the two-stage algorithm.
      targets: training losses to reach, mean over an epoch; the paper has 0.2, its script 0.1.
      seeds: runs per point.
      epochs: passes over the training set after which a run has failed.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within a part, after its last epoch.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: a tiny net for two epochs, to see that everything works.
    """

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    states: tuple[int, ...] = (500, 1000, 2000)
    pulses: tuple[int, ...] = (4000, 6000, 8000)
    targets: tuple[float, ...] = (0.2, 0.1)
    seeds: int = 5
    epochs: int = 40
    out: Path = Path("runs/pulse_budget")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def rates_of(dataset: str) -> dict[str, tuple[float, float]]:
    """Learning rate and transfer rate of each method; all images of 28 x 28 have those of MNIST."""
    return RATES["digits" if dataset == "digits" else "mnist"]


def make_analog(method: str, key: Any, cells: Any, setting: Setting, alpha: Any, beta: Any) -> Any:
    """TT-v2 against a reference of zero, or E-RIDER; by columns."""
    rates = setting.rates
    shared: dict[str, Any] = {
        "transfer_rate": beta,
        "residual_spec": cells,
        "weight_spec": cells,
        "transfer": spt.ColumnTransfer(reads_per_transfer=rates.reads_per_transfer),
        "key": key,
    }
    if method == "two_stage":
        return spt.ttv2(alpha, buffer=spt.DigitalBuffer(), **shared)
    return spt.erider(alpha, gamma=rates.gamma, eta=1.0, chop_prob=rates.chop_prob, **shared)


def points(config: Config) -> dict[str, list[Point]]:
    """What is trained in one program: a method at a number of states, with every N."""
    calibrations = {"two_stage": config.pulses, "erider": (0,)}
    return {
        f"{method}_{states}": [(method, states, n) for n in pulses]
        for method, pulses in calibrations.items()
        for states in config.states
    }


def train_points(
    name: str, config: Config, setting: Setting, dataset: Any
) -> dict[str, np.ndarray]:
    """The records of the points that go by this name, shape (points, seeds, epochs)."""
    here = points(config)[name]
    method, states, _ = here[0]
    alpha, beta = rates_of(config.dataset)[method]
    numbers: dict[str, Any] = {"dw_min": [2 / states for _ in here]}
    if method == "two_stage":
        offsets = [calibrated.offset(n, 2 / states) for *_, n in here]
        numbers |= {"mean": [mu for mu, _ in offsets], "std": [sigma for _, sigma in offsets]}

    def make(key, dw_min, **offset):
        cells = (
            calibrated.calibrated(dw_min, **offset) if offset else calibrated.uncalibrated(dw_min)
        )
        return make_analog(method, key, cells, setting, alpha, beta)

    records = train_population(
        make,
        setting.train,
        dataset,
        member_keys(np.tile(np.arange(config.seeds), len(here)), fast_random=True),
        numbers={name: np.repeat(values, config.seeds) for name, values in numbers.items()},
        progress=name.ljust(14),
        checkpoint=study.checkpoint(config.out, name),
    )
    return {name: records[name].reshape(len(here), config.seeds, -1) for name in RECORDS}


def run(config: Config) -> Any:
    """Trains with both methods; the labelled dataset has dimensions target, point, seed, epoch."""
    counts = (config.seeds, config.epochs, *config.states, *config.pulses)
    if min(counts) < 1 or not config.targets or min(config.targets) <= 0:
        raise SystemExit(
            "--states, --pulses, --targets, --seeds and --epochs need positive numbers, got "
            f"{config.states}, {config.pulses}, {config.targets}, {config.seeds} and "
            f"{config.epochs}."
        )
    setting = calibrated.setting(config.dataset, config.epochs)
    dataset = data.load_or_exit(config.dataset)
    if config.smoke:
        setting, dataset = small(setting, dataset)
    per_epoch = steps_per_epoch(setting.train, dataset) * SLOTS
    settings = {"setting": setting, "rates": rates_of(config.dataset), "slots": SLOTS}
    finished = study.collect(
        config.out,
        {
            name: (lambda name=name: train_points(name, config, setting, dataset))
            for name in points(config)
        },
        spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0),
        lambda records: write(config, label(config, records, per_epoch)),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(config, finished, per_epoch)


def label(config: Config, finished: dict[str, study.Records], slots_per_epoch: int) -> Any:
    """Names and units for the records, and the costs; NaN where the target was not reached."""
    here = [point for name in finished for point in points(config)[name]]
    joined = {
        name: np.concatenate([records[name] for records in finished.values()]) for name in RECORDS
    }
    epochs = np.stack([epochs_to(joined["train_loss"], target) for target in config.targets])
    calibration = np.array([n for *_, n in here])[:, None]
    sent = joined["pulses_training"] + joined["pulses_transfer"]
    last = np.nan_to_num(epochs, nan=1).astype(int) - 1
    at_target = np.take_along_axis(sent[None], last[..., None], -1)[..., 0]
    variables: dict[str, tuple] = {
        name: (
            ("point", "seed", "epoch"),
            values,
            {"units": UNITS[name][0], "long_name": UNITS[name][1]},
        )
        for name, values in joined.items()
    }
    whole = ("target", "point", "seed")
    variables |= {
        "epochs": (whole, epochs, {"units": "epoch", "long_name": "epochs to the target"}),
        "slots": (whole, calibration + epochs * slots_per_epoch, {"units": "pulse slot"}),
        "cell_pulses": (
            whole,
            np.where(np.isnan(epochs), np.nan, calibration + at_target),
            {"units": "pulse/cell"},
        ),
    }
    method, states, n = zip(*here, strict=True)
    coords = {
        "target": ("target", np.array(config.targets), {"units": "nat"}),
        "method": ("point", np.array(method)),
        "states": ("point", np.array(states)),
        "calibration": ("point", np.array(n), {"units": "pulse/cell"}),
    }
    return spt.results.to_dataset(variables, coords=coords)


def epochs_to(loss: np.ndarray, target: float) -> np.ndarray:
    """First epoch (from 1) whose loss is at most the target, NaN if none is; epochs come last."""
    reached = loss <= target
    return np.where(reached.any(-1), reached.argmax(-1) + 1.0, np.nan)


def published_rows() -> list[dict[str, Any]]:
    """The paper's figure as rows for `verdict`; it has one run per point."""
    return [
        {"method": m, "states": s, "slots": slots, "seeds": 1, "reached": int(slots is not None)}
        for (m, s, _), slots in published().items()
    ]


def published() -> dict[tuple[str, int, int], float | None]:
    """(method, states, N) -> total pulses in the paper's figure; None where it fails."""
    names = {"two-stage": "two_stage", "E-RIDER": "erider"}
    return {
        (names[r["method"]], int(r["states"]), int(r["N_zs"])): float(r["total_pulses"])
        if r["total_pulses"]
        else None
        for r in tables.read_csv(REFERENCE)
    }


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per target and point: mean and standard error over the seeds that reached it."""
    known, table = published(), []
    for target, index in itertools.product(dataset.target.values, range(dataset.sizes["point"])):
        at = dataset.sel(target=target).isel(point=index)
        key = (str(at.method.values), int(at.states), int(at.calibration))
        row: dict[str, Any] = {"target": float(target)}
        row |= dict(zip(("method", "states", "calibration"), key, strict=True))
        reached = np.isfinite(at.epochs.values)
        row |= {"seeds": reached.size, "reached": int(reached.sum())}
        for name in ("epochs", "slots", "cell_pulses"):
            values = at[name].values[reached]
            row[name] = float(values.mean()) if values.size else None
            row[f"{name}_se"] = (
                float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else None
            )
        row["paper_slots"] = known.get(key)
        table.append(row)
    return table


def by_target(table: list[dict[str, Any]]) -> dict[float, list[dict[str, Any]]]:
    """The rows of each target."""
    targets = dict.fromkeys(row["target"] for row in table)
    return {target: [row for row in table if row["target"] == target] for target in targets}


def verdict(table: list[dict[str, Any]]) -> str:
    """Whether E-RIDER costs less than two-stage training at every number of states and every N.

    Its cost is open where only some of its runs reached the target, and infinite where none did.
    Two-stage training costs at least the mean over those of its runs that did.
    """
    tracked = {row["states"]: row for row in table if row["method"] == "erider"}
    others = [row for row in table if row["method"] == "two_stage" and row["states"] in tracked]
    pairs = [(tracked[row["states"]], row) for row in others]
    known = [(ours, other) for ours, other in pairs if ours["reached"] in (0, ours["seeds"])]
    lower = sum(
        ours["reached"] > 0 and (other["reached"] == 0 or ours["slots"] < other["slots"])
        for ours, other in known
    )
    if pairs and lower == len(pairs):
        text = "holds"
    elif pairs and lower == len(known):
        text = "is not shown"
    else:
        text = "does not hold"
    unknown = len(pairs) - len(known)
    return (
        f'"Consistently lower" {text}: E-RIDER needs fewer pulse slots in {lower} of '
        f"{len(pairs)} comparisons"
        + (f"; in {unknown} not all its runs reached the target." if unknown else ".")
    )


def write(config: Config, dataset: Any) -> None:
    """Writes pulse_budget.csv, .nc and .png."""
    study.write(config.out, "pulse_budget", rows(dataset), dataset, draw)


def draw(table: list[dict[str, Any]], path: Path) -> None:
    """Total pulse slots, and pulses per cell, against the number of states; a row per target."""
    import matplotlib.pyplot as plt

    parts = by_target(table)
    costs = {"slots": "total pulse slots", "cell_pulses": "pulses per cell"}
    figure, axes = plt.subplots(
        len(parts), 2, figsize=(11, 4 * len(parts)), layout="constrained", squeeze=False
    )
    for line, (target, part) in zip(axes, parts.items(), strict=True):
        for ax, (name, text) in zip(line, costs.items(), strict=True):
            draw_cost(ax, part, name)
            ax.set_title(f"to a training loss of {target:g}")
            ax.set_ylabel(f"{text} (mean, standard error)")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_cost(ax: Any, table: list[dict[str, Any]], name: str) -> None:
    """One line per method and N; points that no seed reached are left out."""
    series = list(dict.fromkeys((row["method"], row["calibration"]) for row in table))
    for (method, n), color, marker in zip(series, tables.COLOURS, "os^Dv", strict=False):
        at = [r for r in table if (r["method"], r["calibration"]) == (method, n)]
        at = [r for r in at if r[name] is not None]
        title = TITLES[method] + (f", N = {n}" if n else "")
        ax.errorbar([r["states"] for r in at], [r[name] for r in at],
                    yerr=[r[f"{name}_se"] or 0 for r in at], fmt=f"{marker}-", color=color,
                    capsize=3, label=title)  # fmt: skip
    states = sorted({row["states"] for row in table})
    ax.set_xscale("log")
    ax.set_xticks(states, map(str, states))
    ax.minorticks_off()
    ax.set_xlabel("number of states")
    ax.grid(alpha=0.3)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""

    def text(name, form):
        if row[name] is None:
            return ""
        error = row[f"{name}_se"]
        return format(row[name], form) + ("" if error is None else f" ± {error:{form}}")

    paper = row["paper_slots"]
    return {
        "target": f"{row['target']:g}",
        "method": row["method"],
        "states": str(row["states"]),
        "N": str(row["calibration"]),
        "reached": f"{row['reached']} of {row['seeds']}",
        "epochs": text("epochs", ".1f"),
        "pulse slots": text("slots", ".0f"),
        "pulses per cell": text("cell_pulses", ".0f"),
        "paper's slots": "" if paper is None else f"{paper:.0f}",
    }


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.pulse_budget")
    if config.smoke:
        few: dict[str, Any] = {"states": (1000,), "pulses": (4000,), "seeds": 2, "epochs": 2}
        config = dataclasses.replace(config, dataset="digits", targets=(5.0,), **few)
    distributed.start(config.distributed)
    table = rows(run(config))
    print(tables.text([shown(row) for row in table]))
    for target, part in by_target(table).items():
        print(f"Target {target:g}: {verdict(part)}")
    print(f"Results: {config.out}/pulse_budget.csv, .nc, .png, manifest.json", file=sys.stderr)


if __name__ == "__main__":
    main()
