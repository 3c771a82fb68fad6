"""Populations of cells under pulses, sptrack beside aihwkit: means and stds of hidden weights.

    python -m experiments.peer_conformance --help

Every cell of arrays of each preset gets n pulses up from 0 and then n down, one at a time and for
sure (trains of one slot whose lines always fire); compared are mean and std of the hidden weights
over the cells. Both simulators draw their own cells and noise. There are many small arrays, because
the noise of one aihwkit array comes from a list of some ten thousand numbers whose mean is not
quite 0, so cells of one array aren't independent; their scatter gives the standard errors.
The presets' numbers are compared field by field. aihwkit is not among the dependencies; without it
the command says how to get it.
"""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import sptrack as spt
from experiments import study, tables

PEERS = {
    "reram_es": "ReRamESPresetDevice",
    "reram_sb": "ReRamSBPresetDevice",
    "capacitor": "CapacitorPresetDevice",
    "ecram": "EcRamPresetDevice",
    "ecram_mo": "EcRamMOPresetDevice",
    "idealized": "IdealizedPresetDevice",
    "gokmen_vlasov": "GokmenVlasovPresetDevice",
    "pcm": "PCMPresetDevice",
    "reram_array_om": "ReRamArrayOMPresetDevice",
    "reram_array_hfo2": "ReRamArrayHfO2PresetDevice",
}
PULSES = (1, 2, 5, 10, 20, 50, 100, 200, 400)
TOLERANCE = 0.02  # of the peer's std, for the gap of means and of stds
INSTALL = """aihwkit is not installed in this environment, and this command compares with it:

    pip install torch
    pip install aihwkit==1.2.0

If there is no wheel for your system, pip builds it from source in some minutes; that needs a C++
compiler, libopenblas-dev, and first: pip install cmake ninja pybind11 scikit-build mypy torch,
then pip install --no-build-isolation aihwkit==1.2.0. Its release 1.2.0 is what sptrack's presets
and rules follow."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare with aihwkit; writes peer_conformance.csv and manifest.json.

    Attributes:
      size: lines of a square array.
      arrays: arrays per preset and number of pulses, at least 2.
      seed: root of sptrack's random numbers and of aihwkit's cells.
      out: folder for the results.
      overwrite: replace results of another configuration in that folder.
      resume: keep the presets that an earlier run has finished.
      smoke: small arrays and few pulses, to see that everything works.
    """

    size: int = 64
    arrays: int = 256
    seed: int = 0
    out: Path = Path("runs/peer_conformance")
    overwrite: bool = False
    resume: bool = False
    smoke: bool = False

    @property
    def pulses(self) -> tuple[int, ...]:
        """Numbers of pulses after which populations are compared."""
        return PULSES[:3] if self.smoke else PULSES


def moments(weights: Any) -> np.ndarray:
    """Mean and mean square over the cells of each array, shape (..., 2)."""
    w = np.asarray(weights, float)
    return np.stack([w.mean((-2, -1)), (w * w).mean((-2, -1))], -1)


def our_moments(key: Any, spec: Any, config: Config) -> np.ndarray:
    """Moments after each number of up pulses, and after as many down pulses from there.

    Returns:
      Shape (arrays, numbers of pulses, up and down, 2).
    """
    shape = (config.arrays, config.size, config.size)
    sample, pulse = jax.random.split(key)
    device, start, found = _sampled(sample, spec, shape), jnp.zeros(shape), []
    for index, n in enumerate(config.pulses):
        keys = jax.random.split(jax.random.fold_in(pulse, index))
        up = _pulsed(keys[0], device, start, n)
        down = _pulsed(keys[1], device, up, -n)
        found.append(np.stack([moments(up), moments(down)], 1))
    return np.stack(found, 1)


_sampled = jax.jit(spt.sample_device, static_argnames="shape")


@jax.jit
def _pulsed(key: Any, device: Any, w: Any, count: Any) -> Any:
    return spt.apply_pulses(key, device, w, jnp.full(w.shape, count))


def their_moments(name: str, config: Config) -> np.ndarray:
    """The same of aihwkit's preset; arrays of their own for each number of pulses."""
    import torch
    from aihwkit.simulator.presets import devices

    size, ones = config.size, torch.ones(1, config.size)

    def pulsed(tile, sign, n):
        for _ in range(n):
            tile.update(ones, sign * ones, False, False, False, False)
        return moments(_hidden(tile))

    def one_array(n, seed):
        preset = getattr(devices, PEERS[name])(construction_seed=seed)
        wrapped = one_slot_array(preset, size)
        wrapped.tile.set_weights(torch.zeros(size, size))
        # the weight falls where x d > 0
        return [pulsed(wrapped.tile, -1, n), pulsed(wrapped.tile, 1, n)]

    numbers = 1 + np.arange(config.arrays * len(config.pulses)).reshape(config.arrays, -1)
    seeds = config.seed * numbers.size + numbers  # never 0, which would be drawn by chance
    pairs = [zip(config.pulses, row.tolist(), strict=True) for row in seeds]
    return np.array([[one_array(n, seed) for n, seed in of_array] for of_array in pairs])


def one_slot_array(device: Any, size: int) -> Any:
    """A square array of aihwkit whose every update is one pulse on each cell.

    Keep what is returned as long as its `tile` is used: the C++ part must not outlive it.
    """
    from aihwkit.simulator.configs import SingleRPUConfig
    from aihwkit.simulator.parameters.enums import PulseType
    from aihwkit.simulator.parameters.training import UpdateParameters
    from aihwkit.simulator.tiles.analog import AnalogTile

    one_slot = UpdateParameters(
        desired_bl=1,
        fixed_bl=True,
        update_bl_management=False,
        update_management=False,
        pulse_type=PulseType.STOCHASTIC_COMPRESSED,
    )
    array = AnalogTile(size, size, SingleRPUConfig(device=device, update=one_slot), bias=False)
    array.tile.set_learning_rate(1e6)  # a line fires for sure however coarse the cells
    return array


def _hidden(tile: Any) -> np.ndarray:
    """The weights on which pulses act, not those that a read shows."""
    names = tile.get_hidden_parameter_names()
    if "persistent_weights" in names:
        return tile.get_hidden_parameters()[names.index("persistent_weights")].numpy().copy()
    return tile.get_weights().numpy().copy()


def different_fields(name: str) -> dict[str, tuple[Any, Any]]:
    """Fields that both presets have and in which they differ: (ours, theirs)."""
    from aihwkit.simulator.presets import devices

    ours, theirs = getattr(spt.presets, name)(), getattr(devices, PEERS[name])()
    shared = [f.name for f in dataclasses.fields(ours) if hasattr(theirs, f.name)]
    pairs = {field: (getattr(ours, field), getattr(theirs, field)) for field in shared}
    pairs.pop("drift", None)  # an object there, with all rates zero in every preset
    return {field: pair for field, pair in pairs.items() if not np.isclose(*pair, rtol=1e-9)}


def compare(name: str, config: Config) -> study.Records:
    """Moments of both simulators' arrays."""
    key = jax.random.fold_in(spt.random.fast_key(config.seed), list(PEERS).index(name))
    ours = our_moments(key, getattr(spt.presets, name)(), config)
    return {"ours": ours, "peer": their_moments(name, config)}


def statistics(arrays: np.ndarray) -> dict[str, float]:
    """Mean and std over all cells, and their standard errors from the scatter of arrays.

    Args:
      arrays: mean and mean square of each array, shape (arrays, 2).
    """
    mean = arrays[:, 0].mean()
    variances = arrays[:, 1] - 2 * mean * arrays[:, 0] + mean**2  # around the mean of all
    std = np.sqrt(variances.mean())
    root = np.sqrt(len(arrays))
    return {
        "mean": float(mean),
        "std": float(std),
        "mean_error": float(arrays[:, 0].std(ddof=1) / root),
        "std_error": float(variances.std(ddof=1) / root / (2 * std)),
    }


def rows(finished: dict[str, study.Records], config: Config) -> list[dict[str, Any]]:
    """One row per preset, number of pulses and direction; gaps, errors in units of the peer's std.

    An error is the standard error of the gap, from the scatter of both simulators' arrays.
    """
    table = []
    for name, records in finished.items():
        for index, n in enumerate(config.pulses):
            for side, direction in enumerate(("up", "down")):
                ours, peer = (statistics(records[k][:, index, side]) for k in ("ours", "peer"))
                row: dict[str, Any] = {"preset": name, "pulses": n, "direction": direction}
                for what in ("mean", "std"):
                    error = np.hypot(ours[f"{what}_error"], peer[f"{what}_error"])
                    row |= {
                        what: ours[what],
                        f"{what}_peer": peer[what],
                        f"{what}_gap": (ours[what] - peer[what]) / peer["std"],
                        f"{what}_error": float(error) / peer["std"],
                    }
                table.append(row)
    return table


def verdict(of_preset: list[dict[str, Any]]) -> str:
    """Whether all gaps are within the tolerance, or what is beyond it within 4 standard errors."""
    gaps = [(abs(r[f"{k}_gap"]), r[f"{k}_error"]) for r in of_preset for k in ("mean", "std")]
    if all(gap <= TOLERANCE for gap, _ in gaps):
        return "yes"
    return "within errors" if all(g <= TOLERANCE or g <= 4 * e for g, e in gaps) else "NO"


def summary(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line per preset: its largest gaps, each with its standard error."""
    lines = []
    for name in dict.fromkeys(row["preset"] for row in table):
        of_preset = [row for row in table if row["preset"] == name]
        line = {"preset": name, "aihwkit": PEERS[name]}
        for what in ("mean", "std"):
            worst = max(of_preset, key=lambda row: abs(row[f"{what}_gap"]))
            gap = f"{worst[f'{what}_gap']:.4f} ± {worst[f'{what}_error']:.4f}"
            line[f"gap of {what}s"] = f"{gap} ({worst['pulses']} {worst['direction']})"
        fields = different_fields(name)
        lines.append(
            line
            | {
                "within 2 %": verdict(of_preset),
                "different fields": ", ".join(f"{k} {a} {b}" for k, (a, b) in fields.items()),
            }
        )
    return lines


def run(config: Config) -> list[dict[str, Any]]:
    """Compares all presets; each one is kept as it finishes. Returns all rows."""
    if not _is_installed():
        raise SystemExit(INSTALL)
    if config.size < 1 or config.arrays < 2:
        raise SystemExit("--size must be at least 1 and --arrays 2.")
    import aihwkit

    about = {"config": dataclasses.asdict(config), "aihwkit": aihwkit.__version__}
    finished = study.collect(
        config.out,
        {name: lambda name=name: compare(name, config) for name in PEERS},
        spt.results.manifest(about, seed=config.seed),
        lambda records: tables.write_csv(
            rows(records, config), config.out / "peer_conformance.csv"
        ),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return rows(finished, config)


def _is_installed() -> bool:
    try:
        return importlib.util.find_spec("aihwkit") is not None
    except ValueError:  # a module without a spec, or switched off
        return False


def main(arguments: list[str] | None = None) -> None:
    """The command; exits with 1 if a preset is off by more than the tolerance."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.peer_conformance")
    if config.smoke:
        config = dataclasses.replace(config, arrays=4)
    lines = summary(run(config))
    print("Largest gaps over all numbers of pulses, in units of aihwkit's std over the cells")
    print(tables.text(lines))
    print(f"Results: {config.out}/peer_conformance.csv, manifest.json", file=sys.stderr)
    if not config.smoke and any(line["within 2 %"] == "NO" for line in lines):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
