"""A run's state on disk, from which it continues: one file, written whole, refused to other runs.

The file is NumPy's `.npz`: the leaves of the state and of the records so far, the number of outer
steps done, and an identity, the hashes of all that decides about the run's numbers.
"""

import json
import operator
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sptrack._digest import plain
from sptrack._files import explained, write_whole
from sptrack._random import is_key
from sptrack._typing import PyTree

_NO_CHECKPOINT = (  # what reading something else raises
    IsADirectoryError,
    zipfile.BadZipFile,
    EOFError,
    KeyError,
    TypeError,
    ValueError,
)


class Checkpoint:
    """Where a run keeps its state.

    Args:
      path: the file.
      identity: what has to be the same for a run to continue here, as strings by name.
    """

    def __init__(self, path: Path, identity: Mapping[str, str]):
        self.path, self.identity = path, dict(identity)

    def read(self, start: PyTree, record: PyTree) -> tuple[int, PyTree, list[PyTree]]:
        """Outer steps done, state, and records; those of the beginning if there is no file.

        Args:
          start: the state at the beginning, which says how the leaves are arranged and placed.
          record: a record, or anything of its structure.

        Raises:
          FileExistsError: if the file is something else, or another run's.
        """
        try:
            with self.path.open("rb") as opened, np.load(opened) as file:
                self._check(json.loads(str(file["identity"])))
                if not (done := int(file["done"])):
                    return 0, start, []
                state = jax.tree.map(_placed, start, _tree(file, "state", start))
                together = jax.tree.map(_typed, record, _tree(file, "record", record))
        except (FileNotFoundError, NotADirectoryError):
            return 0, start, []
        except _NO_CHECKPOINT:
            raise FileExistsError(
                f"run: {self.path} is no checkpoint; choose another path, or delete it."
            ) from None
        return done, state, [jax.tree.map(operator.itemgetter(n), together) for n in range(done)]

    def write(self, done: int, state: PyTree, records: list[PyTree]) -> None:
        """Replaces what is there; after a failure the old file is still whole.

        Raises:
          OSError: if it can't be written.
        """
        leaves = {f"state{n}": plain(leaf) for n, leaf in enumerate(jax.tree.leaves(state))}
        together = jax.tree.map(lambda *xs: np.stack(xs), *records) if records else None
        leaves |= {f"record{n}": leaf for n, leaf in enumerate(jax.tree.leaves(together))}

        def fill(new: Path) -> None:
            with new.open("wb") as file:
                identity = np.asarray(json.dumps(self.identity))
                np.savez(file, identity=identity, done=np.asarray(done), **leaves)  # pyright: ignore

        try:
            write_whole(self.path, fill)
        except OSError as error:
            kept = "the last one is kept, and the same call continues from it"
            what = f"run: can't write the checkpoint {self.path}; {kept}"
            raise explained(error, what if done else f"run: can't write to {self.path}") from error

    def _check(self, there: Mapping[str, str]) -> None:
        ours = self.identity
        if changed := [name for name in ours if there.get(name) != ours[name]]:
            raise FileExistsError(
                f"run: {self.path} is the checkpoint of another run, which is left as it is; "
                f"different: {', '.join(changed)}. Choose another path, or delete it."
            )


def _tree(file: Mapping[str, np.ndarray], name: str, like: PyTree) -> PyTree:
    """The stored leaves, arranged like another tree."""
    structure = jax.tree.structure(like)
    stored = [file[f"{name}{n}"] for n in range(structure.num_leaves)]
    return jax.tree.unflatten(structure, stored)


def _placed(like: jax.Array, stored: np.ndarray) -> jax.Array:
    """A stored leaf of the state as what it was, on the devices where `like` is."""
    if is_key(like):
        key = jax.random.wrap_key_data(jnp.asarray(stored), impl=jax.random.key_impl(like))
        return jax.device_put(key, like.sharding)
    return jax.device_put(_typed(like, stored), like.sharding)


def _typed(like: Any, stored: np.ndarray) -> np.ndarray:
    """NumPy's files know no bfloat16: it comes back as two bytes without a meaning."""
    return stored.view(like.dtype) if stored.dtype.kind == "V" else stored
