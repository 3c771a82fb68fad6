"""`python -m experiments` lists the commands, what they show and how long they take."""

import sys

from experiments import rerun, tables

COMMANDS = {  # what it shows; how long it takes
    "quickstart": "six algorithms on cells with unknown symmetric points; minutes on digits",
    "algorithms": "all algorithms on cells with known and unknown symmetric points; ten minutes",
    "zero_shift_accuracy": "Fig. 1a: error of zero-shifting against pulses; half a minute",
    "zero_shift_cost": "Fig. 1b: pulses to 1 % against the size of a pulse; half a minute",
    "zero_shift_training": "Fig. 2: TT-v1 on symmetric points from N pulses; five minutes",
    "pulse_budget": "Fig. 4 left: pulses to a training loss; four minutes on digits",
    "chopper": "Figs. 3 and 5: accuracy against p, spectra of P and Q; five minutes on digits",
    "robustness": "Tables 1 and 2: accuracy against offsets; hours on a CPU, or fewer --epochs",
    "resnet": "Fig. 4 middle and right: ResNet-18 against offsets; a quarter of an hour on digits",
    "search": "hyper-parameters for robustness, on a validation set; an hour",
    "theory": "zero-shifting, convergence and filter beside their closed forms; two minutes",
    "sp_drift": "error of tracked symmetric points that move, against speed; two minutes",
    "fast_calibration": "symmetric points from fewer pulses than zero-shifting; ten minutes",
    "fit_device": "a CSV of pulse traces: cells, spread, noise, wrong families; a minute",
    "fit_coverage": "how often fits of known devices hold the truth; half an hour",
    "estimators": "bias and spread of gradients through pulse trains; a minute",
    "sensitivity": "derivatives of the loss after training, pathwise and otherwise; five minutes",
    "gradient_tuning": "E-RIDER tuned by gradient, beside random search; ten minutes",
    "costs": "time, digital storage and operations of one update by algorithm; a second",
    "peer_conformance": "populations under pulses beside aihwkit, if you have it; 20 minutes",
    "benchmark": "pulses per second, time per training step, compilation; five minutes",
}


def main(arguments: list[str]) -> None:
    """Lists the experiments, or does one again."""
    match arguments:
        case [] | ["-h" | "--help"]:
            rows = [
                {"command": f"python -m experiments.{name}"}
                | dict(zip(("shows", "takes"), what.rsplit("; ", 1), strict=True))
                for name, what in COMMANDS.items()
            ]
            print(tables.text(rows))
            print(
                "\n--help of each says more, --smoke is a quick trial. Once more from a manifest:"
            )
            print("python -m experiments rerun MANIFEST [--out DIR]")
        case ["rerun", *others]:
            rerun.main(others)
        case [name, *_] if name in COMMANDS:
            raise SystemExit(f"Write a dot: python -m experiments.{name}")
        case _:
            raise SystemExit(
                f"python -m experiments knows no {arguments[0]!r}: give nothing to see the list, "
                "or rerun MANIFEST."
            )


if __name__ == "__main__":
    main(sys.argv[1:])
