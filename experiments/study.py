"""Studies made of parts: each part's records are kept as it finishes, and found again.

A study is a folder with `manifest.json` and, under `parts/`, one file of arrays per finished part.
An interruption loses only the part that was running, and of that one only what came after its last
checkpoint, if it keeps any; with `resume` finished parts are not done again, and the part that was
running goes on. A folder that holds another configuration is refused, and one that another run is
writing to. With `--distributed` the processes share the parts out and write into the one folder;
the first of them publishes. Tables and figures of what is finished are renewed while a study runs,
and written when it ends or is interrupted.
"""

import contextlib
import datetime
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock
import numpy as np

import sptrack as spt
from experiments import distributed, tables
from sptrack._files import write_whole

Records = dict[str, np.ndarray]
PUBLISH_EVERY = 20.0  # s, at least: a figure takes one, some parts less
FREE = ("out", "overwrite", "resume", "distributed")  # flags that change no result


def collect(
    folder: Path,
    parts: Mapping[str, Callable[[], Records]],
    manifest: dict[str, Any],
    publish: Callable[[dict[str, Records]], None],
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Records]:
    """Does the parts one after the other and publishes what there is, also in between.

    Args:
      folder: where the study lives.
      parts: name -> what makes the part's records.
      manifest: of the whole study, as `spt.results.manifest` gives it for {"config": ..., ...}.
      publish: gets the records of all parts so far, by name; writes tables and figures. Called in
        the end, on Ctrl-C, and after a part when the last time is `PUBLISH_EVERY` seconds ago.
      resume: whether finished parts of an earlier run are taken from `folder`.
      overwrite: whether results of another configuration in `folder` are dropped.

    Returns:
      The records of all parts, by name.

    Raises:
      SystemExit: if the folder holds another configuration or another run is writing to it, or
        something can't be written; with code 130 on Ctrl-C.
    """
    with _alone(folder):
        check_folder(folder, manifest, overwrite=overwrite, resume=resume)
        distributed.together("the folder is the right one")
        if distributed.is_first():
            open_folder(folder, manifest, resume=resume)
        distributed.together("the folder is open")
        return _collected(folder, parts, manifest, publish, resume)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other runs out; the first process of a job does so for all of them.

    The system takes the lock from a process that ends, however it ends.
    """
    if not distributed.is_first():
        yield
        return
    (folder / "parts").mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / "parts" / "lock")
    try:
        held = lock.acquire(blocking=False)
    except filelock.Timeout:
        raise SystemExit(
            f"Another run is writing to {folder}: wait until it has ended, or choose another --out."
        ) from None
    with held:
        yield


def _collected(
    folder: Path,
    parts: Mapping[str, Callable[[], Records]],
    manifest: dict[str, Any],
    publish: Callable[[dict[str, Records]], None],
    resume: bool,
) -> dict[str, Records]:
    """`collect` in a folder that is open and this run's alone."""
    finished: dict[str, Records] = {}
    published = time.monotonic()

    def show() -> None:
        if distributed.is_first() and finished:
            publish(finished)
            spt.results.save_manifest(ended(manifest, finished), folder / "manifest.json")

    try:
        for number, (name, make) in enumerate(parts.items()):
            if distributed.mine(number):
                finished[name] = _part(folder, name, make, resume)
                waited = time.monotonic() - published
                if waited > PUBLISH_EVERY and len(finished) < len(parts):
                    show()
                    published = time.monotonic()
        distributed.together("all parts are finished")
        if len(finished) < len(parts):  # other processes have done the rest
            finished = {name: _load(_file(folder, name)) for name in parts}
        show()
    except KeyboardInterrupt:
        print(f"\nInterrupted. {_kept(folder, finished)}")
        try:
            show()
        except OSError as error:
            print(f"Tables and figures are as they were: {error}.")
        raise SystemExit(130) from None
    except OSError as error:
        raise SystemExit(f"Stopped: {error}. {_kept(folder, finished)}") from error
    return finished


def joined(
    finished: Mapping[str, Records], name: str, members: int
) -> tuple[list[str], np.ndarray]:
    """A record of parts that are called method_first, with `first` their first member.

    Returns:
      The methods, and float32 of shape (methods, members, ...), NaN where a part isn't finished.
    """
    methods = list(dict.fromkeys(part.rsplit("_", 1)[0] for part in finished))
    shape = next(iter(finished.values()))[name].shape[1:]
    values = np.full((len(methods), members, *shape), np.nan, np.float32)
    for part, records in finished.items():
        method, first = part.rsplit("_", 1)
        values[methods.index(method), int(first) : int(first) + len(records[name])] = records[name]
    return methods, values


def write(
    folder: Path,
    name: str,
    table: Sequence[dict[str, Any]],
    dataset: Any,
    draw: Callable[[Any, Path], None],
) -> None:
    """Writes name.csv (the table), name.nc (the dataset) and name.png (by `draw(table, path)`).

    Where the dataset follows training through its epochs, epochs.csv has what `by_epoch` says.
    """
    tables.write_csv(table, folder / f"{name}.csv")
    epochs = by_epoch(dataset)
    if epochs:
        tables.write_csv(epochs, folder / "epochs.csv")
    spt.results.save(dataset, folder / f"{name}.nc")
    draw(table, folder / f"{name}.png")


def by_epoch(dataset: Any) -> list[dict[str, Any]]:
    """Training loss and test accuracy after each epoch: mean, least and largest over the seeds.

    A row per epoch and whatever else the dataset's training losses depend on; none if they don't
    depend on the epoch. What isn't finished has no rows.
    """
    names = [name for name in ("train_loss", "test_accuracy") if name in dataset]
    if not names or "epoch" not in dataset[names[0]].dims:
        return []
    places = [dim for dim in dataset[names[0]].dims if dim not in ("seed", "epoch")]
    values = {name: dataset[name].transpose(*places, "epoch", "seed").values for name in names}
    rows = []
    for index in np.ndindex(values[names[0]].shape[:-1]):
        row: dict[str, Any] = {}
        for dim, number in zip(places, index, strict=False):
            row |= {
                c: v.values[number].item() for c, v in dataset.coords.items() if v.dims == (dim,)
            }
        row["epoch"] = index[-1] + 1
        for name in names:
            of_seeds = values[name][index].astype(float)
            row |= {
                f"{name}_{how}": getattr(of_seeds, how)().item() for how in ("mean", "min", "max")
            }
        rows.append(row)
    return [row for row in rows if np.isfinite(row[f"{names[0]}_mean"])]


def ended(manifest: dict[str, Any], results: Any) -> dict[str, Any]:
    """The manifest with the time of the end and a hash of the results."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    digest = hashlib.sha256(spt.results.canonical_json(results).encode()).hexdigest()
    return manifest | {"ended": now, "results_sha256": digest}


def checkpoint(folder: Path, name: str) -> Path:
    """Where a part may keep what it has done while it runs; gone when the part has finished."""
    return folder / "parts" / f"{name}.checkpoint.npz"


def _part(folder: Path, name: str, make: Callable[[], Records], resume: bool) -> Records:
    """The records of a part, found or made and kept."""
    path, unfinished = _file(folder, name), checkpoint(folder, name)
    if not resume:
        unfinished.unlink(missing_ok=True)
    known = resume and path.exists()
    records = _load(path) if known else make()
    if not known:
        _save(records, path)
    unfinished.unlink(missing_ok=True)
    return records


def _file(folder: Path, name: str) -> Path:
    return folder / "parts" / f"{name}.npz"


def _kept(folder: Path, finished: Mapping[str, Records]) -> str:
    names = ", ".join(finished) or "nothing yet"
    return f"Finished and kept in {folder}: {names}. Go on with --resume."


def check_folder(folder: Path, manifest: dict[str, Any], *, overwrite: bool, resume: bool) -> None:
    """Refuses a folder with another configuration, unless that may be overwritten."""
    if resume and overwrite:
        raise SystemExit("--resume keeps finished parts and --overwrite drops them: give one.")
    changed = _changed(folder, manifest)
    if changed and not overwrite:
        raise SystemExit(
            f"{folder} holds results of another configuration (different: {changed}). "
            "Choose another --out, or replace them with --overwrite."
        )


def open_folder(folder: Path, manifest: dict[str, Any], *, resume: bool) -> None:
    """Makes the folder; drops the parts of another configuration, or of other code.

    With `resume` parts of other code are kept, and that is said. Without it they would be replaced
    one by one, and an interruption in between would leave a mixture for the next `resume`.
    """
    parts, other_code = folder / "parts", _other_code(folder, manifest)
    if other_code and resume:
        print(
            f"{folder} holds parts of another version of the code; they stay as they are.",
            file=sys.stderr,
        )
    if _changed(folder, manifest) or (other_code and not resume):
        for part in parts.glob("*.npz"):
            part.unlink()
    parts.mkdir(parents=True, exist_ok=True)
    # From now on the folder is this configuration's, even if the first part never ends.
    spt.results.save_manifest(manifest, folder / "manifest.json")


def _changed(folder: Path, manifest: dict[str, Any]) -> str:
    """What is configured otherwise in the folder, if it holds a study."""
    known = _manifest(folder)
    return differing(known, manifest) if known else ""


def _other_code(folder: Path, manifest: dict[str, Any]) -> bool:
    """Whether the folder holds a study that another version of the code has made."""
    known = _manifest(folder) or manifest
    return any(known.get(name) != manifest.get(name) for name in ("git", "versions"))


def _manifest(folder: Path) -> dict[str, Any] | None:
    """That of the study that the folder holds, if it holds one."""
    path = folder / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else None


def differing(known: dict[str, Any], ours: dict[str, Any]) -> str:
    """Names of the settings in which the studies of two manifests differ."""
    before, now = _settings(known), _settings(ours)
    return ", ".join(sorted(k for k in {*before, *now} if before.get(k) != now.get(k)))


def _settings(manifest: dict[str, Any]) -> dict[str, Any]:
    """What decides the results: flags by name, and everything else that was configured."""
    config = json.loads(spt.results.canonical_json(manifest["config"]))
    flags = {k: v for k, v in config.pop("config").items() if k not in FREE}
    return flags | config


def _save(records: Records, path: Path) -> None:
    def write(new: Path) -> None:
        with new.open("wb") as file:
            np.savez(file, **records)  # pyright: ignore[reportArgumentType]

    write_whole(path, write)


def _load(path: Path) -> Records:
    with np.load(path) as file:
        return dict(file)
