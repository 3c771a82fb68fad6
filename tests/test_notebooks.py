"""Notebooks run offline from top to bottom, and each pair of files says the same."""

from pathlib import Path

import jupytext
import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(FOLDER.glob("*.py"))
SMALLER = {  # what makes a notebook quick: as written -> as tested
    "02_symmetric_point": {"50_000, 13": "50_000, 3", "[10, 100, 1000]": "[10, 100]"},
    "03_training_sweep": {"STEPS, EVERY = 1500, 50": "STEPS, EVERY = 100, 50"},
    "04_compose_your_own": {"STEPS = 3000": "STEPS = 100"},
    "05_differentiable": {"STEPS = 200": "STEPS = 40", "SAMPLES = 4000": "SAMPLES = 100"},
}


def code_cells(path):
    return [(c.cell_type, c.source) for c in jupytext.read(path).cells]


def test_there_are_notebooks():
    assert SCRIPTS


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_two_files_of_a_pair_agree(script):
    assert code_cells(script) == code_cells(script.with_suffix(".ipynb"))


@pytest.mark.keys_are_checked
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_notebook_runs(script, monkeypatch):
    """In this process, so that key reuse, rank promotion and warnings are errors there too."""
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    namespace = {"__name__": "__main__"}
    cells = code_cells(script.with_suffix(".ipynb"))
    code = "\n\n".join(source for kind, source in cells if kind == "code")
    for written, tested in SMALLER.get(script.stem, {}).items():
        assert code.count(written) == 1
        code = code.replace(written, tested)
    exec(compile(code, str(script), "exec"), namespace)
    import matplotlib.pyplot as plt

    assert plt.get_fignums(), "a notebook shows at least one figure"
    plt.close("all")
