import signal
from typing import Any

import pytest

from kill_and_resume import kill_and_resume

PATTERN = "INPUT -> CONV -> [SUM[CONV -> NORM -> DROPOUT | SKIP] -> ACT -> POOL]*M -> CONCAT[CONV(4) | SKIP] -> FC"
OVERRIDES = [
    f"arch.pattern='{PATTERN}'",
    "arch.filters=4",
    "data.limit=100",
    "augment=keras_blog",
    "optimizer=nadam",
    "optimizer.weight_decay=0.01",
    "layer/dropout=plain",
    "layer/norm=batch",
    "schedule=reduce_on_plateau",
    "schedule.patience=1",
    "schedule.min_delta=0.1",
    "regularization.l2=1e-4",
    "imbalance.class_weights=[1,1,1,1,1,1,1,1,1,3]",
    "imbalance.sampling=balanced",
    "trainer.test_views=2",
    "trainer.gradient_clip_norm=1.0",
]
WITHOUT_CHECKPOINT = {"before the first step"}
KILLED = [
    "before the first step",
    "in the second epoch",
    "between a validation and its checkpoint",
    "between the best and the last checkpoint",
    "after a checkpoint",
    "after the last checkpoint",
    "in the test",
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return kill_and_resume(tmp_path_factory.mktemp("killed"), OVERRIDES)


def test_every_moment_was_tried(results: dict[str, Any]) -> None:
    assert list(results) == ["never", *KILLED]
    assert results["never"]["signal"] == 0


@pytest.mark.parametrize("moment", KILLED)
def test_a_killed_and_resumed_run_is_bit_identical(results: dict[str, Any], moment: str) -> None:
    resumed, undisturbed = results[moment], results["never"]
    assert resumed["signal"] == signal.SIGKILL
    assert resumed["had checkpoint"] == (moment not in WITHOUT_CHECKPOINT)
    assert len(undisturbed["history"]) == 4
    for part in ("history", "best epoch", "weights", "test"):
        assert resumed[part] == undisturbed[part]
