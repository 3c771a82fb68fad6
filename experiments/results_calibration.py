"""The part of the page of results about calibration with fewer pulses."""

from experiments.parameters import table
from experiments.results_files import configured, read_rows

GOAL = 10  # times fewer pulses


def text(folder: str) -> str:
    """The section: factors at equal error, and where the goal is reached."""
    rows, flags = read_rows(folder, "fast_calibration"), configured(folder)
    counts = list(dict.fromkeys(row["pulses"] for row in rows))
    lines: dict[tuple, list[str]] = {}
    for row in rows:
        line = lines.setdefault((row["cells"], row["read_noise"], row["estimator"]), [])
        line.append(f"{row['factor to better']} ({float(row['rms_error']):.2g})")
    head = ("cells", "read noise", "estimator", *(f"N = {n}" for n in counts))
    facts = "\n".join(f"* {reached(rows, cells, noise)}" for cells, noise in parts(rows))
    return (
        f"{table(head, [(*key, *line) for key, line in lines.items()])}\n\n"
        "Pulses of zero-shifting over ours at equal RMS error, to the better of its two read-outs "
        f"(its last read, the mean of its second half), and in brackets our error; {flags['seeds']}"
        f' arrays of {flags["size"]} cells that start at -0.5. ">" where zero-shifting never '
        f"gets there in {flags['longest']} pulses; it is looked at every 12 %.\n\n{facts}"
    )


def parts(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Cells and read noise of every panel."""
    return list(dict.fromkeys((row["cells"], row["read_noise"]) for row in rows))


def reached(rows: list[dict[str, str]], cells: str, noise: str) -> str:
    """At how many N each estimator needs a tenth of zero-shifting's pulses; the least factor."""
    said = []
    here = [row for row in rows if (row["cells"], row["read_noise"]) == (cells, noise)]
    for estimator in dict.fromkeys(row["estimator"] for row in here):
        factors = [
            float(row["factor to better"].removeprefix("> "))
            for row in here
            if row["estimator"] == estimator
        ]
        good = sum(factor >= GOAL for factor in factors)
        said.append(f"{estimator} {good} of {len(factors)} (least {min(factors):.3g})")
    return f"`{cells}`, read noise {noise}: a factor of {GOAL} or more in {'; '.join(said)}."
