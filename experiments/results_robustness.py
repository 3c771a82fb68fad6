"""The part of the page of results about Tables 1 and 2: accuracy against offsets, and the rates."""

from typing import Any

import numpy as np

from experiments import robustness
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

Cell = tuple[str, str]  # reference mean and std, as they are written in the files

PAIRS = (  # whose order is told; the paper has the first two
    ("erider", "agad"), ("agad", "ttv2"), ("erider", "rider"), ("erider", "two_stage"),
)  # fmt: skip
RATES = {"learning_rate": "learning rate", "transfer_rate": "transfer rate", "chop_prob": "p",
         "gamma": "γ", "eta": "η", "digital_rate": "digital rate"}  # fmt: skip
SPANS = {"pulses_transfer": "Pulses on a cell of W", "weight_rms": "RMS of W, weight units"}
HARDLY = 0.1  # pulses on a cell of W in a run
POINTS = {"fcn": 1.5, "lenet": 2.0}  # how far E-RIDER may be from the paper to agree with it


def accuracy(folder: str) -> str:
    """A committed run of `experiments.robustness` beside the paper, cell by cell."""
    methods, cells, by = cell_by_cell(folder)
    flags = configured(folder)
    head = ("mean", "std", *(f"{robustness.TITLES[m]}: here / paper" for m in methods))
    lines = [(*cell, *(beside_paper(by[method, *cell]) for method in methods)) for cell in cells]
    reads, seeds = settings(folder)["reads_per_transfer"], flags["seeds"]
    spans = [span(by, methods, name) for name in SPANS if name in next(iter(by.values()))]
    paper = {"lenet": "1", "fcn": "not printed"}[flags["net"]]
    return (
        f"{table(head, lines)}\n\nTest accuracy in %. {len(cells)} of the table's 24 cells, "
        f"{flags['epochs']} of the paper's 40 epochs, {seeds} of its 3 seeds; "
        f"{plural(reads, 'column')} of P read per step (paper: {paper}). Rates: "
        f"{rates(given_rates(folder))}. With 10,000 test images an accuracy of 94 % has a standard "
        f"error of 0.24 points, a difference 0.34. {' '.join(spans)}"
    )


def cell_by_cell(
    folder: str, name: str = "robustness"
) -> tuple[list[str], list[Cell], dict[tuple, dict[str, str]]]:
    """Methods and cells (mean, std) of a table, and its row of (method, mean, std)."""
    rows = read_rows(folder, name)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cells = list(dict.fromkeys((row["reference_mean"], row["reference_std"]) for row in rows))
    return methods, cells, {(r["method"], r["reference_mean"], r["reference_std"]): r for r in rows}


def facts(folder: str, beside: str | None = None) -> list[str]:
    """What a run says about the paper's claims.

    Args:
      folder: of the run.
      beside: folder of a run with other methods, which those of the first are compared with.
    """
    methods, cells, by = cell_by_cell(folder)
    if beside:
        by = cell_by_cell(beside)[2] | by
    known = {method for method, *_ in by}
    pairs = [pair for pair in PAIRS if set(pair) <= known and set(pair) & set(methods)]
    found = [order(by, cells, *pair) for pair in pairs]
    found += filter(None, (idle(by, cells, method) for method in methods))
    if "erider" in methods:
        found.append(within(by, cells, POINTS[configured(folder)["net"]]))
    return found


def with_equal_rates(own: str, given: str) -> list[str]:
    """What the rates of E-RIDER do to AGAD.

    Args:
      own: folder of a run in which each method has its own rates.
      given: folder of a run in which AGAD has those of E-RIDER, of some of its cells.
    """
    (_, _, of_own), (_, cells, of_given) = cell_by_cell(own), cell_by_cell(given)

    def accuracies(rows, method):
        return np.array([float(rows[method, *cell]["accuracy_percent"]) for cell in cells])

    agad = accuracies(of_given, "agad")
    gains, leads = agad - accuracies(of_own, "agad"), accuracies(of_own, "erider") - agad
    return [
        f"With the rates of E-RIDER AGAD's accuracy differs from that with its own by "
        f"{from_to(gains, '+.2f')} points at the end. E-RIDER is ahead of it by "
        f"{from_to(leads, '+.2f')} then; `docs/algorithms.md` says what happens on the way."
    ]


def beside_paper(row: dict[str, str]) -> str:
    """Accuracy here / in the paper, which doesn't have every method."""
    ours = shown(number(row["accuracy_percent"]), ".2f", number(row["accuracy_std"]))
    return f"{ours} / {shown(number(row['paper_percent']), '.2f') or '–'}"


def given_rates(folder: str) -> dict[str, dict[str, float]]:
    """What each method was given, with the rate of the digital parameters."""
    made = settings(folder)
    train = made["train"]  # of each method; of all of them at first
    return {
        method: {**given, "digital_rate": train.get(method, train)["digital_rate"]}
        for method, given in made["rates"].items()
    }


def rates(of_methods: dict[str, dict[str, float]]) -> str:
    """What each method was given, in words."""
    return "; ".join(
        f"{robustness.TITLES[method]} "
        + ", ".join(f"{RATES[name]} {given[name]:.3g}" for name in RATES if name in given)
        for method, given in of_methods.items()
    )


def order(by: dict[tuple, dict[str, str]], cells: Any, first: str, second: str) -> str:
    """In how many cells one method is ahead of another, here and, if it has both, in the paper."""

    def ahead(column):
        pairs = [[number(by[m, *cell][column]) for m in (first, second)] for cell in cells]
        return [a - b for a, b in pairs if a is not None and b is not None]

    def count(gaps):
        return sum(gap > 0 for gap in gaps)

    def mean(gaps):
        return f"{sum(gaps) / len(gaps):+.2f}"

    ours, paper = ahead("accuracy_percent"), ahead("paper_percent")
    name, other = robustness.TITLES[first], robustness.TITLES[second]
    return (
        f"{name} is ahead of {other} in {count(ours)} of {plural(len(ours), 'cell')}"
        f"{f' (paper: {count(paper)})' if paper else ''}, by {from_to(ours, '+.2f')} points, "
        f"{mean(ours)} on average{f' (paper: {mean(paper)})' if paper else ''}."
    )


def idle(by: dict[tuple, dict[str, str]], cells: Any, method: str) -> str | None:
    """Where W hardly gets pulses, so that an accuracy says little about the method."""
    pulses = [float(by[method, *cell].get("pulses_transfer", "nan")) for cell in cells]
    few = sum(n < HARDLY for n in pulses)
    if not few:
        return None
    return (
        f"A cell of {robustness.TITLES[method]}'s W gets less than {HARDLY:g} pulses in the whole "
        f"run in {few} of {plural(len(pulses), 'cell')} of the table: W stays nearly as it was "
        "drawn there."
    )


def within(by: dict[tuple, dict[str, str]], cells: Any, points: float) -> str:
    """How far E-RIDER is from the paper."""
    gaps = [float(by["erider", *cell]["difference"]) for cell in cells]
    good = sum(gap > -points for gap in gaps)
    return (
        f"E-RIDER is within {points:g} points of the paper or better in {good} of "
        f"{plural(len(gaps), 'cell')}; it differs by {from_to(gaps, '+.2f')} points."
    )


def span(by: dict[tuple, dict[str, str]], methods: list[str], column: str) -> str:
    """From where to where a number goes over the cells of the table."""

    def of(method):
        found = [float(row[column]) for place, row in by.items() if place[0] == method]
        return f"{robustness.TITLES[method]} {from_to(found, '.2g')}"

    return f"{SPANS[column]}: {', '.join(map(of, methods))}."


def searched(folder: str) -> str:
    """The tuned rates."""
    rows = read_rows(folder, "tuned")
    names = [name for name in RATES if any(row.get(name) for row in rows)]
    lines = [
        (
            robustness.TITLES[row["method"]],
            *(shown(number(row[name]), ".3g") for name in names),
            f"{float(row['score']):.2f}",
        )
        for row in rows
    ]
    first, flags = rows[0], configured(folder)
    reads = flags.get("reads_per_transfer") or settings(folder)["reads"]  # no flag at first
    origin = ", the best of earlier searches" if flags.get("earlier") else ""
    return (
        f"{table(('method', *(RATES[name] for name in names), 'validation %'), lines)}\n\n"
        f"{first['candidates']} candidates{origin}, {first['steps']} steps each, "
        f"{plural(reads, 'column')} read per step, the same for all methods, and the same "
        "choice on a part of the training set: the protocol is in `experiments/search.py`. "
        "Devices are those of the tables' first seed."
        + ("" if origin else f" Ranges: {ranges(folder)}.")
    )


def ranges(folder: str) -> str:
    """Where a search has looked for each rate."""
    known = settings(folder)["ranges"]
    return ", ".join(f"{RATES[n]} {known[n][0]:g} to {known[n][1]:g}" for n in RATES if n in known)
