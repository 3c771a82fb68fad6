"""The parts of the page of results about the paper's figures."""

from typing import Any

from experiments import pulse_budget, resnet, results_robustness, robustness, zero_shift_training
from experiments.parameters import table
from experiments.results_files import (
    configured,
    from_to,
    number,
    plural,
    read_rows,
    settings,
    shown,
)


def accuracy_of_zero_shifting(folder: str) -> str:
    """Fig. 1a."""
    names = ("mean_offset", "mean_offset_reference", "mean_offset_released", "rms_error")
    lines = [
        (row["pulses"], *(shown(number(row[name]), ".5f") for name in names))
        for row in read_rows(folder, "zero_shift_accuracy")
        if row["mean_offset_reference"]
    ]
    head = ("pulses N", "mean offset", "recursion of the rule", "authors' script", "RMS of a cell")
    return (
        f"{table(head, lines)}\n\nEstimate minus truth, weight units; the paper plots the opposite "
        "sign."
    )


def deviation(folder: str) -> list[str]:
    """How far zero-shifting is from the recursion of its rule."""
    rows = read_rows(folder, "zero_shift_accuracy")
    known = [row for row in rows if row["mean_offset_reference"]]
    pairs = [(float(r["mean_offset"]), float(r["mean_offset_reference"])) for r in known]
    worst = max(abs(a / b - 1) for a, b in pairs if abs(b) > 0.01)
    small = max(abs(a - b) for a, b in pairs)
    return [
        "Where the offset exceeds 0.01 the largest deviation from the recursion is "
        f"{100 * worst:.2f} %, everywhere it is at most {small:.1e}."
    ]


def cost_of_zero_shifting(folder: str) -> str:
    """Fig. 1b."""
    rows = read_rows(folder, "zero_shift_cost")
    lines = [
        (r["dw_min"], r["pulses_on_grid"], r["reference"], f"{float(r['pulses']):.0f}")
        for r in rows
    ]
    head = ("Δw_min", "smallest N on the paper's grid", "recursion", "N to 1 %, mean of seeds")
    return table(head, lines)


def on_grid(folder: str) -> list[str]:
    """In how many cases the number of pulses is the published one."""
    rows = read_rows(folder, "zero_shift_cost")
    equal = sum(row["pulses_on_grid"] == row["reference"] for row in rows)
    return [f"Equal on the grid in {equal} of {len(rows)} cases."]


def budget(folder: str) -> str:
    """Fig. 4 left."""
    rows = read_rows(folder, "pulse_budget")
    lines = [
        (
            row["target"],
            pulse_budget.TITLES[row["method"]],
            row["states"],
            row["calibration"],
            f"{row['reached']} of {row['seeds']}",
            shown(number(row["epochs"]), ".1f", number(row["epochs_se"])),
            shown(number(row["slots"]), ".0f", number(row["slots_se"])),
            shown(number(row["cell_pulses"]), ".0f", number(row["cell_pulses_se"])),
            row["paper_slots"] or "fails",
        )
        for row in rows
    ]
    head = ("target", "method", "states", "N", "reached", "epochs", "pulse slots",
            "pulses per cell", "paper's slots (LeNet-5)")  # fmt: skip
    return (
        f"{table(head, lines)}\n\nMean and standard error over seeds, "
        f"{configured(folder)['dataset']}. Rates: {given_rates(folder, pulse_budget.TITLES)}. In "
        "TT-v2 the model sees W alone, in E-RIDER the residual too."
    )


def given_rates(folder: str, titles: dict[str, str]) -> str:
    """Learning rate and transfer rate of each method, by its title."""
    given = settings(folder)["rates"]
    return "; ".join(
        f"{title} learning rate {given[method][0]:g}, transfer rate {given[method][1]:g}"
        for method, title in titles.items()
    )


def verdicts(folder: str) -> list[str]:
    """Whether E-RIDER needs fewer pulses everywhere, here and in the paper, and fewer epochs."""
    rows = read_rows(folder, "pulse_budget")
    numbers = ("target", "states", "slots", "epochs", "seeds", "reached")
    numeric = [{"method": r["method"], **{name: number(r[name]) for name in numbers}} for r in rows]
    here = [
        f"Target {target:g}: {pulse_budget.verdict(part)} {epochs_alone(part)}"
        for target, part in pulse_budget.by_target(numeric).items()
    ]
    return [
        *here,
        f"By the paper's own numbers: {pulse_budget.verdict(pulse_budget.published_rows())}",
    ]


def epochs_alone(rows: list[dict[str, Any]]) -> str:
    """How many epochs the two methods need, by number of states: calibration left out."""

    def span(method, states):
        found = [r["epochs"] for r in rows if (r["method"], r["states"]) == (method, states)]
        reached = [epochs for epochs in found if epochs is not None]
        return from_to(reached, ".1f") if reached else "never"

    said = [
        f"{states:g} states {span('two_stage', states)} and {span('erider', states)}"
        for states in dict.fromkeys(row["states"] for row in rows)
    ]
    return f"Epochs, two-stage with any N and E-RIDER: {'; '.join(said)}."


def training_after_zero_shifting(folder: str) -> str:
    """Fig. 2."""
    flags, titles = configured(folder), {"tiki_taka": "TT-v1", "erider": "E-RIDER"}
    lines = [
        (
            titles[row["method"]],
            row["calibration"],
            shown(number(row["mean_offset"]), ".5f"),
            shown(number(row["train_loss"]), ".2g", number(row["train_loss_std"])),
            shown(number(row["test_accuracy"]), ".1f", number(row["test_accuracy_std"])),
            row["paper_loss"],
        )
        for row in read_rows(folder, "zero_shift_training")
    ]
    head = ("method", "N", "mean offset", "training loss", "accuracy %",
            "authors' script, loss (LeNet-5)")  # fmt: skip
    return (
        f"{table(head, lines)}\n\nMean and sample standard deviation over "
        f"{flags['seeds']} seeds, {flags['dataset']}, {flags['epochs']} epochs. Rates: "
        f"{given_rates(folder, titles)}; `experiments/zero_shift_training.py` says how they were "
        "chosen."
    )


def tolerated(folder: str) -> list[str]:
    """The offsets at which TT-v1's loss is higher than that of tracking, here and there."""
    rows = read_rows(folder, "zero_shift_training")
    level = next(float(row["train_loss"]) for row in rows if row["method"] == "erider")
    ours = [row for row in rows if row["method"] == "tiki_taka"]
    worse = [row["calibration"] for row in ours if float(row["train_loss"]) > level]
    theirs = [mu for mu, tracked, offline in zero_shift_training.published() if offline > tracked]
    least = min(abs(mu) for mu in theirs)
    known = [row for row in ours if row["paper_loss"]]
    differs = [
        row["calibration"]
        for row in known
        if (float(row["train_loss"]) > level) != (abs(float(row["mean_offset"])) > 0.98 * least)
    ]
    return [
        f"TT-v1's loss is above E-RIDER's after N = {', '.join(worse) or 'none'} pulses. In the "
        f"authors' script it is above that of tracking for offsets from {least:.3f} on and below "
        "it for smaller ones. Here the order is the opposite after N = "
        f"{', '.join(differs) or 'none'}."
    ]


def chopping(folder: str) -> str:
    """Figs. 3 and 5."""
    lines = [
        (
            "Q̃" if row["reading"] == "held" else "Q",
            row["chop_prob"],
            row["eta"],
            shown(number(row["accuracy_percent"]), ".1f", number(row["accuracy_std"])),
            shown(number(row["sp_rms_error"]), ".3f"),
        )
        for row in read_rows(folder, "chopper")
    ]
    head = ("reference", "p", "η", "accuracy %", "RMS error of Q")
    power = read_rows(folder, "chopper_spectrum")
    ratios = sorted(float(row["power_Q"]) / float(row["predicted_Q"]) for row in power)
    return (
        f"{table(head, lines)}\n\nSpectrum of Q over |H|² times that of P (Lemma 3.10; an array of "
        f"its own, the same with every data set): median {ratios[len(ratios) // 2]:.4f}, 5 % to "
        f"95 % of the frequencies from {ratios[len(ratios) // 20]:.4f} to "
        f"{ratios[-len(ratios) // 20]:.4f}."
    )


def worst_flips(folder: str) -> list[str]:
    """The flip probability of least accuracy with each reference, beside the others."""
    rows, said = read_rows(folder, "chopper"), []
    for reading, name in (("held", "Q̃"), ("tracked", "Q")):
        of_reading = [
            (float(row["accuracy_percent"]), row["chop_prob"])
            for row in rows
            if row["reading"] == reading
        ]
        (least, p), *others = sorted(of_reading)
        span = from_to([accuracy for accuracy, _ in others], ".1f")
        said.append(f"with {name} p = {p} ({least:.1f} %, the others {span} %)")
    return [
        "The paper prints no numbers; in its figure p = 0 is clearly the worst. Here the worst is "
        f"{' and '.join(said)}."
    ]


def resnet_18(folder: str) -> str:
    """Fig. 4 middle and right, small."""
    flags = configured(folder)
    methods, cells, by = results_robustness.cell_by_cell(folder, "resnet")
    lines = []
    for mean, std in cells:
        line = [mean, std]
        for method in methods:
            row = by[method, mean, std]
            theirs = shown(number(row["paper_loss"]), ".3f")
            line.append(
                f"{shown(number(row['train_loss']), '.3f')}{theirs and ' / ' + theirs}, "
                f"{shown(number(row['accuracy_percent']), '.1f')} %"
            )
        lines.append(tuple(line))
    head = ("mean", "std", *(f"{robustness.TITLES[m]}: loss here / authors', accuracy"
                             for m in methods))  # fmt: skip
    seeds = plural(flags["seeds"], "seed")
    pixels = f" at {flags['side']} x {flags['side']} pixels" if flags["side"] else ""
    return (
        f"{table(head, lines)}\n\nTraining loss (nat) and test accuracy after {flags['epochs']} "
        f"epochs of {flags['dataset']}{pixels}, ResNet-18 of width {flags['width']}, {seeds} per "
        "point: a trial of the whole experiment at a size that a CPU does in minutes. The authors' "
        "losses are of CIFAR-100, width 64, 80 epochs and weights from ImageNet: only orders can "
        "be compared, and with so few seeds and steps they are no evidence for or against the "
        "figure."
    )


def orders(folder: str) -> list[str]:
    """Whose training loss is lower."""
    methods, cells, by = results_robustness.cell_by_cell(folder, "resnet")
    pairs = [pair for pair in results_robustness.PAIRS if set(pair) <= set(methods)]
    return [lower(by, cells, *pair) for pair in pairs]


def lower(by: dict[tuple, dict[str, str]], cells: Any, first: str, second: str) -> str:
    """At how many points one method's training loss is lower, here and in the authors' script."""
    gaps = [float(by[first, *c]["train_loss"]) - float(by[second, *c]["train_loss"]) for c in cells]
    known, stds = resnet.published(), {std for _, std in resnet.published()}
    theirs = [known[first, std] < known[second, std] for std in stds]
    return (
        f"The loss of {robustness.TITLES[first]} is below that of {robustness.TITLES[second]} at "
        f"{sum(gap < 0 for gap in gaps)} of {len(gaps)} points (authors: {sum(theirs)} of "
        f"{len(theirs)}), differences from {min(gaps):+.3f} to {max(gaps):+.3f}."
    )
