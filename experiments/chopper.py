"""Figs. 3 and 5 of arXiv 2602.21321: what the chopper does for accuracy, and for the filter.

    python -m experiments.chopper --help

Accuracy (Fig. 5): E-RIDER trains a net with flip probability p, p = 0 included, in both readings
of Algorithm 3 (eq. 18): "held" takes Q~ for the symmetric point, which is renewed when the chopper
flips, "tracked" takes Q. At p = 0 the two are different algorithms: with Q~, which is never
renewed, residual learning with the static reference Q_0; with Q, RIDER. The filter's rate is 5 p as
in the released experiments, at most 1, and at p = 0 that of the smallest p. W does not wait for a
chopper period (`warm_up=False`), which at p = 0 never ends. All p and seeds of a reading are one
program.

Filter (Fig. 3, Lemma 3.10): one array of cells with symmetric points 0.25 +- 0.10 learns a fixed
target with noisy gradients, whole matrices at a time. The power spectra of P and of Q are averaged
over its cells; Q's has to be P's times |H|^2, H = eta / (1 - (1 - eta) exp(-i omega)). The chopper
moves the residual to frequencies near pi p and above, which the filter stops, while the symmetric
point stays at frequency 0 and passes. Beside them stands the mean of Q against its truth.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import data, distributed, study, tables
from experiments.settings import Setting, setting_of, small
from experiments.training import UNITS, falling, member_keys, train_population

READINGS = {"held": "held_sp", "tracked": "tracked_sp"}
RECORDS = ("test_accuracy", "train_loss", "sp_rms_error", "pulses_training", "pulses_transfer")
SPECTRUM = {"chop_prob": 0.05, "eta": 0.01, "learning_rate": 0.05, "transfer_rate": 2e-3}
CELLS = (16, 16)


@dataclasses.dataclass(frozen=True)
class Config:
    """Vary the chopper; writes chopper.csv, chopper_spectrum.csv, .nc, .png and manifest.json.

    Attributes:
      dataset: digits is embedded; MNIST and Fashion-MNIST are read from IDX files.
      device: preset of the cells of both arrays.
      reference_mean: mean error of the symmetric points, in weight units.
      reference_std: its cell-to-cell standard deviation.
      chop_probs: flip probabilities, per read of a column.
      seeds: seeds per probability.
      epochs: passes over the training set; default by data set. The paper has 50 on MNIST.
      steps: steps of the array whose spectra are taken; the first half is left out.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: go on where an earlier run stopped, also within a reading, after its last epoch.
      distributed: share the parts out among the processes of a Slurm (or other) job.
      smoke: one epoch of two probabilities, to see that everything works.
    """

    dataset: Literal["digits", "mnist", "fashion_mnist"] = "digits"
    device: Literal["reram_array_om", "reram_array_hfo2"] = "reram_array_om"
    reference_mean: float = 0.4
    reference_std: float = 0.4
    chop_probs: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.5)
    seeds: int = 3
    epochs: int | None = None
    steps: int = 16384
    out: Path = Path("runs/chopper")
    overwrite: bool = False
    resume: bool = False
    distributed: bool = False
    smoke: bool = False


def filter_rates(chop_probs: Any) -> np.ndarray:
    """min(5 p, 1) for each p; at p = 0 that of the smallest other one, 0.25 if there is none."""
    p = np.asarray(chop_probs, float)
    smallest = p[p > 0].min(initial=0.5) if (p > 0).any() else 0.05
    return np.minimum(5 * np.where(p > 0, p, smallest), 1.0)


def train_reading(
    reading: str, config: Config, setting: Setting, dataset: Any
) -> dict[str, np.ndarray]:
    """The records of one reading, shape (probabilities, seeds, epochs)."""
    cells = getattr(spt.presets, config.device)(
        reference_mean=config.reference_mean, reference_std=config.reference_std
    )
    train, rates, ref = setting.train, setting.rates, READINGS[reading]
    schedule = spt.ColumnTransfer(reads_per_transfer=rates.reads_per_transfer, warm_up=False)

    def make(key, p, eta):
        return spt.erider(
            falling(rates.residual, train.analog_decay, train, dataset),
            transfer_rate=falling(rates.transfer, train.analog_decay, train, dataset),
            residual_spec=cells,
            weight_spec=cells,
            gamma=rates.gamma,
            eta=eta,
            chop_prob=p,
            w_ref=ref,
            wbar_ref=ref,
            transfer=schedule,
            key=key,
        )

    count, seeds = len(config.chop_probs), config.seeds
    records = train_population(
        make,
        train,
        dataset,
        member_keys(np.tile(np.arange(seeds), count), fast_random=True),
        numbers={
            "p": np.repeat(config.chop_probs, seeds),
            "eta": np.repeat(filter_rates(config.chop_probs), seeds),
        },
        progress=reading.ljust(8),
        checkpoint=study.checkpoint(config.out, reading),
    )
    return {name: records[name].reshape(count, seeds, -1) for name in RECORDS}


def follow_array(steps: int) -> study.Records:
    """P and Q of an array that learns a target; spectra over the second half, mean of Q.

    Returns:
      omega (radians per step), power_P, power_Q and predicted_Q (weight^2 per cell and bin, mean
      over cells), mean_Q (steps / 64 values), mean_truth and the rates.
    """
    cells = spt.presets.figure_1_soft_bounds()
    key, target_key, noise_key = jax.random.split(jax.random.key(0), 3)
    target = 0.3 * jax.random.normal(target_key, CELLS)
    tx = spt.erider(residual_spec=cells, weight_spec=cells, key=key, **SPECTRUM)

    @jax.jit
    def follow(params, state):
        def step(carry, t):
            params, state = carry
            noise = 0.5 * jax.random.normal(jax.random.fold_in(noise_key, t), CELLS)
            updates, state = tx.update(params - target + noise, state, params)
            arrays = spt.read_arrays(state)
            return (params + updates, state), (arrays["residual"], arrays["tracked_sp"])

        return jax.lax.scan(step, (params, state), jnp.arange(steps))[1]

    start = jnp.zeros(CELLS)
    state = tx.init(start)
    truth = spt.optimizers.residual_symmetric_points(state)
    p, q = (np.asarray(x).reshape(steps, -1) for x in follow(start, state))
    omega, power_p = spectrum(p[steps // 2 :])
    _, power_q = spectrum(q[steps // 2 :])
    gain = np.abs(np.asarray(spt.theory.low_pass_response(SPECTRUM["eta"], omega))) ** 2
    return {
        "omega": omega,
        "power_P": power_p,
        "power_Q": power_q,
        "predicted_Q": gain * power_p,
        "mean_Q": q.mean(1)[63::64],
        "mean_truth": np.asarray(truth).mean(),
    }


def spectrum(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Angular frequencies > 0 and the mean over columns of the power, by Welch's method.

    Segments of 2048 with a Hann window, overlapping by half, each without its mean.
    """
    length = min(2048, len(signal))
    window = np.hanning(length)[:, None]
    starts = range(0, len(signal) - length + 1, max(length // 2, 1))
    power = 0
    for start in starts:
        segment = signal[start : start + length]
        power = power + np.abs(np.fft.rfft((segment - segment.mean(0)) * window, axis=0)) ** 2
    power = np.asarray(power).mean(1) / len(starts) / (window**2).sum()
    return 2 * np.pi * np.fft.rfftfreq(length)[1:], power[1:]


def run(config: Config) -> tuple[Any, study.Records]:
    """Does both readings and the array; each part is kept as it finishes."""
    epochs = 1 if config.epochs is None else config.epochs
    if min(config.seeds, epochs) < 1 or config.steps < 128:
        raise SystemExit(
            "--seeds and --epochs must be at least 1, --steps at least 128, got "
            f"{config.seeds}, {config.epochs} and {config.steps}."
        )
    if not config.chop_probs or min(config.chop_probs) < 0 or max(config.chop_probs) > 1:
        raise SystemExit(
            f"--chop-probs needs at least one number, all in [0, 1], got {config.chop_probs}."
        )
    setting, dataset = setting_of(config.dataset, config.epochs), data.load_or_exit(config.dataset)
    if config.smoke:
        setting, dataset = small(setting, dataset)
    parts = {"spectrum": lambda: follow_array(config.steps)}
    for reading in READINGS:
        parts[reading] = lambda reading=reading: train_reading(reading, config, setting, dataset)
    settings = {"setting": setting, "spectrum": SPECTRUM, "filter": filter_rates(config.chop_probs)}
    finished = study.collect(
        config.out,
        parts,
        spt.results.manifest({"config": dataclasses.asdict(config), **settings}, seed=0),
        lambda records: write(config, records),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return label(config, finished), finished["spectrum"]


def label(config: Config, finished: dict[str, study.Records]) -> Any:
    """Names and units for the records of the readings; None before there are any."""
    readings = [name for name in READINGS if name in finished]
    if not readings:
        return None
    variables = {
        name: (
            ("reading", "chop_prob", "seed", "epoch"),
            np.stack([finished[reading][name] for reading in readings]),
            {"units": UNITS[name][0], "long_name": UNITS[name][1]},
        )
        for name in RECORDS
    }
    epochs = finished[readings[0]]["test_accuracy"].shape[-1]
    coords = {
        "reading": readings,
        "chop_prob": np.array(config.chop_probs),
        "seed": np.arange(config.seeds),
        "epoch": np.arange(1, epochs + 1),
    }
    return spt.results.to_dataset(variables, coords=coords)


def rows(dataset: Any) -> list[dict[str, Any]]:
    """One row per reading and probability, after the last epoch."""
    table, last = [], dataset.isel(epoch=-1)
    rates = filter_rates(dataset.chop_prob.values)
    for reading in dataset.reading.values:
        for p, eta in zip(dataset.chop_prob.values, rates, strict=True):
            at = last.sel(reading=reading, chop_prob=p)
            accuracy = 100 * at.test_accuracy.values.astype(float)
            row = {
                "reading": str(reading),
                "chop_prob": float(p),
                "eta": float(eta),
                "seeds": accuracy.size,
                "accuracy_percent": float(accuracy.mean()),
                "accuracy_std": float(accuracy.std(ddof=1)) if accuracy.size > 1 else None,
            }
            table.append(row | {name: float(at[name].mean()) for name in RECORDS[1:]})
    return table


def spectrum_rows(records: study.Records) -> list[dict[str, float]]:
    """One row per frequency."""
    names = ("omega", "power_P", "power_Q", "predicted_Q")
    return [
        dict(zip(names, map(float, values), strict=True))
        for values in zip(*(records[name] for name in names), strict=True)
    ]


def write(config: Config, finished: dict[str, study.Records]) -> None:
    """Writes chopper.csv, chopper_spectrum.csv, chopper.nc and chopper.png."""
    dataset = label(config, finished)
    if "spectrum" not in finished or dataset is None:
        return  # the figure has both
    table = rows(dataset)
    tables.write_csv(table, config.out / "chopper.csv")
    tables.write_csv(spectrum_rows(finished["spectrum"]), config.out / "chopper_spectrum.csv")
    spt.results.save(dataset, config.out / "chopper.nc")
    draw(table, finished["spectrum"], config.out / "chopper.png")


def draw(table: list[dict[str, Any]], records: study.Records, path: Path) -> None:
    """Accuracy against p, the two spectra, and the mean of Q."""
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    texts = {"held": "Q̃, as implemented (p = 0: static reference)", "tracked": "Q (p = 0: RIDER)"}
    for (reading, text), color, marker in zip(texts.items(), tables.COLOURS, "os", strict=False):
        at = [row for row in table if row["reading"] == reading]
        if at:
            left.errorbar([row["chop_prob"] for row in at],
                          [row["accuracy_percent"] for row in at],
                          yerr=[row["accuracy_std"] or 0 for row in at],
                          fmt=f"{marker}-", color=color, capsize=3, label=text)  # fmt: skip
    left.set_xlabel("flip probability p, per read")
    left.set_ylabel("test accuracy (%)")
    left.legend(fontsize=8)
    omega = records["omega"]
    middle.loglog(omega, records["power_P"], color=tables.COLOURS[0], label="P")
    middle.loglog(omega, records["power_Q"], color=tables.COLOURS[1], label="Q")
    middle.loglog(omega, records["predicted_Q"], "--", color="black", lw=1, label="P |H|²")
    middle.axvline(np.pi * SPECTRUM["chop_prob"], color="grey", lw=0.8, ls=":", label="π p")
    cutoff = float(spt.theory.low_pass_cutoff(SPECTRUM["eta"]))
    middle.axvline(cutoff, color="grey", lw=0.8, ls="-.", label="cutoff of the filter")
    middle.set_xlabel("angular frequency (rad/step)")
    middle.set_ylabel("power (weight²)")
    middle.legend(fontsize=8, loc="lower left")
    steps = 64 * np.arange(1, len(records["mean_Q"]) + 1)
    right.plot(steps, records["mean_Q"], color=tables.COLOURS[1], label="Q, mean over cells")
    right.axhline(float(records["mean_truth"]), color="black", lw=1, ls="--", label="truth")
    right.set_xlabel("step")
    right.locator_params(axis="x", nbins=5)
    right.set_ylabel("symmetric point (weight units)")
    right.legend(fontsize=8)
    for ax in (left, middle, right):
        ax.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def shown(row: dict[str, Any]) -> dict[str, str]:
    """A row with as many digits as mean something."""
    spread = "" if row["accuracy_std"] is None else f" ± {row['accuracy_std']:.1f}"
    return {
        "reference": "Q~" if row["reading"] == "held" else "Q",
        "p": f"{row['chop_prob']:g}",
        "eta": f"{row['eta']:g}",
        "accuracy %": f"{row['accuracy_percent']:.1f}{spread}",
        "SP RMS error": f"{row['sp_rms_error']:.3f}",
        "training": f"{row['pulses_training']:.1f}",
        "transfer": f"{row['pulses_transfer']:.3f}",
    }


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.chopper")
    if config.smoke:
        few: dict[str, Any] = {
            "dataset": "digits",
            "chop_probs": (0.0, 0.5),
            "seeds": 1,
            "epochs": 1,
            "steps": 1024,
        }
        config = dataclasses.replace(config, **few)
    distributed.start(config.distributed)
    dataset, records = run(config)
    print(tables.text([shown(row) for row in rows(dataset)]))
    stopped = records["power_Q"] / records["predicted_Q"]
    print(
        f"Spectrum of Q over that of P |H|^2: median {np.median(stopped):.3f}; mean of Q at the "
        f"end {records['mean_Q'][-1]:.3f}, of the symmetric points "
        f"{float(records['mean_truth']):.3f}"
    )
    print(f"Results: {config.out}/chopper.csv, chopper_spectrum.csv, .nc, .png", file=sys.stderr)


if __name__ == "__main__":
    main()
