"""What one update costs by algorithm, beside the published numbers.

    python -m experiments.costs --help

Time, digital storage, memory traffic and operations of `spt.costs` for the published settings
(N = 512, n_s = 2, 5 pulses), against `reference/cost_formulas.csv`; then all algorithms on the
array that you describe.
"""

import dataclasses
from pathlib import Path
from typing import Any

import sptrack as spt
from experiments import tables

PUBLISHED = Path(__file__).parent / "reference" / "cost_formulas.csv"
NAMES = {  # row of the published table: our name, and what differs from the default array
    "in-memory SGD": ("analog_sgd", {}),
    "TTv2": ("ttv2", {}),
    "c-TTv2": ("chopped_ttv2", {}),
    "AGAD": ("agad", {}),
    "AGAD_ns10_lmax1": ("agad", {"transfer_every": 10.0, "pulses_per_update": 1.0}),
    "MP": ("mixed_precision", {}),
    "multi-tile": ("multi_tile", {}),
    "Wu25_update_ASGD": ("analog_sgd", {"pulses_per_update": 32.0}),
    "Wu25_update_RL": ("residual_learning", {"pulses_per_update": 32.0, "transfer_every": 1.0}),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Print costs of one update per algorithm.

    Attributes:
      size: N, lines of the square array.
      pulses_per_update: pulse slots of one gradient update.
      pulse_ns: time of a pulse slot.
      mvm_ns: time of one read of an array.
      transfer_every: updates per transfer of a column.
      batch: samples that mixed precision collects.
      rate: digital operations per ns of one array.
      smoke: changes nothing; the command takes no time anyway.
    """

    size: float = 512.0
    pulses_per_update: float = 5.0
    pulse_ns: float = 5.0
    mvm_ns: float = 40.0
    transfer_every: float = 2.0
    batch: float = 100.0
    rate: float = 175.0
    smoke: bool = False


def compared() -> list[dict[str, Any]]:
    """One row per published number: published and computed time."""
    published = {row["algorithm"]: row for row in tables.read_csv(PUBLISHED)}
    rows = []
    for name, (algorithm, options) in NAMES.items():
        cost = spt.costs.update_cost(algorithm, spt.costs.ArrayHardware(**options))
        row = published[name]
        rows.append(
            {
                "published as": name,
                "algorithm": algorithm,
                "time ns": f"{cost.time_ns:.1f}",
                "published": row["time_ns"],
                "storage": f"{cost.storage:.0f}",
                "storage formula": row["digital_storage"],
                "memory bits": f"{cost.memory_bits:.0f}",
                "bits formula": row["mem_ops_bits"],
                "operations": f"{cost.operations:.0f}",
                "operations formula": row["fp_ops"],
            }
        )
    return rows


def on_array(hardware: spt.costs.ArrayHardware) -> list[dict[str, Any]]:
    """One row per algorithm of sptrack on this array."""
    rows = []
    for name, source in spt.costs.SOURCES.items():
        cost = spt.costs.update_cost(name, hardware)
        numbers = {
            "time ns": f"{cost.time_ns:.1f}",
            "pulse slots": f"{cost.slots:.2f}",
            "reads": f"{cost.reads:.2f}",
            "operations": f"{cost.operations:.0f}",
            "storage": f"{cost.storage:.0f}",
            "memory bits": f"{cost.memory_bits:.0f}",
        }
        rows.append({"algorithm": name, **numbers, "source": source})
    return rows


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    import tyro

    config = tyro.cli(Config, args=arguments, prog="python -m experiments.costs")
    fields = {k: v for k, v in dataclasses.asdict(config).items() if k != "smoke"}
    print("Published settings: N = 512, n_s = 2, 5 pulses of 5 ns, 40 ns per read")
    print(tables.text(compared()))
    print(f"\nAll algorithms, one update, {', '.join(f'{k} {v:g}' for k, v in fields.items())}")
    print(tables.text(on_array(spt.costs.ArrayHardware(**fields))))


if __name__ == "__main__":
    main()
