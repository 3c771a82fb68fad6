"""The page of results, docs/results.md: every committed result beside the published numbers.

    python -m experiments.results_page

Everything on the page is computed from the CSV files under experiments/results and their manifests,
what agrees and what does not included. A test compares.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from experiments import (
    pulse_budget,
    resnet,
    results_calibration,
    results_drift,
    results_robustness,
    robustness,
    zero_shift_training,
)
from experiments.parameters import table
from experiments.results_files import (
    RESULTS,
    configured,
    number,
    plural,
    provenance,
    read_rows,
    shown,
)

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
INTRO = """# Results

Made by `python -m experiments.results_page` from the files under `experiments/results`, so run that
and don't change this page. "Paper" is arXiv 2602.21321. `python -m experiments rerun MANIFEST` does
an experiment again and compares the results bit for bit.
"""


def accuracy_of_zero_shifting() -> str:
    """Fig. 1a."""
    names = ("mean_offset", "mean_offset_reference", "mean_offset_released", "rms_error")
    lines = [
        (row["pulses"], *(shown(number(row[name]), ".5f") for name in names))
        for row in read_rows("zero_shift_accuracy", "zero_shift_accuracy")
        if row["mean_offset_reference"]
    ]
    head = ("pulses N", "mean offset", "recursion of the rule", "authors' script", "RMS of a cell")
    return (
        f"{table(head, lines)}\n\nEstimate minus truth, weight units; the paper plots the opposite "
        f"sign. {deviation()}"
    )


def deviation() -> str:
    """How far zero-shifting is from the recursion of its rule."""
    rows = read_rows("zero_shift_accuracy", "zero_shift_accuracy")
    known = [row for row in rows if row["mean_offset_reference"]]
    pairs = [(float(r["mean_offset"]), float(r["mean_offset_reference"])) for r in known]
    worst = max(abs(a / b - 1) for a, b in pairs if abs(b) > 0.01)
    small = max(abs(a - b) for a, b in pairs)
    return (
        "Where the offset exceeds 0.01 the largest deviation from the recursion is "
        f"{100 * worst:.2f} %, everywhere it is at most {small:.1e}."
    )


def cost_of_zero_shifting() -> str:
    """Fig. 1b."""
    rows = read_rows("zero_shift_cost", "zero_shift_cost")
    lines = [(r["dw_min"], r["pulses_on_grid"], r["reference"], r["pulses"]) for r in rows]
    head = ("Δw_min", "smallest N on the paper's grid", "recursion", "N to 1 % exactly")
    return f"{table(head, lines)}\n\n{on_grid()}"


def on_grid() -> str:
    """In how many cases the number of pulses is the published one."""
    rows = read_rows("zero_shift_cost", "zero_shift_cost")
    equal = sum(row["pulses_on_grid"] == row["reference"] for row in rows)
    return f"Equal on the grid in {equal} of {len(rows)} cases."


def budget() -> str:
    """Fig. 4 left."""
    rows = read_rows("pulse_budget", "pulse_budget")
    lines = [
        (
            "E-RIDER" if row["method"] == "erider" else "two-stage TT-v2",
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
    head = ("method", "states", "N", "reached", "epochs", "pulse slots", "pulses per cell",
            "paper's slots (LeNet-5)")  # fmt: skip
    return "\n\n".join(
        [
            table(head, lines),
            f"Mean and standard error over seeds, {configured('pulse_budget')['dataset']}, target "
            f"{configured('pulse_budget')['target']:g}. In TT-v2 the model sees W alone, in "
            "E-RIDER the residual too, and with the best rates of the same grid TT-v2 needs more "
            "epochs whatever N is: here calibration adds its N pulses and changes nothing else.",
            "\n".join(f"* {verdict}" for verdict in verdicts()),
        ]
    )


def verdicts() -> list[str]:
    """Whether E-RIDER needs fewer pulses everywhere, here and in the paper."""
    rows = read_rows("pulse_budget", "pulse_budget")
    numeric = [{"method": r["method"], "states": r["states"], "slots": number(r["slots"])}
               for r in rows]  # fmt: skip
    paper = [
        {"method": method, "states": states, "slots": slots}
        for (method, states, _), slots in pulse_budget.published().items()
    ]
    return [
        f"Here: {pulse_budget.verdict(numeric)}",
        f"By the paper's own numbers: {pulse_budget.verdict(paper)}",
    ]


def training_after_zero_shifting(folder: str) -> str:
    """Fig. 2."""
    lines = [
        (
            "E-RIDER" if row["method"] == "erider" else "TT-v1",
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
        f"{configured(folder)['seeds']} seeds, {configured(folder)['dataset']}, "
        f"{configured(folder)['epochs']} epochs. {tolerated(folder)}"
    )


def tolerated(folder: str) -> str:
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
    return (
        f"TT-v1's loss is above E-RIDER's after N = {', '.join(worse) or 'none'} pulses. In the "
        f"authors' script it is above that of tracking for offsets from {least:.3f} on; here that "
        f"is not so, or the other way round, after N = {', '.join(differs) or 'none'}."
    )


def chopping() -> str:
    """Figs. 3 and 5."""
    lines = [
        (
            "Q̃" if row["reading"] == "held" else "Q",
            row["chop_prob"],
            row["eta"],
            shown(number(row["accuracy_percent"]), ".1f", number(row["accuracy_std"])),
            shown(number(row["sp_rms_error"]), ".3f"),
        )
        for row in read_rows("chopper", "chopper")
    ]
    head = ("reference", "p", "η", "accuracy %", "RMS error of the reference")
    power = read_rows("chopper", "chopper_spectrum")
    ratios = sorted(float(row["power_Q"]) / float(row["predicted_Q"]) for row in power)
    return (
        f"{table(head, lines)}\n\n{worst_flips()} Spectrum of Q over |H|² times that of P "
        f"(Lemma 3.10): median {ratios[len(ratios) // 2]:.4f}, 5 % to 95 % of the frequencies from "
        f"{ratios[len(ratios) // 20]:.4f} to {ratios[-len(ratios) // 20]:.4f}."
    )


def worst_flips() -> str:
    """The flip probability of least accuracy, with each reference."""
    rows, worst = read_rows("chopper", "chopper"), {}
    for reading, name in (("held", "Q̃"), ("tracked", "Q")):
        of_reading = [row for row in rows if row["reading"] == reading]
        worst[name] = min(of_reading, key=lambda row: float(row["accuracy_percent"]))["chop_prob"]
    least = " and ".join(f"with {name} p = {p}" for name, p in worst.items())
    return (
        "The paper prints no numbers; in its figure p = 0 is clearly the worst. Here the worst is "
        f"{least}."
    )


def resnet_18() -> str:
    """Fig. 4 middle and right, small."""
    folder = "resnet_small"
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
    pairs = [p for p in results_robustness.PAIRS if set(p) <= set(methods)]
    facts = [lower(by, cells, *pair) for pair in pairs]
    return "\n\n".join(
        [
            table(head, lines),
            f"Training loss (nat) and test accuracy after {flags['epochs']} epochs of "
            f"{flags['dataset']}{pixels}, ResNet-18 of width {flags['width']}, {seeds} "
            "per point: a trial of the whole experiment at a size that a CPU does in minutes. "
            "The authors' losses are of CIFAR-100, width 64, "
            "80 epochs and weights from ImageNet: only orders can be compared, and with so few "
            "seeds and steps they are no evidence for or against the figure.",
            "\n".join(f"* {fact}" for fact in facts),
        ]
    )


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


class Section(NamedTuple):
    """A part of the page about one result, and what the summary in front says of it."""

    title: str
    folder: str
    text: Callable[[], str]
    claim: str = ""  # of the paper; without one the summary leaves the result out
    facts: Callable[[], list[str]] = list  # what came of it


def _table(title: str, folder: str, claim: str = "") -> Section:
    """Table 1 or 2, or a part of it."""
    text, facts = results_robustness.accuracy, results_robustness.facts
    return Section(title, folder, partial(text, folder), claim, partial(facts, folder))


def _figure_2(title: str, folder: str) -> Section:
    text, claim = partial(training_after_zero_shifting, folder), "Fig. 2, TT-v1 after N pulses"
    return Section(title, folder, text, claim, lambda: [tolerated(folder)])


def _rates(title: str, folder: str) -> Section:
    return Section(title, folder, partial(results_robustness.searched, folder))


SECTIONS = (
    Section(
        "Zero-shifting: offset against pulses (Fig. 1a)", "zero_shift_accuracy",
        accuracy_of_zero_shifting,
        "Fig. 1a, the offset that N pulses leave", lambda: [deviation()],
    ),
    Section(
        "Zero-shifting: pulses against pulse size (Fig. 1b)", "zero_shift_cost",
        cost_of_zero_shifting, "Fig. 1b, pulses to 1 %", lambda: [on_grid()],
    ),
    _figure_2("Training on symmetric points from N pulses (Fig. 2)", "zero_shift_training"),
    _figure_2("Fig. 2 with LeNet-5", "zero_shift_training_lenet"),
    Section(
        "The chopper (Figs. 3 and 5)", "chopper", chopping,
        "Fig. 5, accuracy against p", lambda: [worst_flips()],
    ),
    Section(
        "Pulses to a training loss (Fig. 4 left)", "pulse_budget", budget,
        "Fig. 4 left, pulses to a training loss", verdicts,
    ),
    Section(
        "ResNet-18 against offsets (Fig. 4 middle and right), a small trial", "resnet_small",
        resnet_18,
    ),
    _table(
        "Accuracy against offsets, fully connected net (Table 2): the corners",
        "robustness_one_read", "Table 2, corners",
    ),
    _table("One cell of Table 2, more seeds", "robustness_seeds", "Table 2 at mean 0 and std 1"),
    _table("Table 2: all cells, a short run", "robustness_fcn"),
    _rates("Rates for Table 2", "search_fcn"),
    _rates("One column per step: not used, `experiments/tuned.py` says why", "search_fcn_one_read"),
    _table(
        "Accuracy against offsets, LeNet-5 (Table 1): the corners", "robustness_lenet",
        "Table 1, corners",
    ),
    _rates("Rates for Table 1", "search_lenet_again"),
    _table(
        "Table 1 with the rates of a shorter search", "robustness_lenet_one_epoch_rates",
        "Table 1, corners, with the rates of a search of one epoch",
    ),
    _rates("A shorter search for Table 1", "search_lenet"),
    _table(
        "Table 1 with the rates of Table 2", "robustness_lenet_fcn_rates",
        "Table 1, corners, with the rates of Table 2",
    ),
    _table(
        "Table 1 with the rates that the paper prints", "robustness_lenet_printed",
        "Table 1, each method with the rates printed for it",
    ),
    Section(
        "Table 1, AGAD with the rates that the paper prints for E-RIDER",
        "robustness_lenet_printed_erider",
        partial(results_robustness.accuracy, "robustness_lenet_printed_erider"),
        "Table 1, AGAD with the rates printed for E-RIDER",
        partial(
            results_robustness.with_equal_rates, "robustness_lenet_printed",
            "robustness_lenet_printed_erider",
        ),
    ),
    Section("Calibration with fewer pulses", "fast_calibration", results_calibration.text),
    Section("Symmetric points that drift", "sp_drift", results_drift.text),
)  # fmt: skip


def in_short() -> str:
    """What came of the paper's claims, one after the other."""
    return "\n".join(
        f"* **{section.claim}{made_of(section.folder)}.** {' '.join(section.facts())}"
        for section in committed()
        if section.claim
    )


def made_of(folder: str) -> str:
    """Data set, epochs and seeds of a result, in brackets; nothing where there are none."""
    flags = configured(folder)
    counts = [plural(flags[name], name[:-1]) for name in ("epochs", "seeds") if flags.get(name)]
    return f" ({', '.join([flags['dataset'], *counts])})" if "dataset" in flags else ""


def committed() -> list[Section]:
    """The sections whose results there are."""
    return [
        section for section in SECTIONS if (RESULTS / section.folder / "manifest.json").exists()
    ]


def page() -> str:
    """The whole page."""
    parts = [INTRO, "## In short\n", in_short() + "\n"]
    for section in committed():
        title, folder = section.title, section.folder
        parts += [f"## {title}\n", provenance(folder) + "\n", section.text() + "\n"]
        figure = next((RESULTS / folder).glob("*.png"), None)
        if figure is not None:
            parts.append(f"![{title}](../experiments/results/{folder}/{figure.name})\n")
    return "\n".join(parts)


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}.", file=sys.stderr)


if __name__ == "__main__":
    main()
