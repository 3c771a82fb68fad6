"""What the figures draw, read back from the axes."""

import subprocess
import sys

import numpy as np
import pytest

from sptrack import plot

matplotlib = pytest.importorskip("matplotlib")
plt = pytest.importorskip("matplotlib.pyplot")
xarray = pytest.importorskip("xarray")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def curves(values=None, dims=("algorithm", "seed", "epoch")):
    if values is None:
        values = np.random.default_rng(0).uniform(size=(6, 4, 5))
    names = ["digital_sgd", "analog_sgd", "residual_learning", "two_stage", "rider", "erider"]
    coords = {"algorithm": names[: values.shape[0]], "epoch": np.arange(1, values.shape[-1] + 1)}
    data = {"test_accuracy": (dims, values, {"units": "1"})}
    return xarray.Dataset(data, {k: v for k, v in coords.items() if k in dims})


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def draw(ax):
    ax.figure.canvas.draw()  # warnings are errors


# learning_curves


def test_learning_curves_draw_means_and_bands():
    ds = curves()
    ax = plot.learning_curves(ds)
    draw(ax)
    assert legend(ax) == list(ds.algorithm.values)
    assert len(ax.collections) == 6
    values = ds.test_accuracy.values
    for line, band, runs in zip(ax.get_lines(), ax.collections, values, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_allclose(line.get_ydata(), runs.mean(0))
        y = band.get_paths()[0].vertices[:, 1]
        assert y.max() == pytest.approx((runs.mean(0) + runs.std(0, ddof=1)).max())
        assert y.min() == pytest.approx((runs.mean(0) - runs.std(0, ddof=1)).min())


def test_curves_differ_in_colour_and_in_style():
    lines = plot.learning_curves(curves()).get_lines()
    assert len({line.get_color() for line in lines}) == 6
    assert len({(line.get_linestyle(), line.get_color()) for line in lines}) == 6
    assert len({str(plot._style(i)) for i in range(35)}) == 35
    assert lines[0].get_linestyle() != lines[1].get_linestyle()


def test_axes_carry_names_and_units_and_whole_epochs():
    ds = curves().rename(test_accuracy="wall_time")
    ds.wall_time.attrs["units"] = "s"
    ds.epoch.attrs["long_name"] = "training epoch"
    ax = plot.learning_curves(ds, "wall_time")
    assert ax.get_ylabel() == "wall time (s)" and ax.get_xlabel() == "training epoch"
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_a_given_axes_is_used():
    _, ax = plt.subplots()
    assert plot.learning_curves(curves(), ax=ax) is ax
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("present", ["algorithm", "seed", None])
def test_dimensions_that_do_not_occur(present):
    dims = tuple(d for d in (present, "epoch") if d)
    ds = curves(np.random.default_rng(0).uniform(size=(3, 5) if present else (5,)), dims)
    ax = plot.learning_curves(ds)
    draw(ax)
    assert len(ax.get_lines()) == (3 if present == "algorithm" else 1)
    assert len(ax.collections) == (1 if present == "seed" else 0)


def test_failed_seeds_are_left_out_and_counted():
    values = np.random.default_rng(0).uniform(size=(2, 4, 5))
    values[0, 1, 3] = np.nan
    values[1] = np.nan
    ax = plot.learning_curves(curves(values))
    draw(ax)
    assert legend(ax) == ["digital_sgd (3 of 4 seeds)", "analog_sgd (0 of 4 seeds)"]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), values[0, [0, 2, 3]].mean(0))


def test_learning_curves_refuse_what_they_cannot_draw():
    ds = curves()
    with pytest.raises(ValueError, match=r"no variable 'loss'.*\['test_accuracy'\]"):
        plot.learning_curves(ds, "loss")
    with pytest.raises(ValueError, match="expected 'step'"):
        plot.learning_curves(ds, x="step")
    with pytest.raises(ValueError, match=r"'layer'.*isel\(layer=0\)"):
        plot.learning_curves(ds.expand_dims(layer=2))


# symmetric_point_trace


def test_trace_shows_mean_band_and_truth():
    trace = np.random.default_rng(0).normal(size=(30, 4, 5))
    truth = np.linspace(-1, 2, 20).reshape(4, 5)
    truth[0, 0] = np.nan
    ax = plot.symmetric_point_trace(trace, truth, pulses=10 * np.arange(30))
    draw(ax)
    assert legend(ax) == ["estimate, mean ± std of 20 cells", "true symmetric point, mean"]
    line, dashed = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), 10 * np.arange(30))
    np.testing.assert_allclose(line.get_ydata(), trace.mean((1, 2)))
    assert dashed.get_linestyle() == "--"
    assert dashed.get_ydata()[0] == pytest.approx(np.nanmean(truth))


def test_trace_of_one_cell_and_no_symmetric_point():
    ax = plot.symmetric_point_trace(np.arange(4.0), np.nan)
    draw(ax)
    assert legend(ax)[0] == "estimate" and len(ax.collections) == 0


def test_two_traces_in_one_figure_look_different():
    ax = plot.symmetric_point_trace(np.zeros((3, 2)), label="cyclic")
    plot.symmetric_point_trace(np.ones((3, 2)), 0.5, label="stochastic", ax=ax)
    styles = [(line.get_color(), line.get_linestyle()) for line in ax.get_lines()]
    assert len(set(styles)) == 3 and len(legend(ax)) == 3


@pytest.mark.parametrize("trace", [0.0, np.zeros((0, 3)), np.zeros((3, 0))])
def test_trace_refuses_nothing_to_draw(trace):
    with pytest.raises(ValueError, match=r"expected \(T, \.\.\.\)"):
        plot.symmetric_point_trace(trace)


def test_trace_refuses_pulses_of_another_length():
    with pytest.raises(ValueError, match=r"pulses has shape \(4,\).*3 records"):
        plot.symmetric_point_trace(np.zeros((3, 2)), pulses=np.arange(4))


# response_curves


def test_response_curves_of_one_cell():
    w = np.linspace(-1, 1, 11)
    ax = plot.response_curves(w, 1 - w, 1 + w, 0.0)
    draw(ax)
    assert legend(ax) == ["up pulse", "down pulse", "symmetric point"]
    up, down, point = ax.get_lines()
    np.testing.assert_allclose(up.get_ydata() - down.get_ydata(), -2 * w)
    assert point.get_xdata()[0] == 0.0
    assert "dw_min" in ax.get_ylabel() and ax.get_xlabel() == "weight"


def test_response_curves_of_many_cells_have_one_legend_entry_each():
    w = np.linspace(-1, 1, 11)
    up, down = np.ones((11, 3)), np.full((11, 3), 2.0)
    ax = plot.response_curves(w, up, down, np.array([0.1, np.nan, 0.3]))
    draw(ax)
    assert legend(ax) == ["up pulse", "down pulse", "symmetric point"]
    assert len(ax.get_lines()) == 3 + 3 + 2


@pytest.mark.parametrize(
    ("w", "up", "down"), [((3, 1), (3,), (3,)), ((3,), (4,), (4,)), ((3,), (3, 2), (3,))]
)
def test_response_curves_refuse_shapes_that_do_not_fit(w, up, down):
    with pytest.raises(ValueError, match=r"expected \(N,\)"):
        plot.response_curves(np.zeros(w), np.zeros(up), np.zeros(down))


def test_without_matplotlib_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"sptrack\[plot\]"):
        plot.response_curves(np.zeros(2), np.zeros(2), np.zeros(2))


def test_importing_plot_does_not_import_matplotlib():
    program = "import sys, sptrack.plot, sptrack.results; print('matplotlib' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
