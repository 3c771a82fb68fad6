"""docs/results.md is current, and says of the committed numbers what they say."""

import pytest

from experiments import results_figures, results_files, results_page, results_robustness
from experiments.results_page import RESULTS, committed


def test_the_page_is_what_the_results_say():
    text = results_page.PAGE.read_text(encoding="utf-8")
    assert text == results_page.page(), "run: python -m experiments.results_page"


def test_the_page_begins_with_every_claim():
    text = results_page.page()
    short = text[text.index("## In short") : text.index("\n## ", text.index("## In short") + 1)]
    said = [line for line in short.splitlines() if line.startswith("* ")]
    claims = [section.claim for section in committed() if section.claim]
    assert len(said) == len(claims) > 5
    assert all(line.startswith(f"* **{c}") for line, c in zip(said, claims, strict=True))
    assert "**Table 2, corners (mnist, 20 epochs, 1 seed).** E-RIDER is ahead of AGAD in" in short


@pytest.mark.parametrize("folder", [section.folder for section in committed()])
def test_every_result_has_its_manifest_and_its_command_on_the_page(folder):
    assert (RESULTS / folder / "manifest.json").exists()
    assert results_files.provenance(folder) in results_page.page()
    assert "python -m experiments." in results_files.provenance(folder)
    assert "--out" not in results_files.provenance(folder)  # which might be where results are


def test_orders_and_differences_are_counted_cell_by_cell():
    rows = [  # method, ours, the paper's
        ("erider", ("91", "95"), ("94", "96")),
        ("agad", ("92", "93"), ("90", "95")),
    ]
    by = {
        (method, cell): {
            "accuracy_percent": ours[cell],
            "paper_percent": paper[cell],
            "difference": str(float(ours[cell]) - float(paper[cell])),
        }
        for method, ours, paper in rows
        for cell in (0, 1)
    }
    cells = [(0,), (1,)]
    said = results_robustness.order(by, cells, "erider", "agad")
    assert said == (
        "E-RIDER is ahead of AGAD in 1 of 2 cells (paper: 2), by -1.00 to +2.00 points, +0.50 on "
        "average (paper: +2.50)."
    )
    assert "in 1 of 2 cells; it differs by -3.00 to -1.00 points" in results_robustness.within(
        by, cells, 1.5
    )


def made_up(accuracies):
    """A stand-in for `cell_by_cell`: folder -> method -> accuracy in two cells."""
    cells = [("0", "1"), ("0.4", "1")]

    def read(folder):
        by = {
            (method, *cell): {"accuracy_percent": value, "paper_percent": ""}
            for method, values in accuracies[folder].items()
            for cell, value in zip(cells, values, strict=True)
        }
        return list(accuracies[folder]), cells, by

    return read


def test_a_method_that_the_paper_does_not_have_is_compared_with_another_run(monkeypatch):
    runs = {
        "own": {"erider": ("94", "93"), "agad": ("90", "91")},
        "more": {"rider": ("95", "70"), "two_stage": ("93", "92.5")},
    }
    monkeypatch.setattr(results_robustness, "cell_by_cell", made_up(runs))
    assert results_robustness.facts("more", beside="own") == [
        "E-RIDER is ahead of RIDER in 1 of 2 cells, by -1.00 to +23.00 points, +11.00 on average.",
        "E-RIDER is ahead of two-stage in 2 of 2 cells, by +0.50 to +1.00 points, +0.75 on "
        "average.",
    ]
    assert results_robustness.facts("more") == []


def test_what_the_rates_of_erider_do_to_agad_is_told_cell_by_cell(monkeypatch):
    runs = {
        "own": {"erider": ("94", "93"), "agad": ("90", "91")},
        "given": {"agad": ("94.5", "92")},
    }
    monkeypatch.setattr(results_robustness, "cell_by_cell", made_up(runs))
    assert results_robustness.with_equal_rates("own", "given") == [
        "With the rates of E-RIDER AGAD's accuracy differs from that with its own by +1.00 to "
        "+4.50 points at the end. E-RIDER is ahead of it by -0.50 to +1.00 then; "
        "`docs/algorithms.md` says what happens on the way."
    ]


def test_a_span_goes_from_the_least_to_the_largest():
    pulses = {
        ("erider", "0", "1"): "0.3",
        ("ttv2", "0", "1"): "0.91",
        ("ttv2", "0.4", "1"): "1e-05",
    }
    by = {place: {"pulses_transfer": n} for place, n in pulses.items()}
    assert results_robustness.span(by, ["erider", "ttv2"], "pulses_transfer") == (
        "Pulses on a cell of W: E-RIDER 0.3, TTv2 1e-05 to 0.91."
    )


def test_the_page_tells_where_training_after_zero_shifting_differs_from_the_authors_script():
    rows = results_files.read_rows("zero_shift_training", "zero_shift_training")
    level = float(rows[-1]["train_loss"])
    assert rows[-1]["method"] == "erider"
    worse = [r["calibration"] for r in rows[:-1] if float(r["train_loss"]) > level]
    assert f"above E-RIDER's after N = {', '.join(worse)} pulses" in results_page.page()


def test_losses_of_the_resnet_are_compared_point_by_point():
    """The authors' six losses, read by eye: E-RIDER's is the lowest, AGAD's the next in five."""
    cells = [("0.4", "0.05"), ("0.2", "0.4")]
    losses = {"erider": ("0.5", "0.3"), "agad": ("0.4", "0.6")}
    by = {(m, *c): {"train_loss": x} for m in losses for c, x in zip(cells, losses[m], strict=True)}
    assert results_figures.lower(by, cells, "erider", "agad") == (
        "The loss of E-RIDER is below that of AGAD at 1 of 2 points (authors: 6 of 6), "
        "differences from -0.300 to +0.100."
    )
    by |= {("ttv2", *cell): {"train_loss": "1"} for cell in cells}
    assert "at 2 of 2 points (authors: 5 of 6)" in results_figures.lower(by, cells, "agad", "ttv2")
