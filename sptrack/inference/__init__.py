"""Inference from reads between pulses: a filter's likelihood, its optimum, the population behind.

`filter` gives the likelihood of a cell's trace under any device; `arrow` maximises it over
parameters of many cells and a few that all share; `population` finds the distribution over cells;
`search` does both in turn, and so does `hierarchical` for cells that know little of themselves.
"""

from sptrack.inference.arrow import Optimum, Summary, maximise, summarise
from sptrack.inference.filter import Innovations, innovations
from sptrack.inference.hierarchy import Law, Posterior, hierarchical
from sptrack.inference.population import Estimate, normal_population
from sptrack.inference.search import Found, search

__all__ = [
    "Estimate",
    "Found",
    "Innovations",
    "Law",
    "Optimum",
    "Posterior",
    "Summary",
    "hierarchical",
    "innovations",
    "maximise",
    "normal_population",
    "search",
    "summarise",
]
