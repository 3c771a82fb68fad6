"""IDX files, the format of MNIST.

Two zero bytes, a byte for the type, a byte for the number of dimensions, each dimension as a
big-endian unsigned 32-bit integer, then the values in C order, big-endian.
"""

import gzip
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np

REMEDY = "Replace the file by a fresh copy, or delete it so that another source is used."
_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read one IDX file, raw or gzipped, and check that it is whole.

    Args:
        path: the file; gzip is recognised by its content, not by its name.

    Returns:
        The array with the shape that the file states, in native byte order.

    Raises:
        ValueError: wrong magic number, unknown type, or a length that does not fit the dimensions.
        FileNotFoundError: there is no such file.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "labels"
        ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path)
        array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    data = _unzipped(path)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _TYPES or data[3] == 0:
        raise ValueError(
            f"{path} is no IDX file: expected the bytes 00 00, a type (08 to 0e) and a number of "
            f"dimensions, found {data[:4].hex(' ') or 'nothing'}. {REMEDY}"
        )
    dtype, ndim = np.dtype(_TYPES[data[2]]), data[3]
    start = 4 + 4 * ndim
    if len(data) < start:
        raise ValueError(
            f"{path} is cut off: its header takes {start} bytes, found {len(data)}. {REMEDY}"
        )
    shape = struct.unpack(f">{ndim}I", data[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise ValueError(
            f"{path} has the wrong length: its dimensions {shape} take {expected} bytes, "
            f"found {len(data)}. {REMEDY}"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def _unzipped(path: Path) -> bytes:
    """The content of a file, decompressed if it is gzip."""
    data = path.read_bytes()
    if data[:2] != b"\x1f\x8b":
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} is damaged: expected a whole gzip file, decompression says {error}. {REMEDY}"
        ) from error
