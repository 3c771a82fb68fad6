"""Identifying devices from measured pulse traces.

`traces` (reads between pulses, from a file) are fitted by `families` of cells (`estimate`: optimum,
errors, a test of the residuals); `specs` turns the cells found into the distribution that they come
from; `driver` brings these together.
"""

from sptrack.fit.driver import compare_fits, fit
from sptrack.fit.result import FitResult, Misfit, posterior_predictive
from sptrack.fit.traces import Traces, read_traces, simulate_traces, write_traces

__all__ = [
    "FitResult",
    "Misfit",
    "Traces",
    "compare_fits",
    "fit",
    "posterior_predictive",
    "read_traces",
    "simulate_traces",
    "write_traces",
]
