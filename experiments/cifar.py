"""CIFAR-100 from its binary files (Krizhevsky 2009), where `experiments.data` has found them.

`train.bin` and `test.bin` are records without a header, 3074 bytes each: a coarse label (0 to 19),
a fine label (0 to 99), then 32 x 32 bytes of red, of green and of blue, row by row. Both lie in
`cifar-100-binary.tar.gz`, whose MD5 its publisher states; no SHA-256 is published.
"""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np

from experiments.idx import REMEDY

ARCHIVE = "cifar-100-binary.tar.gz"
MD5 = "03b5dce01913d631647c71ecec9e9cb8"
FILES = {"train.bin": 50_000, "test.bin": 10_000}  # records
SIDE, COARSE, FINE = 32, 20, 100
RECORD = 2 + 3 * SIDE**2


def has_any(folder: Path) -> bool:
    """Whether a folder holds the archive or one of the files from it."""
    return any((folder / name).is_file() for name in (ARCHIVE, *FILES))


def read_folder(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and fine labels of both files of a folder, which go before those in the archive.

    Raises:
      ValueError: if a file is damaged.
      FileNotFoundError: if one of the two files is missing and there is no archive.
    """
    there = [name for name in FILES if (folder / name).is_file()]
    if len(there) == len(FILES):
        return [_of_set((folder / name).read_bytes(), folder / name) for name in FILES]
    if (folder / ARCHIVE).is_file():
        return read_archive(folder / ARCHIVE)
    missing = ", ".join(name for name in FILES if name not in there)
    raise FileNotFoundError(
        f"{folder} holds {', '.join(there)} but neither {missing} nor {ARCHIVE}: add one of them, "
        "or remove what is there so that another source is used"
    )


def read_archive(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images and fine labels of both files in the published archive.

    Raises:
      ValueError: if it isn't the published archive, by its MD5.
    """
    content = path.read_bytes()
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MD5:
        raise ValueError(
            f"{path} is not the published archive: its MD5 is {found}, expected {MD5} "
            f"({len(content)} bytes). {REMEDY} Of an archive packed again, put "
            f"{' and '.join(FILES)} beside it."
        )
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        held = {Path(member.name).name: member for member in archive if member.isfile()}
        files = [archive.extractfile(held[name]) for name in FILES]
        contents = [file.read() for file in files if file is not None]
    return [_of_set(data, path / name) for name, data in zip(FILES, contents, strict=True)]


def read_records(content: bytes, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 of shape (N, 32, 32, 3), and fine labels, uint8 of shape (N,), of some records.

    Args:
      content: whole records.
      where: what to call them in messages.

    Raises:
      ValueError: if the last record is cut off, there is none, or a label is out of range.

    Example:
      >>> from pathlib import Path
      >>> record = bytes([3, 42]) + bytes(1024) + bytes([255]) * 1024 + bytes(1024)
      >>> images, labels = read_records(record, Path("green.bin"))
      >>> images.shape, images[0, 0, 0].tolist(), labels.tolist()
      ((1, 32, 32, 3), [0, 255, 0], [42])
    """
    if not content or len(content) % RECORD:
        raise ValueError(
            f"{where} is cut off or of another format: expected records of {RECORD} bytes, found "
            f"{len(content)} bytes, {len(content) / RECORD:.2f} records. {REMEDY}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    for column, name, count in ((0, "coarse", COARSE), (1, "fine", FINE)):
        wrong = np.flatnonzero(records[:, column] >= count)
        if wrong.size:
            raise ValueError(
                f"{where} holds the {name} label {records[wrong[0], column]} in record {wrong[0]}: "
                f"expected 0 to {count - 1}. {REMEDY}"
            )
    images = records[:, 2:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return images, records[:, 1]


def _of_set(content: bytes, where: Path) -> tuple[np.ndarray, np.ndarray]:
    """The records of one of the two files, all of them."""
    images, labels = read_records(content, where)
    if len(labels) != FILES[where.name]:
        raise ValueError(
            f"{where} has the wrong length: expected {FILES[where.name]} records, found "
            f"{len(labels)}. {REMEDY}"
        )
    return images, labels
