"""The part of the page of results about symmetric points that drift."""

from collections.abc import Callable

from experiments import sp_drift
from experiments.parameters import table
from experiments.results_files import Rows, number, read_rows, shown


def text(folder: str) -> str:
    """The section: the least error of every drift, and how far it is from theory."""
    rows = read_rows(folder, "sp_drift")
    kinds = dict.fromkeys((row["algorithm"], row["moves"], row["drift"]) for row in rows)
    lines = []
    for kind in kinds:
        same = [row for row in rows if (row["algorithm"], row["moves"], row["drift"]) == kind]
        least = min(same, key=lambda row: float(row["rms_error"]))
        lines.append(
            (
                sp_drift.TITLES.get(kind[0], kind[0]),
                kind[1],
                kind[2],
                least["eta"],
                shown(number(least["rms_error"]), ".4f", number(least["rms_error_se"])),
                shown(number(least["predicted_rms"]), ".4f"),
                shown(number(least["lag"]), ".4f", number(least["lag_se"])),
                shown(number(least["predicted_lag"]), ".4f"),
                shown(number(least["followed"]), "z.3f"),
                shown(number(least["predicted_followed"]), ".3f"),
                shown(number(least["rms_weight_error"]), ".3f"),
            )
        )
    head = ("algorithm", "moves", "v", "best η", "RMS of Q − S", "theory", "lag", "theory",
            "followed", "theory", "RMS of W̄ − W*")  # fmt: skip
    return f"{table(head, lines)}\n\n{drift_deviations(rows)}"


def drift_deviations(rows: Rows) -> str:
    """How far simulation and closed forms are apart, over all rates of the filter."""

    def worst(name: str, column: str, wanted: Callable[[dict[str, str]], bool]) -> float:
        of_name = [row for row in rows if row["algorithm"] == name and wanted(row)]
        return max(abs(float(r[column]) / float(r[f"predicted_{column}"]) - 1) for r in of_name)

    def seen(row: dict[str, str]) -> bool:
        """Whether the lag is known to 3 %."""
        return float(row["lag_se"]) < 0.03 * float(row["lag"])

    rms = max(
        abs(float(r["rms_error"]) / float(r["predicted_rms"]) - 1)
        for r in rows
        if r["algorithm"] == "tracker"
    )
    far = [
        f"v = {r['drift']}, η = {r['eta']}"
        for r in rows
        if r["algorithm"] == "rider"
        and abs(float(r["followed"]) - float(r["predicted_followed"]))
        > 4.5 * float(r["followed_se"]) + 0.01
    ]
    return (
        "The paper takes symmetric points to be constant. Mean ± standard error over arrays, at "
        f"the η of least error. Over all η, the tracker's RMS is within {100 * rms:.1f} % of its "
        "closed form, and where a lag is known to 3 % it is within "
        f"{100 * worst('tracker', 'lag', seen):.1f} % (tracker) and "
        f"{100 * worst('erider', 'lag', seen):.1f} % (E-RIDER) of it. RIDER follows another share "
        f"than theory's at {'; '.join(far) or 'none'}, where its W has been driven so far off that "
        "the mean gradient exceeds its noise."
    )
