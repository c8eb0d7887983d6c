"""What convgrid uses of Optuna that Optuna does not promise to keep; with another version, look here first."""

from typing import Any

from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial


def asked_again(study: Study, frozen: FrozenTrial) -> Trial:
    """Take up a trial that an earlier process asked for and never told: Optuna's `ask` makes a new one only."""
    return Trial(study, frozen._trial_id)


def may_be(value: Any, distribution: BaseDistribution) -> bool:
    """Whether a value is one of those to draw from; Optuna asks where a sampler draws several keys at once."""
    return distribution._contains(distribution.to_internal_repr(value))
