"""The page of parameters, docs/parameters.md: every field of every specification, and the presets.

    python -m experiments.parameters

What is on the page is what the code says: default, symbol, unit and equation from the fields of the
classes, meanings from their docstrings, sources from those of their modules. A test compares.
"""

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import sptrack as spt
from sptrack.devices import presets

PAGE = Path(__file__).parents[1] / "docs" / "parameters.md"
SECTIONS: dict[str, tuple[type, ...]] = {
    "What all pulsed cells have": (spt.devices.PulsedSpec, spt.devices.RetentionSpec, spt.Drift),
    "Pulsed cells": (
        spt.ConstantStep,
        spt.LinearStep,
        spt.SoftBounds,
        spt.SoftBoundsReference,
        spt.ExpStep,
        spt.PowStep,
        spt.PowStepReference,
        spt.PiecewiseStep,
    ),
    "Responses of the theory, and the ideal array": (
        spt.LinearResponse,
        spt.PowerResponse,
        spt.ExponentialResponse,
        spt.IdealStep,
    ),
    "Cells of several devices": (spt.VectorCell, spt.OneSidedPair, spt.ReferencePair),
    "Pulse trains and reads": (spt.PulseTrain, spt.periphery.ReadPath),
    "Schedules of optimizers": (spt.ColumnTransfer, spt.DigitalBuffer),
    "Cost model": (spt.costs.ArrayHardware,),
}
INTRO = """# Parameters

Every field of every specification: made by `python -m experiments.parameters`, so change the code
and not this page. A unit of 1 is a pure number, "relative" one that multiplies the quantity it
belongs to; weights and steps are in the unit of the weights. ξ is standard normal, drawn once per
cell (or whenever the equation says so), δ stands for `dw_min`. Switches and choices have no unit.
[devices.md](devices.md) explains the cells and their conventions.
"""


def meanings(cls: type) -> dict[str, str]:
    """Field -> what its class's docstring says about it under "Attributes"."""
    block = re.search(r"^Attributes:\n((?: .*\n|\n)*)", inspect.getdoc(cls) + "\n", re.MULTILINE)
    found: dict[str, str] = {}
    names: list[str] = []
    for line in block[1].splitlines() if block else ():
        head = re.match(r"  (\w+(?:, \w+)*): (.*)", line)
        if head:
            names = head[1].split(", ")
            found |= dict.fromkeys(names, head[2])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def source(cls: type) -> str:
    """Where a class's rules are from, as its module says."""
    text = " ".join((sys.modules[cls.__module__].__doc__ or "").split())
    found = re.search(r"Source: (.*?)\.?$", text)
    return found[1] if found else ""


def own_fields(cls: type) -> list[dataclasses.Field]:
    """The fields that a class adds to its bases."""
    inherited = {f.name for base in cls.__bases__ for f in _fields(base)}
    return [field for field in _fields(cls) if field.name not in inherited]


def changed_defaults(cls: type) -> dict[str, Any]:
    """The inherited fields that have another default here."""
    inherited = {f.name: f.default for base in cls.__bases__ for f in _fields(base)}
    return {
        f.name: f.default
        for f in _fields(cls)
        if f.name in inherited and inherited[f.name] != f.default
    }


def _fields(cls: type) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def shown(value: Any) -> str:
    """A default as code; of a specification what differs from its own defaults."""
    if dataclasses.is_dataclass(value):
        given = ", ".join(f"{k}={shown(v)}" for k, v in non_defaults(value).items())
        return f"{type(value).__name__}({given})"
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))}{',' * (len(value) == 1)})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def non_defaults(spec: Any) -> dict[str, Any]:
    """The fields of a specification that aren't at the default of its class."""
    values = {f.name: (getattr(spec, f.name), f.default) for f in _fields(type(spec))}
    return {name: value for name, (value, default) in values.items() if value != default}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)


def _escaped(cell: str) -> str:
    return cell.replace("|", "\\|")


def of_class(cls: type) -> str:
    """The part of the page about one class."""
    known, lines = meanings(cls), [f"### `{cls.__name__}`", ""]
    bases = [f"`{base.__name__}`" for base in cls.__bases__ if _fields(base)]
    if source(cls):
        lines += [f"Source: {source(cls)}.", ""]
    if bases:
        changed = [f"`{k} = {shown(v)}`" for k, v in changed_defaults(cls).items()]
        other = f", with {', '.join(changed)}" if changed else ""
        lines += [f"Has the fields of {' and '.join(bases)}{other}.", ""]
    rows = []
    for field in own_fields(cls):
        about = field.metadata
        rows.append(
            (
                f"`{field.name}`",
                about.get("symbol", ""),
                f"`{shown(field.default)}`",
                about.get("unit", ""),
                about.get("equation", ""),
                known.get(field.name, ""),
            )
        )
    if rows:
        lines.append(table(("field", "symbol", "default", "unit", "equation", "meaning"), rows))
    return "\n".join(lines).rstrip()


def of_presets() -> str:
    """The presets: class, number of states of the mean cell, and what they set."""
    rows = []
    for name in presets.__all__:
        spec = getattr(presets, name)()
        states = f"{spt.num_states(spec):.4g}" if hasattr(spec, "num_states") else ""
        numbers = ", ".join(f"{k} {shown(v)}" for k, v in non_defaults(spec).items())
        rows.append((f"`{name}`", f"`{type(spec).__name__}`", states, numbers))
    return table(("preset", "cells", "states", "what differs from the class's defaults"), rows)


def page() -> str:
    """The whole page."""
    parts = [INTRO]
    for title, classes in SECTIONS.items():
        parts += [f"## {title}\n", *(of_class(cls) + "\n" for cls in classes)]
    return "\n".join([*parts, "## Presets\n", of_presets()]) + "\n"


def main() -> None:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE}.", file=sys.stderr)


if __name__ == "__main__":
    main()
