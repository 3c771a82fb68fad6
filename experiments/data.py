"""Image sets for the experiments: digits (embedded), MNIST, Fashion-MNIST and CIFAR-100 (files).

`load(name)` gives a `Dataset` of flat images in [0, 1] and integer labels. `digits` comes with
scikit-learn and needs no file. For MNIST and Fashion-MNIST four IDX files (raw or gzipped), for
CIFAR-100 the published archive or the two files from it (`experiments.cifar`) are looked for in

1. `<data_dir>/<name>/`, or `$SPTRACK_DATA_DIR/<name>/` when `data_dir` is not given,
2. the folder of the Debian package `dataset-fashion-mnist` (Fashion-MNIST only),
3. the cache of earlier downloads, filled by a download whose hash is checked: SHA-256, of CIFAR-100
   the MD5 that its publisher states, which is checked of any archive.

The first folder that holds one of the files must hold all of them; nothing is mixed.

MNIST: LeCun, Cortes and Burges, CC BY-SA 3.0. Fashion-MNIST: Xiao, Rasul and Vollgraf,
arXiv:1708.07747, MIT. CIFAR-100: Krizhevsky, Learning multiple layers of features from tiny images,
2009, no licence stated.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments import cifar
from experiments.idx import REMEDY, read_idx

__all__ = ["NAMES", "Dataset", "load", "load_or_exit", "part", "read_idx", "shrunk"]

NAMES = ("digits", "mnist", "fashion_mnist", "cifar100")

# Which files of a set make up which field of a Dataset.
_FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
_MIRRORS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion_mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "cifar100": "https://www.cs.toronto.edu/~kriz/",
}
# SHA-256 of the published .gz files. A file compressed again differs, and is fine in a data folder.
_HASHES = {
    "mnist": {
        "train-images-idx3-ubyte.gz": (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
        ),
        "train-labels-idx1-ubyte.gz": (
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"
        ),
    },
    "fashion_mnist": {
        "train-images-idx3-ubyte.gz": (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
        ),
        "train-labels-idx1-ubyte.gz": (
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
        ),
        "t10k-images-idx3-ubyte.gz": (
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
        ),
        "t10k-labels-idx1-ubyte.gz": (
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
        ),
    },
    "cifar100": {cifar.ARCHIVE: f"md5:{cifar.MD5}"},
}
_SYSTEM_FOLDERS = {"fashion_mnist": (Path("/usr/share/datasets/fashion-mnist"),)}

_DIGITS_SEED = 0
_DIGITS_TEST_FRACTION = 0.2


class Dataset(NamedTuple):
    """Images and labels of one set, split into training and test.

    Attributes:
        train_images: float32 in [0, 1], shape (N, D), one flattened image per row; colours of a
            pixel lie together.
        train_labels: int32 from 0 to 9, of CIFAR-100 the fine ones from 0 to 99, shape (N,).
        test_images: float32 in [0, 1], shape (M, D).
        test_labels: int32 like those, shape (M,).
        name: one of `NAMES`.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    name: str


def load(name: str, data_dir: str | os.PathLike | None = None) -> Dataset:
    """Load an image set by name; the order of the rows is always the same.

    Args:
        name: "digits" (1438 + 359 images of 8 x 8), "mnist" or "fashion_mnist" (60000 + 10000
            images of 28 x 28), "cifar100" (50000 + 10000 of 32 x 32 x 3).
        data_dir: folder that holds `<name>/` with the files of the set; they must be there. If
            None, `$SPTRACK_DATA_DIR` is looked at when set, then the other places listed above.
            "digits" needs no files and ignores it.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: `name` is unknown, or a file is damaged or does not fit the others.
        FileNotFoundError: no place holds the files and they can't be downloaded.
        ImportError: scikit-learn (for digits) or pooch (for a download) is not installed.

    Example:
        >>> data = load("digits")
        >>> data.train_images.shape, data.test_images.shape
        ((1438, 64), (359, 64))
    """
    if name not in NAMES:
        raise ValueError(f"unknown dataset {name!r}: choose one of {', '.join(NAMES)}")
    if name == "digits":
        return _load_digits()
    places = _places(name, data_dir)
    folder = next((place for place in places if _has_any(name, place)), None)
    if folder is None and data_dir is not None:
        raise FileNotFoundError(_not_found(name, places, "nothing was downloaded"))
    if folder is None:
        folder = _download(name, places)
    return _load_cifar100(folder) if name == "cifar100" else _assemble(name, _files_in(folder))


def load_or_exit(name: str) -> Dataset:
    """`load` for a command: what can't be loaded ends it with the reason, and no traceback.

    Raises:
        SystemExit: for every error of `load`.

    Example:
        >>> len(load_or_exit("digits").test_labels)
        359
    """
    try:
        return load(name)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(str(error)) from error


def _places(name: str, data_dir: str | os.PathLike | None) -> list[Path]:
    """The folders where the files of a set may lie, first choice first."""
    root = os.environ.get("SPTRACK_DATA_DIR") if data_dir is None else data_dir
    # An empty variable counts as unset.
    places = [Path(root) / n for n in (name, name.replace("_", "-"))] if root else []
    if data_dir is None:
        places += _SYSTEM_FOLDERS.get(name, ())
    return list(dict.fromkeys(places))


def _has_any(name: str, folder: Path) -> bool:
    if name == "cifar100":
        return cifar.has_any(folder)
    return any((folder / (file + end)).is_file() for file in _FILES.values() for end in ("", ".gz"))


def _files_in(folder: Path) -> dict[str, Path]:
    """The path of each field; a raw file goes before a gzipped one of the same name."""
    paths = {}
    for field, file in _FILES.items():
        found = [p for p in (folder / file, folder / f"{file}.gz") if p.is_file()]
        if not found:
            raise FileNotFoundError(
                f"{folder} holds some of the IDX files but neither {file} nor {file}.gz: "
                f"add it, or remove the others so that another source is used"
            )
        paths[field] = found[0]
    return paths


def _not_found(name: str, places: list[Path], reason: str) -> str:
    looked = ", ".join(map(str, places)) or "no folder (SPTRACK_DATA_DIR is not set)"
    files = ", ".join(f"{file}[.gz]" for file in _FILES.values())
    if name == "cifar100":
        files = f"{cifar.ARCHIVE} (or {' and '.join(cifar.FILES)} from it)"
    debian = (
        ", or install Debian's package dataset-fashion-mnist" if name in _SYSTEM_FOLDERS else ""
    )
    return (
        f"{name} was not found and {reason}. Looked in: {looked}. Put {files} into a folder "
        f"DIR/{name} and set SPTRACK_DATA_DIR=DIR{debian}, or use the dataset digits, which needs "
        f"no files. The files are published at {_MIRRORS[name]}"
    )


def _download(name: str, places: list[Path]) -> Path:
    """Fetch the files that the cache lacks and check the hash of all of them; gives the folder."""
    try:
        import pooch
    except ImportError as error:
        reason = "downloading needs pooch: pip install 'sptrack[experiments]'"
        raise ImportError(_not_found(name, places, reason)) from error
    fetcher = pooch.create(
        path=pooch.os_cache("sptrack") / name, base_url=_MIRRORS[name], registry=_HASHES[name]
    )
    try:
        for file in _HASHES[name]:
            fetcher.fetch(file)
    except OSError as error:
        message = _not_found(name, places, f"could not be downloaded to {fetcher.abspath}")
        raise FileNotFoundError(f"{message}. The download said: {error}") from error
    except ValueError as error:
        raise ValueError(
            f"the download of {name} is not the published data ({error}). Try again; if it stays "
            f"so, something on the way changes it: fetch the files elsewhere. "
            + _not_found(name, places, "the download was refused")
        ) from error
    return Path(fetcher.abspath)


def _assemble(name: str, paths: dict[str, Path]) -> Dataset:
    """Read the four files, check that they belong together, and scale."""
    arrays = {field: read_idx(path) for field, path in paths.items()}
    for split in ("train", "test"):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        where = f"{paths[f'{split}_images']} and {paths[f'{split}_labels']}"
        if images.dtype != np.uint8 or images.ndim != 3 or images.size == 0:
            raise ValueError(
                f"{paths[f'{split}_images']} holds no images: expected uint8 of shape "
                f"(N, height, width), found {images.dtype} of shape {images.shape}. {REMEDY}"
            )
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where} do not belong together: expected {len(images)} uint8 labels for "
                f"{len(images)} images, found {labels.dtype} of shape {labels.shape}. {REMEDY}"
            )
        if labels.max() > 9:
            raise ValueError(
                f"{paths[f'{split}_labels']} holds the label {labels.max()}: expected 0 to 9. "
                f"{REMEDY}"
            )
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise ValueError(
            f"{paths['train_images']} and {paths['test_images']} do not belong together: their "
            f"images are {arrays['train_images'].shape[1:]} and {arrays['test_images'].shape[1:]} "
            f"pixels. {REMEDY}"
        )
    scaled = {field: _scaled(a) if a.ndim == 3 else _labels(a) for field, a in arrays.items()}
    return Dataset(**scaled, name=name)


def _scaled(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)


def _labels(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.int32)


def _load_cifar100(folder: Path) -> Dataset:
    (train_images, train_labels), (test_images, test_labels) = cifar.read_folder(folder)
    return Dataset(
        _scaled(train_images),
        _labels(train_labels),
        _scaled(test_images),
        _labels(test_labels),
        "cifar100",
    )


def shrunk(dataset: Dataset, side: int, channels: int) -> Dataset:
    """The same set with square images of `side` pixels: means of blocks of pixels.

    Args:
        dataset: square images.
        side: wanted height and width; it has to divide that of the images.
        channels: colours per pixel.

    Raises:
        ValueError: if `side` doesn't divide that of the images.
    """
    old = math.isqrt(dataset.train_images.shape[1] // channels)
    if side < 1 or old % side:
        raise ValueError(f"images of {old} x {old} can't be averaged to a side of {side}: give a "
                         f"divisor of {old}")  # fmt: skip

    def means(images):
        blocks = images.reshape(-1, side, old // side, side, old // side, channels)
        return blocks.mean((2, 4)).reshape(len(images), -1)

    return dataset._replace(
        train_images=means(dataset.train_images), test_images=means(dataset.test_images)
    )


def part(dataset: Dataset, fraction: float) -> Dataset:
    """The first images of both splits, at least one of each.

    Args:
        dataset: the set.
        fraction: share of the images to keep, in (0, 1].

    Raises:
        ValueError: if `fraction` is out of range.

    Example:
        >>> len(part(load("digits"), 0.1).train_labels)
        143
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be in (0, 1], got {fraction:g}")
    counts = [max(int(fraction * len(x)), 1) for x in (dataset.train_labels, dataset.test_labels)]
    train, test = map(slice, counts)
    return Dataset(
        dataset.train_images[train],
        dataset.train_labels[train],
        dataset.test_images[test],
        dataset.test_labels[test],
        dataset.name,
    )


def _load_digits() -> Dataset:
    """The 8 x 8 digits of scikit-learn, 80 % for training, each class split alike."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits data come with scikit-learn: pip install 'sptrack[experiments]'"
        ) from error
    images, labels = load_digits(return_X_y=True)
    images = images.astype(np.float32) / np.float32(16)
    train, test = _stratified_split(labels, _DIGITS_TEST_FRACTION, _DIGITS_SEED)
    labels = _labels(labels)
    return Dataset(images[train], labels[train], images[test], labels[test], "digits")


def _stratified_split(labels: np.ndarray, fraction: float, seed: int) -> tuple:
    """Ascending row numbers (train, test); `fraction` of each class, rounded, is for the test."""
    # RandomState, because NumPy promises that its numbers never change.
    random = np.random.RandomState(seed)
    test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        test[rows[: round(fraction * len(rows))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)
