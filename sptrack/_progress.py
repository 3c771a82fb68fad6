"""A progress bar over finished work, where one is wanted and can be seen."""

import contextlib
from typing import Any


def bar(
    total: int, progress: bool | str, *, finished: int = 0, unit: str = "step"
) -> contextlib.AbstractContextManager[Any]:
    """A context with `update(n)`, called when `n` more units of work are finished.

    Args:
      total: units of work.
      progress: True or a title shows rate and remaining time if standard error is a terminal.
      finished: units done before, by an earlier process; they don't count for the rate.
      unit: what is counted.

    Raises:
      ImportError: if a bar is wanted and tqdm is not installed.
    """
    if not progress:
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError(
            "progress=True needs tqdm: pip install 'sptrack[progress]', or pass progress=False."
        ) from None
    title = progress if isinstance(progress, str) else None
    return tqdm(total=total, initial=finished, desc=title, unit=unit, disable=None)


class _NoBar(contextlib.nullcontext):
    def __enter__(self):
        return self

    def update(self, number: int) -> None:
        """Shows nothing."""
