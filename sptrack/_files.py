"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a neighbour of `path`, then rename that: all or nothing, if killed too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before it gets its name
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def explained(error: OSError, what: str) -> OSError:
    """The same kind of error, saying what it means for the work at hand."""
    return type(error)(error.errno, f"{what}: {error.strerror or error}")
