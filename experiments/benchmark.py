"""Speed: pulses per second, time per training step, what it costs to begin.

    python -m experiments.benchmark --help

Three parts: cyclic zero-shifting of a square array (`benchmark_pulses`), training steps of the
MNIST net in populations (`benchmark_steps`), and import and compilation (`benchmark_start`).
Programs take turns and the least time counts; figures that mean something on another machine are
ratios within one run: to a copy of the same bytes and, with --against-aihwkit, to its programs
(`benchmark_peer`). Images are random numbers with the labels of a random linear map, so no data
set is needed.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

import sptrack as spt
from experiments import benchmark_clock as clock
from experiments import benchmark_pulses, benchmark_start, benchmark_steps, study, tables


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure speed; writes zero_shifting.csv, steps.csv, start.csv and manifest.json.

    Attributes:
      out: folder for the results.
      against_aihwkit: whether aihwkit takes turns with us; it must be installed.
      size: lines of the zero-shifted array.
      pulses: pulses per cell of one timing.
      many_pulses: pulses per cell of the closed form.
      populations: numbers of nets that are trained at once.
      steps: training steps per timing.
      repeats: timings of each program, of which the least counts.
      overwrite: replace results of another configuration in that folder.
      resume: keep parts of an earlier run that were finished.
      smoke: little of everything, to see that it works.
    """

    out: Path = Path("runs/benchmark")
    against_aihwkit: bool = False
    size: int = 512
    pulses: int = 100
    many_pulses: int = 8000
    populations: tuple[int, ...] = (1, 4, 16, 64)
    steps: int = 50
    repeats: int = 5
    overwrite: bool = False
    resume: bool = False
    smoke: bool = False


def parts(config: Config) -> dict[str, Callable[[], study.Records]]:
    """What is measured: name -> function that does it."""

    def zero_shifting():
        programs = benchmark_pulses.programs(config.size, config.pulses, config.many_pulses)
        if config.against_aihwkit:
            from experiments import benchmark_peer

            programs.append(benchmark_peer.zero_shifting(config.size))
        return clock.take_turns(programs, config.repeats)

    def steps():
        programs = benchmark_steps.programs(config.populations, config.steps, few=config.smoke)
        if config.against_aihwkit:
            from experiments import benchmark_peer

            programs += benchmark_peer.training(config.steps)
        return clock.take_turns(programs, config.repeats)

    def start():
        return benchmark_start.measure(config.repeats, compile_too=not config.smoke)

    return {"zero_shifting": zero_shifting, "steps": steps, "start": start}


def run(config: Config) -> dict[str, list[dict[str, Any]]]:
    """Measures and writes; returns the tables by part."""
    if config.smoke:
        small = {"size": 32, "pulses": 4, "many_pulses": 100, "populations": (1,)}
        config = dataclasses.replace(config, **small, steps=2, repeats=1)
    check(config)
    manifest = spt.results.manifest(
        {"config": dataclasses.asdict(config), "chip": jax.devices()[0].device_kind}, seed=0
    )
    finished = study.collect(
        config.out,
        parts(config),
        manifest,
        lambda records: write(config.out, records),
        resume=config.resume,
        overwrite=config.overwrite,
    )
    return {name: table(name, records) for name, records in finished.items()}


def check(config: Config) -> None:
    """Refuses numbers that make no measurement, and a peer that isn't there."""
    counts = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    for name in ("size", "pulses", "many_pulses", "steps", "repeats"):
        if counts[name] < 1:
            raise SystemExit(f"--{name.replace('_', '-')} must be at least 1, got {counts[name]}.")
    if not config.populations or min(config.populations) < 1:
        raise SystemExit(f"--populations must be at least 1 each, got {config.populations}.")
    if config.against_aihwkit and importlib.util.find_spec("aihwkit") is None:
        raise SystemExit(
            "--against-aihwkit: aihwkit is not installed here. It builds from its sdist for Python "
            "3.11 (see experiments/peer_conformance.py); leave the flag out to measure sptrack."
        )


def table(name: str, records: study.Records) -> list[dict[str, Any]]:
    """One row per program of a part."""
    if name == "zero_shifting":
        return benchmark_pulses.rows(records)
    return benchmark_steps.rows(records) if name == "steps" else benchmark_start.rows(records)


def write(out: Path, finished: dict[str, study.Records]) -> None:
    """A table per part."""
    for name, records in finished.items():
        tables.write_csv(table(name, records), out / f"{name}.csv")


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.benchmark")
    for name, found in run(config).items():
        print(f"\n{name}")
        print(tables.text([{k: _short(v) for k, v in row.items()} for row in found]))
    print(f"\nResults: {config.out}/zero_shifting.csv, steps.csv, start.csv, manifest.json")


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value


if __name__ == "__main__":
    main()
