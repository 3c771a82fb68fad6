"""Notebooks run offline from top to bottom, and each pair of files says the same."""

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))


def code_cells(path):
    return [(c.cell_type, c.source) for c in jupytext.read(path).cells]


def test_there_are_notebooks():
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_two_files_of_a_pair_agree(script):
    assert code_cells(script) == code_cells(script.with_suffix(".ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_runs(script, monkeypatch):
    """In this process, so that key reuse, rank promotion and warnings are errors there too."""
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    namespace = {"__name__": "__main__"}
    for kind, source in code_cells(script.with_suffix(".ipynb")):
        if kind == "code":
            exec(compile(source, str(script), "exec"), namespace)
    import matplotlib.pyplot as plt

    assert plt.get_fignums(), "a notebook shows at least one figure"
    plt.close("all")
