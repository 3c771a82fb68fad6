"""The same experiment again, from the manifest beside its results.

    python -m experiments rerun runs/quickstart/manifest.json --out runs/again

The manifest names the experiment and holds its whole configuration, defaults and seeds included;
this command starts it once more in a process of its own, and says whether the results are the same
bits. They are with the same versions on the same kind of machine, unless something that isn't a
flag has changed, e.g. the rates that a search has found; it says so then.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import sptrack as spt
from experiments.study import FREE, differing

ROOT = Path(__file__).parents[1]
CIRCUMSTANCES = ("versions", "git", "device", "host")


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """The experiment's name and its manifest.

    Raises:
      SystemExit: if the file is no manifest of an experiment, or was changed by hand.
    """
    try:
        manifest = json.loads(path.read_text())
        words, config = shlex.split(manifest["command"]), manifest["config"]
        fingerprint, flags = manifest["config_sha256"], dict(config["config"])
    except OSError as error:
        raise SystemExit(f"Can't read {path}: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise SystemExit(
            f"{path} is not the manifest of an experiment, which has a command and a configuration."
        ) from None
    text = spt.results.canonical_json(config)
    if hashlib.sha256(text.encode()).hexdigest() != fingerprint:
        raise SystemExit(f"{path} was changed: its configuration does not have its hash.")
    module = next((w for w in words if w.startswith("experiments.")), "")
    if not module or not flags or importlib.util.find_spec(module) is None:
        raise SystemExit(f"{path} was written by {manifest['command']!r}, which is no experiment.")
    return module.removeprefix("experiments."), manifest


def flags_of(config: dict[str, Any]) -> list[str]:
    """A configuration as words of a command line."""
    words = []
    for name, value in config.items():
        flag = name.replace("_", "-")
        if name in FREE or value is None:
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            values = value if isinstance(value, list) else [value]
            words += [f"--{flag}", *map(str, values)]
    return words


def run(path: Path, out: Path | None) -> int:
    """Starts the experiment again and compares; returns the exit status."""
    name, known = read(path)
    out = out or Path("runs") / "rerun" / name
    if out.resolve() == path.parent.resolve():
        raise SystemExit(f"--out {out} holds the results to compare with: choose another folder.")
    command = ["-m", f"experiments.{name}", *flags_of(known["config"]["config"])]
    settings = {"JAX_ENABLE_X64": str(int(known["x64"]))}
    if known["matmul_precision"] != "default":
        settings["JAX_DEFAULT_MATMUL_PRECISION"] = known["matmul_precision"]
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, *command, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": paths, **settings},
    )
    if done.returncode:
        return done.returncode
    again = json.loads((out / path.name).read_text())
    same, text = compared(known, again)
    print(text)
    return 0 if same else 1


def compared(known: dict[str, Any], again: dict[str, Any]) -> tuple[bool, str]:
    """Whether nothing speaks against equal results, and what to say about them."""
    before, now = known.get("results_sha256"), again.get("results_sha256")
    if before is None or now is None:
        return True, "Done. The manifest has no hash of results; compare the files."
    if before == now:
        return True, "The results are the same, bit for bit."
    changed = [
        f"{name} {known.get(name)}, now {again.get(name)}"
        for name in CIRCUMSTANCES
        if known.get(name) != again.get(name)
    ]
    settings = differing(known, again)
    if settings:
        changed.insert(0, f"settings that are others by now ({settings})")
    why = "; ".join(changed) or "nothing that the manifests know of"
    return False, f"The results are not the same bits. What differs besides: {why}."


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments rerun",
        description="Reproduce an experiment from its manifest and compare the results.",
    )
    parser.add_argument("manifest", type=Path, help="manifest.json beside an experiment's results")
    parser.add_argument("--out", type=Path, help="folder for the results (runs/rerun/EXPERIMENT)")
    options = parser.parse_args(arguments)
    raise SystemExit(run(options.manifest, options.out))
