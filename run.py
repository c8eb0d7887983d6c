"""Train the ConvNet that the command line describes: python run.py optimizer=sgd arch.m=3.

The flow, in the order in which it is read:

    src/convgrid/cli/run.py          what was typed -> checked, then planned, trained or swept
    src/convgrid/config/             overrides -> checked, typed settings
    src/convgrid/network/plan.py     pattern, shapes -> layers with their costs
    src/convgrid/training/trial.py   settings -> data -> plan -> network -> metrics
    src/convgrid/network/build.py    plan -> network
    src/convgrid/sweep/              many trials of one command line, side by side
    src/convgrid/tracking/           metrics -> MLflow
    src/convgrid/compare/            trials -> which setting is best

conf/ holds every option and default.
"""

import sys

from convgrid.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["run"]))
