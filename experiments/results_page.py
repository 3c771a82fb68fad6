"""The page of results, docs/results.md: every committed result beside the published numbers.

    python -m experiments.results_page

Everything on the page is computed from the CSV files under experiments/results and their manifests,
what agrees and what does not included. A test compares.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from experiments import results_calibration, results_drift
from experiments import results_figures as figures
from experiments import results_robustness as robustness
from experiments.results_files import RESULTS, configured, plural, provenance

PAGE = Path(__file__).parents[1] / "docs" / "results.md"
INTRO = """# Results

Made by `python -m experiments.results_page` from the files under `experiments/results`, so run that
and don't change this page. "Paper" is arXiv 2602.21321. `python -m experiments rerun MANIFEST` does
an experiment again, compares the results bit for bit, and says what is set otherwise by now, as the
rates of `robustness` are where another search has been made since: commands find today's.
"""


class Section(NamedTuple):
    """A part of the page about one result; text and facts are made from its folder."""

    title: str
    folder: str
    text: Callable[[str], str]
    claim: str = ""  # of the paper; the summary in front tells the facts of those that have one
    facts: Callable[[str], list[str]] = lambda folder: []  # what came of it


def _table(title: str, folder: str, claim: str = "", beside: str | None = None) -> Section:
    """Table 1 or 2, or a part of it, compared with another run if one is given."""
    facts = partial(robustness.facts, beside=beside)
    return Section(title, folder, robustness.accuracy, claim, facts)


def _figure_2(title: str, folder: str) -> Section:
    claim = "Fig. 2, TT-v1 after N pulses"
    return Section(title, folder, figures.training_after_zero_shifting, claim, figures.tolerated)


def _chopper(title: str, folder: str) -> Section:
    claim = "Fig. 5, accuracy against p"
    return Section(title, folder, figures.chopping, claim, figures.worst_flips)


def _budget(title: str, folder: str) -> Section:
    claim = "Fig. 4 left, pulses to a training loss"
    return Section(title, folder, figures.budget, claim, figures.verdicts)


def _rates(title: str, folder: str) -> Section:
    return Section(title, folder, robustness.searched)


SECTIONS = (
    Section(
        "Zero-shifting: offset against pulses (Fig. 1a)", "zero_shift_accuracy",
        figures.accuracy_of_zero_shifting,
        "Fig. 1a, the offset that N pulses leave", figures.deviation,
    ),
    Section(
        "Zero-shifting: pulses against pulse size (Fig. 1b)", "zero_shift_cost",
        figures.cost_of_zero_shifting, "Fig. 1b, pulses to 1 %", figures.on_grid,
    ),
    _figure_2("Training on symmetric points from N pulses (Fig. 2)", "zero_shift_training"),
    _figure_2("Fig. 2 with LeNet-5", "zero_shift_training_lenet"),
    _chopper("The chopper (Figs. 3 and 5)", "chopper"),
    _chopper("The chopper on MNIST", "chopper_mnist"),
    _budget("Pulses to a training loss (Fig. 4 left)", "pulse_budget"),
    _budget("Fig. 4 left with LeNet-5", "pulse_budget_lenet"),
    Section(
        "ResNet-18 against offsets (Fig. 4 middle and right), a small trial", "resnet_small",
        figures.resnet_18, facts=figures.orders,
    ),
    _table(
        "Accuracy against offsets, fully connected net (Table 2): the corners",
        "robustness_one_read", "Table 2, corners",
    ),
    _table(
        "Table 2: RIDER and two-stage training, which the paper doesn't have there",
        "robustness_fcn_rider", "Table 2, corners, two more methods", beside="robustness_one_read",
    ),
    _table("One cell of Table 2, more seeds", "robustness_seeds", "Table 2 at mean 0 and std 1"),
    _table(
        "Table 2: all cells, a short run", "robustness_fcn", "Table 2, all cells, a short run"
    ),
    _table(
        "Table 2 with the rates that the paper prints", "robustness_fcn_printed",
        "Table 2, each method with the rates printed for it",
    ),
    _table(
        "Table 2 with the rates that the paper prints, a column per image",
        "robustness_fcn_printed_reads",
        "Table 2, each method with the rates printed for it and a column read per image",
    ),
    _rates("Rates for Table 2", "search_fcn"),
    _rates("Rates of RIDER and two-stage training for Table 2", "search_fcn_rider"),
    _rates("One column per step: not used, `experiments/tuned.py` says why", "search_fcn_one_read"),
    _table(
        "Accuracy against offsets, LeNet-5 (Table 1): the corners", "robustness_lenet",
        "Table 1, corners",
    ),
    _table(
        "Table 1: RIDER and two-stage training, which the paper doesn't have there",
        "robustness_lenet_rider", "Table 1, corners, two more methods", beside="robustness_lenet",
    ),
    _rates("Rates for Table 1", "search_lenet_again"),
    _rates("Rates of RIDER and two-stage training for Table 1", "search_lenet_rider_again"),
    _table(
        "Table 1 with the rates of a shorter search", "robustness_lenet_one_epoch_rates",
        "Table 1, corners, with the rates of a search of one epoch",
    ),
    _rates("A shorter search for Table 1", "search_lenet"),
    _rates("A shorter search for RIDER and two-stage training", "search_lenet_rider"),
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
        robustness.accuracy, "Table 1, AGAD with the rates printed for E-RIDER",
        partial(robustness.with_equal_rates, "robustness_lenet_printed"),
    ),
    _table(
        "Table 1 with the rates of the released scripts", "robustness_lenet_scripts",
        "Table 1, each method with the rates of the released scripts",
    ),
    Section("Calibration with fewer pulses", "fast_calibration", results_calibration.text),
    Section("Symmetric points that drift", "sp_drift", results_drift.text),
)  # fmt: skip


def in_short() -> str:
    """What came of the paper's claims, one after the other."""
    return "\n".join(
        f"* **{section.claim}{made_of(section.folder)}.** {' '.join(section.facts(section.folder))}"
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
        facts = section.facts(folder)
        parts += [f"## {title}\n", provenance(folder) + "\n", section.text(folder) + "\n"]
        parts += ["\n".join(f"* {fact}" for fact in facts) + "\n"] if facts else []
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
