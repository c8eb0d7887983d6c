import pytest

from convgrid.errors import ConfigError
from convgrid.objective.fit import Task, fit
from convgrid.objective.glossary import metrics_of, objective_of


@pytest.mark.parametrize(
    ("task", "loss", "count", "names"),
    [
        ("classification", "categorical_crossentropy", 10, "accuracy top5 f1 calibration_error auroc loss"),
        ("classification", "categorical_crossentropy", 6, "accuracy top5 f1 calibration_error auroc loss"),
        ("classification", "mean_squared_error", 5, "accuracy f1 calibration_error auroc loss"),
        ("classification", "hinge", 10, "accuracy top5 f1 auroc loss"),
        ("classification", "cosine_proximity", 2, "accuracy f1 auroc loss"),
        ("classification", "binary_crossentropy", 2, "accuracy f1 calibration_error auroc loss"),
        ("multilabel", "binary_crossentropy", 10, "accuracy exact_match f1 auroc loss"),
        ("multilabel", "hinge", 1, "accuracy exact_match f1 auroc loss"),
        ("regression", "poisson", 2, "mae rmse r2 loss"),
    ],
)
def test_a_training_has_the_metrics_that_task_loss_and_classes_allow(
    task: Task, loss: str, count: int, names: str
) -> None:
    assert list(metrics_of(task, fit(loss, task), count)) == names.split()


@pytest.mark.parametrize(
    ("task", "metric", "mode", "expected"),
    [
        ("classification", "auto", "auto", ("val/accuracy", "max")),
        ("classification", "val/loss", "auto", ("val/loss", "min")),
        ("classification", "val/accuracy", "min", ("val/accuracy", "min")),
        ("classification", "val/top5", "auto", ("val/top5", "max")),
        ("classification", "val/f1", "auto", ("val/f1", "max")),
        ("classification", "val/calibration_error", "auto", ("val/calibration_error", "min")),
        ("classification", "val/auroc", "auto", ("val/auroc", "max")),
        ("multilabel", "auto", "auto", ("val/accuracy", "max")),
        ("multilabel", "val/exact_match", "auto", ("val/exact_match", "max")),
        ("regression", "auto", "auto", ("val/mae", "min")),
        ("regression", "val/mae", "max", ("val/mae", "max")),
        ("regression", "val/rmse", "auto", ("val/rmse", "min")),
        ("regression", "val/r2", "auto", ("val/r2", "max")),
    ],
)
def test_what_is_best_follows_from_the_task(task: Task, metric: str, mode: str, expected: tuple[str, str]) -> None:
    assert objective_of(task, metric, mode) == expected


@pytest.mark.parametrize(
    ("task", "loss", "count", "metric", "said"),
    [
        (
            "regression", "poisson", 1, "val/accuracy",
            "is not a metric of this regression. Use one of val/mae, val/rmse, val/r2, val/loss.",
        ),
        (
            "multilabel", "hinge", 3, "val/top5",
            "is not a metric of this multi-label classification. "
            "Use one of val/accuracy, val/exact_match, val/f1, val/auroc, val/loss.",
        ),
        (
            "classification", "categorical_crossentropy", 5, "val/top5",
            "is not a metric of this classification: it is of 6 classes or more. "
            "Use one of val/accuracy, val/f1, val/calibration_error, val/auroc, val/loss.",
        ),
        (
            "classification", "hinge", 10, "val/calibration_error",
            "is not a metric of this classification: it is of probabilities only. "
            "Use one of val/accuracy, val/top5, val/f1, val/auroc, val/loss.",
        ),
        (
            "classification", "hinge", 2, "test/accuracy",
            "is not a metric of this classification. Use one of val/accuracy, val/f1, val/auroc, val/loss.",
        ),
    ],
)  # fmt: skip
def test_a_metric_that_a_task_has_not_is_refused_with_those_that_it_has(
    task: Task, loss: str, count: int, metric: str, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        objective_of(task, metric, "auto", fit(loss, task), count)
    assert str(caught.value) == f"objective.metric={metric} {said}"
