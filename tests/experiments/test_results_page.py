"""docs/results.md is current, and says of the committed numbers what they say."""

import csv

import pytest

from experiments import results_page
from experiments.results_page import RESULTS, SECTIONS


def test_the_page_is_what_the_results_say():
    text = results_page.PAGE.read_text(encoding="utf-8")
    assert text == results_page.page(), "run: python -m experiments.results_page"


@pytest.mark.parametrize("folder", [folder for _, folder, _ in SECTIONS])
def test_every_result_has_its_manifest_and_its_command_on_the_page(folder):
    assert (RESULTS / folder / "manifest.json").exists()
    assert results_page.provenance(folder) in results_page.page()
    assert "python -m experiments." in results_page.provenance(folder)


def test_orders_are_counted_from_the_table():
    with (RESULTS / "robustness_fcn" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    accuracy = {
        (r["method"], r["reference_mean"], r["reference_std"]): float(r["accuracy_percent"])
        for r in rows
    }
    cells = {key[1:] for key in accuracy}
    ahead = sum(accuracy["erider", *c] > accuracy["agad", *c] for c in cells)
    assert f"E-RIDER is ahead of AGAD in {ahead} of {len(cells)} cells" in results_page.page()
