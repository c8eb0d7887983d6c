import json
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Dataset, DatasetInput, Metric, Param
from mlflow.tracking import MlflowClient

from convgrid.compare import answer, load
from convgrid.compare.folders import from_folders
from convgrid.compare.report import write
from convgrid.errors import ConfigError, SweepError, TrackingError
from sweep_folders import DATA, STARTED, finish, make_sweep, make_trial

RUNS, SWEEPS = Path("runs"), Path("sweeps")
PARAMS = {"arch.n": "1", "optimizer": "sgd", "optimizer.lr": "0.01", "optimizer.momentum": "0.9", "seed": "0",
          "data": "digits", "plan.parameters": "5450", "plan.multiply_adds": "23552", "fold": "None"}  # fmt: skip
pytestmark = pytest.mark.usefixtures("in_tmp")


def trial(name: str, accuracy: float | None = 0.9, **params: str) -> str:
    changed = {key.replace("_", "."): value for key, value in params.items()}
    folder = make_trial(RUNS, name, epochs=3, params={**PARAMS, **changed})
    if accuracy is not None:
        finish(folder, accuracy=accuracy)
    return name


def test_the_last_sweep_is_read_from_its_folders() -> None:
    make_sweep(SWEEPS, "0a", [trial("x")], varying={"arch.n": ["1"]})
    trials = [
        trial(f"n{n}s{seed}", 0.9 + int(n) / 100 + int(seed) / 1000, arch_n=n, seed=seed) for n in "12" for seed in "01"
    ]
    make_sweep(SWEEPS, "0b", [*trials, None], created=STARTED + 1, varying={"arch.n": ["1", "2"], "seed": ["0", "1"]},
               skipped={"arch.m=9 pools too often": ["arch.n=1 arch.m=9"]}, command="run.py -m arch.n=1,2")  # fmt: skip
    found = load()
    assert (found.sweep, found.keys, found.repetitions, found.swept) == (
        "0b", ("arch.n",), ("seed",), ("arch.n", "seed"),
    )  # fmt: skip
    assert (found.metric, found.mode, found.title, found.left) == ("val/accuracy", "max", "sweep 0b", 1)
    assert found.command == "run.py -m arch.n=1,2"
    assert found.folder == Path("sweeps/0b/report")
    assert found.skipped == {"arch.m=9 pools too often": ["arch.n=1 arch.m=9"]}
    row = found.frame.to_dict("index")["n2s1"]
    assert (row["arch.n"], row["optimizer"], row["plan.multiply_adds"]) == (2, "sgd", 23552)
    assert row["best/val/accuracy"] == pytest.approx(0.921)
    assert (row["status"], row["seconds"], row["tag.git.commit"]) == ("finished", 3.25, "abc")
    values = found.curves[(found.curves["trial"] == "n2s1") & (found.curves["metric"] == "val/accuracy")]
    assert [(row.epoch, row.value) for row in values.itertuples()] == [(1, 0.01), (2, 0.02), (3, 0.03)]
    assert load("0a").sweep == "0a"


def test_numbers_are_numbers_and_words_are_words() -> None:
    make_sweep(SWEEPS, "0a", [trial("a"), trial("b", optimizer="adam", optimizer_lr="1e-4")], varying={"optimizer": []})
    frame = load().frame
    assert frame["optimizer.lr"].tolist() == [0.01, 1e-4]
    assert frame["optimizer"].tolist() == ["sgd", "adam"]
    assert frame["fold"].isna().all()


def test_what_a_data_set_is_comes_from_the_trials_folder() -> None:
    folder = RUNS / trial("a")
    (folder / "data.json").write_text(json.dumps({**DATA, "digest": "abc", "images": {"train": 8, "validation": 2}}))
    make_sweep(SWEEPS, "0a", ["a"])
    row = load().frame.to_dict("index")["a"]
    assert (row["data.digest"], row["data.images.validation"]) == ("abc", 2)


def test_a_searchs_keys_are_those_that_differ_less_what_follows_from_an_option() -> None:
    names = [
        trial("a", optimizer_lr="0.01"),
        trial("b", optimizer_lr="0.02", optimizer="adam", optimizer_momentum="None"),
        trial("c", optimizer_lr="0.03", data_root="/elsewhere"),
    ]
    make_sweep(SWEEPS, "0a", list(names), varying={})
    found = load()
    assert found.keys == ("optimizer", "optimizer.lr")
    assert found.swept == found.keys
    make_sweep(SWEEPS, "0b", list(names), varying={}, searched=["optimizer+optimizer.lr"], created=STARTED + 1)
    assert load().keys == ("optimizer", "optimizer.lr")  # tied by sweep.zip
    assert load(keys=["optimizer"]).keys == ("optimizer",)


def test_trials_that_failed_before_they_had_a_network_are_read_from_their_config() -> None:
    folder = make_trial(RUNS, "a", status="failed", reason="OSError: gone", ended=STARTED)
    (folder / "config.yaml").write_text("choices: {optimizer: sgd}\nvalues: {arch: {n: 3}, seed: 0}\n")
    make_sweep(SWEEPS, "0a", ["a", trial("b")], varying={"arch.n": ["1", "3"]})
    found = load()
    assert found.frame["arch.n"].tolist() == [3, 1]
    assert found.frame.loc["a", "status"] == "failed"


def test_a_sweep_of_which_nothing_has_started_has_no_trials() -> None:
    make_sweep(SWEEPS, "0a", [None, None])
    found = load()
    assert (len(found.frame), found.left, answer(found).settings) == (0, 2, ())


def test_a_broken_sweep_is_passed_over_unless_it_is_the_one_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    make_sweep(SWEEPS, "0a", [trial("a")])
    broken = make_sweep(SWEEPS, "0b", ["a"]) / "sweep.json"
    why = {
        "{broken": "read: Expecting property name",
        b"\xff": "read: 'utf-8' codec can't decode",
        "": "read: it is empty.",
        "[]": "used: it holds no names with values.",
        "{}": "used: id is missing.",
    }
    for content, cause in why.items():
        broken.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert load().sweep == "0a"
        (said,) = capsys.readouterr().err.splitlines()
        assert said.startswith(f"left aside: sweeps/0b/sweep.json cannot be {cause}")
        with pytest.raises(SweepError, match=r"^sweeps/0b/sweep\.json cannot be .* writes it anew\.$"):
            load("0b")
        assert load("0a").sweep == "0a"
        assert not capsys.readouterr().err
    (SWEEPS / "0a" / "sweep.json").write_text("")
    with pytest.raises(ConfigError, match=r"^There is no sweep that can be read in .*sweeps\."):
        load()


@pytest.mark.parametrize("line", ['{"a\n', "3\n", "{}\n", "\0\0\0\n", "\udcff\n"])
def test_a_curve_ends_before_a_line_that_does_not_read(line: str) -> None:
    make_sweep(SWEEPS, "0a", [trial("a")])
    file = RUNS / "a" / "metrics.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:2], line, lines[2]]), errors="surrogateescape")
    assert set(load().curves["epoch"]) == {1, 2}


def test_a_wrong_sweep_or_key_is_told() -> None:
    with pytest.raises(ConfigError, match=r"^There is no sweep in .*sweeps\. python -m convgrid sweeps lists those"):
        load()
    make_sweep(SWEEPS, "0a", [trial("a")])
    make_sweep(SWEEPS, "0b", ["a"])
    with pytest.raises(ConfigError, match=r"^1c is not a run or sweep known in"):
        load("1c")
    with pytest.raises(ConfigError, match=r"^0 may be 0a, 0b\. Give more of the id\."):
        load("0")
    with pytest.raises(
        ConfigError, match=r"--keys arch\.q: no trial has a parameter arch\.q\. Those that differ: none"
    ):
        load("0a", keys=["arch.q"])
    with pytest.raises(ConfigError, match="--sweep reads a sweep's folders, --experiment, --map what is in MLflow"):
        load("0a", experiment="e", mapping={"seed": "s"})


def test_keys_that_leave_out_what_differs_lose_no_trial_and_say_so() -> None:
    names = [
        trial(f"{n}{lr}{seed}", 0.9 + n / 100, arch_n=str(n), optimizer_lr=f"0.0{lr}", seed=str(seed))
        for n in (1, 2) for lr in (1, 2) for seed in (0, 1)
    ]  # fmt: skip
    make_sweep(SWEEPS, "0a", list(names), varying={"arch.n": ["1", "2"], "optimizer.lr": ["0.01", "0.02"]})
    of_all, of_some = load(), load(keys=["optimizer.lr"])
    assert (of_all.mixed, of_some.mixed) == ((), ("arch.n",))
    found = answer(of_some)
    assert [(setting.n, setting.mean) for setting in found.settings] == [(4, pytest.approx(0.915))] * 2
    assert "(sd over 4 runs)" in found.sentence
    assert found.warnings[0] == (
        "Runs that count as repetitions differ in arch.n as well, and so their spread is not chance alone. "
        "To tell them apart: --keys optimizer.lr arch.n"
    )
    assert answer(load(keys=["optimizer.lr", "arch.n"])).warnings == answer(of_all).warnings
    assert (of_all.folder, of_some.folder) == (SWEEPS / "0a" / "report", SWEEPS / "0a" / "report-optimizer.lr")


def log(
    client: MlflowClient, experiment: str, values: list[float], params: dict[str, Any], name: str = "valid_acc",
    **tags: str,
) -> str:  # fmt: skip
    run = client.create_run(experiment, tags=tags).info.run_id
    points = [Metric(name, value, STARTED + step, step) for step, value in enumerate(values, start=1)]
    client.log_batch(run, metrics=points, params=[Param(key, str(value)) for key, value in params.items()])
    client.set_terminated(run)
    return run


@pytest.fixture
def others(store: str) -> str:
    """Runs of somebody else's: other names, no convgrid tag, one that crashed."""
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("theirs")
    for depth, last in (("2", 0.8), ("4", 0.9)):
        for seed in range(3):
            log(client, experiment, [0.5, last + 0.002 * seed, 0.6], {"depth": depth, "random_seed": seed})
    client.create_run(experiment)
    return store


def test_runs_that_others_logged_are_compared_by_their_own_names(others: str) -> None:
    mapping = {"val/accuracy": "valid_acc", "seed": "random_seed"}
    found = load(experiment="theirs", tracking_uri=others, mapping=mapping)
    assert (found.keys, found.repetitions, found.metric, found.mode) == (("depth",), ("seed",), "val/accuracy", "max")
    assert sorted(found.frame["best/val/accuracy"]) == pytest.approx([0.8, 0.802, 0.804, 0.9, 0.902, 0.904])
    assert found.frame["best_epoch"].tolist() == [2] * 6  # the best of the history, as convgrid's own
    assert answer(found).sentence.startswith("depth=4 is best: val/accuracy 0.9020 +- 0.0020 (sd over 3 seeds); second")
    assert found.folder == Path("comparison")


@pytest.mark.parametrize("mapping", [None, {"val/accuracy": "val/accuracy"}])
def test_runs_of_others_by_convgrids_names_need_no_mapping(store: str, mapping: dict[str, str] | None) -> None:
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("theirs")
    for depth, values in (("2", [0.5, 0.8, 0.6]), ("4", [0.5, 0.9, 0.6])):
        log(client, experiment, values, {"depth": depth}, "val/accuracy")
    client.create_run(experiment)
    found = load(experiment="theirs", tracking_uri=store, mapping=mapping)
    assert (found.keys, found.metric, found.mode) == (("depth",), "val/accuracy", "max")
    assert found.frame["best/val/accuracy"].tolist() == [0.8, 0.9]
    assert found.warnings == ("Left out: 1 run without val/accuracy, such as one that failed before it was measured.",)


NAN, INF = float("nan"), float("inf")
DIVERGED = {  # what a run logged by epoch, and what is said of it
    (0.5, NAN): "val/accuracy became NaN", (NAN,): "val/accuracy became NaN",
    (0.5, INF): "val/accuracy became infinite", (INF, 0.5): "val/accuracy became infinite",
    (0.5, -INF, 0.6): "val/accuracy became infinite", (NAN, 0.7): "",
}  # fmt: skip


def test_runs_that_diverged_are_counted_as_failed_with_the_reason(store: str, tmp_path: Path) -> None:
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("theirs")
    for number, values in enumerate([(0.8,), *DIVERGED]):
        log(client, experiment, list(values), {"depth": str(number)}, "val/accuracy")
    found = load(experiment="theirs", tracking_uri=store, keys=["depth"])
    assert found.frame["reason"].tolist() == ["", *DIVERGED.values()]
    assert found.frame["status"].tolist() == ["finished", *["failed"] * 5, "finished"]
    told = answer(found)
    assert [setting.values for setting in told.settings] == [{"depth": 0}, {"depth": 6}]
    assert {reason: len(trials) for reason, trials in told.failures.items()} == {
        "val/accuracy became infinite": 3, "val/accuracy became NaN": 2,
    }  # fmt: skip
    write(found, told, tmp_path / "report")  # with gaps in its curves


def test_a_trial_that_ended_in_nan_is_counted_as_failed() -> None:
    names = [trial(name, value, arch_n=n) for name, value, n in (("a", 0.9, "1"), ("b", NAN, "2"), ("c", INF, "3"))]
    make_sweep(SWEEPS, "0a", list(names), varying={"arch.n": ["1", "2", "3"]})
    told = answer(load())
    assert [setting.values for setting in told.settings] == [{"arch.n": 1}]
    assert told.failures == {"val/accuracy became NaN": ("b",), "val/accuracy became infinite": ("c",)}


@pytest.mark.parametrize(
    ("params", "profile"),
    [
        ({"objective.metric": "val/iou", "data.task": "classification"}, "{}"),
        ({"objective.metric": "val/accuracy", "data.task": "segmentation"}, "{}"),
        ({"objective.metric": "val/accuracy"}, "5 rows"),
        ({"objective.metric": "val/accuracy"}, '["train"]'),
        ({"objective.metric": "val/accuracy"}, '{"train": {"rows": 5}}'),
    ],
)
def test_a_run_of_others_that_uses_our_names_otherwise_stops_no_comparison(
    params: dict[str, str], profile: str, store: str
) -> None:
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("ours")
    ours = {"objective.metric": "val/accuracy", "data.task": "classification"}
    for number, values in enumerate(([0.8], [0.9])):
        run = log(client, experiment, values, {**ours, "arch.n": number})
        client.log_metric(run, "best/val/accuracy", values[0])
    odd = log(client, experiment, [0.5], params, **{"convgrid.best_epoch": "last"})
    dataset = Dataset(name="d", digest="1", source_type="local", source="{}", profile=profile)
    client.log_inputs(odd, [DatasetInput(dataset, [])])
    found = answer(load(experiment="ours", tracking_uri=store))
    assert [setting.mean for setting in found.settings] == [0.9, 0.8]


def test_a_filter_chooses_runs(others: str) -> None:
    found = load(
        experiment="theirs", tracking_uri=others, mapping={"val/accuracy": "valid_acc"}, filter="params.depth = '2'"
    )
    assert found.frame["depth"].unique().tolist() == [2]
    assert found.title == "experiment theirs, params.depth = '2'"


def test_keys_lose_no_run_of_others_either(others: str) -> None:
    mapping = {"val/accuracy": "valid_acc", "seed": "random_seed"}
    found = load(experiment="theirs", tracking_uri=others, mapping=mapping, keys=[])
    assert (len(found.frame), found.mixed) == (6, ("depth",))


def test_less_is_better_of_what_is_called_a_loss_or_an_error(others: str) -> None:
    for name, mode in (("val/mae", "min"), ("val/iou", "max"), ("val/my_error", "min")):
        assert load(experiment="theirs", tracking_uri=others, mapping={name: "valid_acc"}).mode == mode


def test_mistakes_about_mlflow_are_told(others: str) -> None:
    uri: dict[str, Any] = {"experiment": "theirs", "tracking_uri": others}
    with pytest.raises(
        ConfigError, match=r"--map val/accuracy=acc: no run has logged acc\. They have: depth, random_seed"
    ):
        load(**uri, mapping={"val/accuracy": "acc"})
    with pytest.raises(ConfigError, match="depth=valid_acc: runs that have logged valid_acc have a depth of their own"):
        load(**uri, mapping={"depth": "valid_acc"})
    with pytest.raises(ConfigError, match=r"No run says what is best\. .* They have logged: valid_acc\."):
        load(**uri)
    with pytest.raises(ConfigError, match=r"--filter depth is 2: Invalid.* It is written as in --filter 'params"):
        load(**uri, filter="depth is 2")
    with pytest.raises(ConfigError, match="--experiment theirs has no run that the filter lets pass"):
        load(**uri, filter="params.depth = '9'")
    with pytest.raises(ConfigError, match=r"--experiment mine is not in .* There are: .*theirs"):
        load(experiment="mine", tracking_uri=others)
    with pytest.raises(TrackingError, match=r"is missing: no .*nowhere\.db\. Start where the runs were started"):
        load(experiment="theirs", tracking_uri="sqlite:///nowhere.db")
    with pytest.raises(TrackingError, match=r"^http://127\.0\.0\.1:9 cannot be used: .*refused"):
        load(experiment="theirs", tracking_uri="http://127.0.0.1:9")
    with pytest.raises(TrackingError, match=r"^--tracking-uri mlflow\.db is not an address\. Use sqlite:///mlflow\.db"):
        load(experiment="theirs", tracking_uri="mlflow.db")


def test_runs_of_other_data_are_left_out_with_a_word_and_reruns_count_once(store: str) -> None:
    client = MlflowClient(tracking_uri=store)
    experiment = client.create_experiment("mixed")
    known = {"objective.metric": "auto", "objective.mode": "auto", "data": "digits"}
    parent = client.create_run(experiment, tags={"convgrid.sweep": "0a"}).info.run_id
    client.log_batch(parent, params=[Param("arch.n", "1,2"), Param("objective.metric", "val/accuracy")])
    for n in "12":
        for seed in "001":  # seed 0 twice
            run = log(
                client, experiment, [0.9], {**known, "arch.n": n, "seed": seed}, **{"convgrid.outcome": "finished"}
            )
            client.log_metric(run, "best/val/accuracy", 0.9 + int(n) / 100 + int(seed) / 1000)
    log(client, experiment, [0.9], {**known, "data": "mnist", "arch.n": "1", "seed": "0"})
    found = load(experiment="mixed", tracking_uri=store)
    assert found.warnings == (
        "Left out: 1 run of other data or with another objective, such as data=mnist, val/accuracy; see --filter.",
    )
    assert answer(found).warnings == found.warnings
    assert (len(found.frame), found.keys, found.swept) == (4, ("arch.n",), ("arch.n",))
    assert answer(found).settings[0].n == 2


def test_from_folders_reads_any_place(tmp_path: Path) -> None:
    make_trial(tmp_path / "r", "a", params=PARAMS)
    make_sweep(tmp_path / "s", "0a", ["a"])
    assert from_folders(sweeps=tmp_path / "s", runs=tmp_path / "r").folder == tmp_path / "s" / "0a" / "report"


RULES = {"settings": 2, "tolerance": 0.001, "max_seeds": 20, "budget": None}
SPREAD = (0.0, 0.001, 0.002)


def race_of_two(ended: tuple[int, ...] = (5, 2, 1, 0, 4, 3)) -> list[str]:
    names = [
        trial(f"n{n}s{seed}", 0.8 + int(n) / 20 + SPREAD[int(seed)], arch_n=n, seed=seed)
        for n in "12"
        for seed in "012"
    ]
    make_sweep(SWEEPS, "0a", [names[at] for at in ended], varying={"arch.n": ["1", "2"], "seed": [*"012"]}, race=RULES)
    return names


def test_a_race_is_read_from_its_folders_in_an_order_of_its_own() -> None:
    race_of_two()
    first = answer(load())
    assert first.sentence == (
        "arch.n=2 is best: val/accuracy 0.9010 +- 0.0010 (sd over 3 seeds); a race of 6 trials told it from the other"
    )
    race_of_two((0, 1, 2, 3, 4, 5))
    assert answer(load()).settings == first.settings
    by_other_keys = answer(load(keys=["seed"]))
    assert by_other_keys.race is None
    assert by_other_keys.warnings[0].startswith("Seeds went by the results in a race, so that p and intervals are too")


@pytest.mark.parametrize("rules", ['{"settings": 2}', '"auto"', "3"])
def test_rules_of_a_race_that_are_damaged_are_told(rules: str) -> None:
    race_of_two()
    file = SWEEPS / "0a" / "sweep.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"race": json.loads(rules)}))
    with pytest.raises(SweepError, match="race"):
        load("0a")


def test_a_race_in_mlflow_is_told_as_one_and_mixed_with_others_with_a_warning(store: str) -> None:
    client = MlflowClient(store)
    experiment = client.create_experiment("convgrid")
    parent = client.create_run(experiment, tags={"convgrid.sweep": "0a", "convgrid.race": json.dumps(RULES)})
    common = {**PARAMS, "objective.metric": "val/accuracy", "objective.mode": "max"}
    for n in (1, 2):
        for seed, more in enumerate(SPREAD):
            params = common | {"arch.n": n, "seed": seed}
            log(client, experiment, [0.8 + n / 20 + more], params, "val/accuracy",
                **{"mlflow.parentRunId": parent.info.run_id})  # fmt: skip
    found = answer(load(experiment="convgrid", tracking_uri=store))
    assert "a race of 6 trials told it from the other" in found.sentence
    assert found.warnings == ()
    log(client, experiment, [0.7], common | {"arch.n": 3, "seed": 0}, "val/accuracy")
    mixed = answer(load(experiment="convgrid", tracking_uri=store))
    assert mixed.race is None
    assert any(warning.startswith("Seeds went by the results in a race") for warning in mixed.warnings)
