"""Committed results under experiments/results: their rows, flags and origin, for the page."""

import json
import re
from pathlib import Path
from typing import Any

from experiments import tables
from experiments.study import FREE

RESULTS = Path(__file__).parent / "results"
Rows = list[dict[str, str]]


def read_rows(folder: str, name: str) -> Rows:
    """The rows of a committed CSV file."""
    return tables.read_csv(RESULTS / folder / f"{name}.csv")


def number(text: str) -> float | None:
    """A cell of a CSV file as a number; None where it is empty."""
    return float(text) if text else None


def shown(value: float | None, form: str, spread: float | None = None) -> str:
    """A number and its spread as text, "" for None."""
    if value is None:
        return ""
    return format(value, form) + ("" if spread is None else f" ± {spread:{form}}")


def plural(count: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{count} {noun}{'s' if count > 1 else ''}"


def from_to(numbers: Any, form: str) -> str:
    """The smallest and the largest number; one, where they look alike."""
    return " to ".join(dict.fromkeys(format(end(numbers), form) for end in (min, max)))


def provenance(folder: str) -> str:
    """The command of a result, without where it was written, and the versions it ran with."""
    manifest = json.loads((RESULTS / folder / "manifest.json").read_text())
    versions, device = manifest["versions"], manifest["device"]
    free = rf" --({'|'.join(FREE)})( (?!--)[^ ]+)?"  # a flag, and its value if it has one
    command = re.sub(free, "", manifest["command"])
    return (
        f"`{command}`, on {device['platform']}, jax {versions['jax']}, "
        f"{manifest['started'][:10]}; [files](../experiments/results/{folder})"
    )


def settings(folder: str) -> dict[str, Any]:
    """All that a result was configured with; its flags are "config"."""
    return json.loads((RESULTS / folder / "manifest.json").read_text())["config"]


def configured(folder: str) -> dict[str, Any]:
    """The flags of a result."""
    return settings(folder)["config"]
