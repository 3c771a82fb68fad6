"""`python -m experiments` lists the commands, what they show and how long they take."""

COMMANDS = {
    "quickstart": "six algorithms on cells with unknown symmetric points; minutes on digits",
    "algorithms": "all algorithms on cells with known and unknown symmetric points; ten minutes",
    "zero_shift_accuracy": "Fig. 1a: error of zero-shifting against pulses; half a minute",
    "zero_shift_cost": "Fig. 1b: pulses to 1 % against the size of a pulse; half a minute",
    "theory": "zero-shifting, convergence and filter beside their closed forms; two minutes",
    "costs": "time, digital storage and operations of one update by algorithm; a second",
    "peer_conformance": "populations under pulses beside aihwkit, if you have it; 20 minutes",
    "benchmark": "time of one training step, E-RIDER beside digital SGD; a minute",
}

if __name__ == "__main__":
    for name, what in COMMANDS.items():
        print(f"python -m experiments.{name:20} {what}")
