"""Trials to compare, from wherever they are."""

from collections.abc import Mapping, Sequence

from convgrid.compare.folders import from_folders
from convgrid.compare.trials import Trials
from convgrid.errors import ConfigError


def load(
    sweep: str | None = None,
    *,
    experiment: str | None = None,
    filter: str | None = None,
    tracking_uri: str | None = None,
    mapping: Mapping[str, str] | None = None,
    keys: Sequence[str] | None = None,
) -> Trials:
    """Read trials: a sweep's from its folders, or an experiment's from MLflow where anything of MLflow is named.

    Args:
        sweep: "last", its id or the start of it, its folder, or MLflow's id; None takes the last one.
        experiment: Of MLflow; None is MLFLOW_EXPERIMENT_NAME or "convgrid" where a filter, a store or a mapping is
            given.
        filter: MLflow's, such as "params.optimizer = 'adam'".
        tracking_uri: A store such as "sqlite:///mlflow.db", or a tracking server's address; None is MLFLOW_TRACKING_URI
            or that database.
        mapping: What others call what convgrid calls by the key: {"val/accuracy": "valid_acc", "seed": "random_seed"}.
        keys: What tells settings apart; None takes what was swept, or what differs.

    Returns:
        The trials; `frame` is a pandas DataFrame of one row a trial.

    Raises:
        ConfigError: If there are none, or a name is wrong.
        SweepError: If the sweep that was asked for cannot be parsed.
        TrackingError: If the store cannot be used.
    """
    asked = {"experiment": experiment, "filter": filter, "tracking_uri": tracking_uri, "mapping": mapping}
    of_mlflow = {key: value for key, value in asked.items() if value}
    if not of_mlflow:
        return from_folders(sweep, keys=keys)
    if sweep is not None:
        named = ", ".join(f"--{key.replace('_', '-').replace('mapping', 'map')}" for key in of_mlflow)
        raise ConfigError(f"--sweep reads a sweep's folders, {named} what is in MLflow. Leave one of them out.")
    from convgrid.compare.mlflow_runs import from_mlflow  # MLflow takes 2 s to import

    return from_mlflow(**of_mlflow, keys=keys)
