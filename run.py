"""Train the ConvNet that the command line describes: python run.py optimizer=sgd arch.m=3.

The flow, one file a step:

    config/      what was typed -> checked, typed settings
    plan/        pattern, shapes -> layers with their costs
    data/        files -> tensors, split and measured
    build.py     plan -> network
    training.py  network, data -> metrics
    tracking.py  metrics -> MLflow

trial.py puts them together; conf/ holds every option and default.
"""

import sys

from convgrid.cli.run import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
