"""Results with names on: labelled datasets, and a manifest that says how they came about.

Arrays carry no labels inside the simulator. `to_dataset` puts them on at the edge, once: every
dimension has a name, every number a unit. `save` and `load` keep such a dataset as NetCDF.
`load` also reads the stores that `spt.sweep` writes, and `status_counts`, `failures` and `digest`
say what came out of a sweep. `manifest` collects what is needed to get the same numbers again
(versions, commit, command, full configuration with its hash, seed, device), and `save_manifest`
writes it as JSON beside the data.

A file is written under another name and then renamed, so a reader sees the old file or the whole
new one, never half of it. The manifest works without xarray; datasets need `sptrack[results]`.
"""

from sptrack.results.labelled import load, save, to_dataset
from sptrack.results.manifests import canonical_json, manifest, save_manifest
from sptrack.results.outcome import digest, failures, status_counts

__all__ = [
    "canonical_json",
    "digest",
    "failures",
    "load",
    "manifest",
    "save",
    "save_manifest",
    "status_counts",
    "to_dataset",
]
