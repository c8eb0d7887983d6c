"""One contract for every option of every config group: a new file in conf/ is found, checked and trained here."""

import gzip
import inspect
import io
import pickle
import pkgutil
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.util import module_from_spec, spec_from_file_location
from itertools import zip_longest
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console

from case_studies import studies
from convgrid.cli.main import main
from convgrid.config import CONF, Settings, flatten
from convgrid.config.types import NULLABLE, WORDS_OR_NUMBERS
from convgrid.config.values import MAXIMA, MINIMA, ONE_OF
from convgrid.network.initializers import INITIALIZERS
from convgrid.objective.fit import FITS, fit
from convgrid.objective.glossary import metrics_of
from convgrid.training.trial import run

SettingsMaker = Callable[..., Settings]
ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(0)

FOUND = {
    "activation": 11, "arch": 26, "augment": 4, "data": 10, "layer/conv": 3, "layer/dropout": 3, "layer/norm": 7,
    "layer/pool": 4, "loss": 14, "optimizer": 7, "schedule": 5, "sweep": 3, "sweep/executor": 7, "sweep/pruner": 4,
    "sweep/sampler": 5, "target": 5, "tracking": 2, "trainer": 5,
}  # fmt: skip
PATHS = sorted(path for path in CONF.glob("[!h]*/**/*.yaml"))  # hydra/ is Hydra's own
OPTIONS = [(path.parent.relative_to(CONF).as_posix(), path.stem) for path in PATHS]
VALUES: dict[tuple[str, str], dict[str, Any]] = {
    option: yaml.safe_load(path.read_text()) or {} for option, path in zip(OPTIONS, PATHS, strict=True)
}
TARGETS = {option: VALUES[option]["_target_"] for option in OPTIONS if "_target_" in VALUES[option]}
PROVIDERS = [option for option in TARGETS if TARGETS[option].startswith("parsl.")]  # not convgrid's own
MADE = [option for option in TARGETS if option not in PROVIDERS]
BESIDE = {  # in the YAML only
    "data": {"batch_size", "limit_evaluation", "views"}, "layer/conv": {"padding"}, "layer/pool": {"padding"},
    "schedule": {"freeze_epochs"}, "sweep/executor": {"host", "port", "lost_after", "patience"},
}  # fmt: skip
PIPELINES = {"loss": {"from_logits"}}  # in the signature only
PRESETS = {  # other values for the knobs of augment=custom, layer/conv=conv, layer/norm=batch and local_response
    ("augment", "cifar"), ("augment", "keras_blog"), ("layer/conv", "no_bias"), ("layer/norm", "batch_keras"),
    ("layer/norm", "local_response_alexnet"),
}  # fmt: skip
COSTLY = {*studies()} - {"lenet5", "resnet20", "mobilenet_v2"}  # network/test_case_studies.py makes scores with all
NO_SOURCE = {"arrays", "image_folder", "random", "table_images"}  # nobody's but convgrid's

DESIGN_NAMES = {
    "activation": "softmax elu selu softplus softsign relu tanh sigmoid hard_sigmoid exponential linear",
    "loss": "mean_squared_error mean_absolute_error mean_absolute_percentage_error mean_squared_logarithmic_error "
    "squared_hinge hinge categorical_hinge logcosh categorical_crossentropy sparse_categorical_crossentropy "
    "binary_crossentropy kullback_leibler_divergence poisson cosine_proximity",
    "target": "auto standardize minmax log none",
    "sweep": "grid random optuna",
    "sweep/executor": "local hand slurm pbs lsf sge ray",
    "sweep/pruner": "none median successive_halving hyperband",
    "sweep/sampler": "tpe gp nsgaii qmc random",
    "optimizer": "sgd rmsprop adagrad adadelta adam adamax nadam",
    "trainer": "auto cpu gpu debug overfit",
    "data": "digits mnist fashion_mnist cifar10 cifar100 image_folder arrays random digits_angle table_images",
}


def test_every_option_is_found() -> None:
    assert Counter(group for group, _ in OPTIONS) == FOUND
    assert len(OPTIONS) == 125
    assert len(MADE) == 78


@pytest.mark.parametrize("group", DESIGN_NAMES)
def test_options_have_the_names_that_the_field_uses(group: str) -> None:
    assert {name for found, name in OPTIONS if found == group} == set(DESIGN_NAMES[group].split())


@pytest.mark.parametrize(("group", "name"), OPTIONS)
def test_an_option_says_what_it_is_and_has_a_name_in_snake_case(group: str, name: str) -> None:
    first = (CONF / group / f"{name}.yaml").read_text().splitlines()[0]
    assert re.fullmatch(r"# .{6,}[.?]", first) or (first.startswith("# ") and len(first) > 40), first
    for word in (name, *VALUES[group, name]):
        assert re.fullmatch(r"_target_|[a-z][a-z0-9]*(_[a-z0-9]+)*", word), word


def disagreements(group: str, name: str, stated: dict[str, Any], target: Callable[..., Any]) -> list[str]:
    """Keys and defaults in which an option's file and the signature of what it names differ."""
    missing = [f"{key} is missing" for key in BESIDE.get(group, set()) - set(stated)]
    parameters = inspect.signature(target).parameters.values()
    knobs = {item.name: _listed(item.default) for item in parameters if item.kind == item.KEYWORD_ONLY}
    if name == "depthwise":
        knobs["groups"] = "depthwise"
    if group == "data" and "root" in stated:  # the YAML looks into the environment first
        assert stated["root"] in (None, "${oc.env:CONVGRID_DATA,null}")
        stated = {**stated, "root": None}
    beside = BESIDE.get(group, set()) | ({"nodes"} if group == "sweep/executor" else set())  # by hand, any number
    stated = {key: value for key, value in stated.items() if key not in {"_target_", *beside}}
    knobs = {key: value for key, value in knobs.items() if key not in PIPELINES.get(group, set())}
    # of these the plan gives pairs and a stride
    free = {"kernel_size", "stride", "dilation", "groups"} if group in ("layer/conv", "layer/pool") else set()
    free = set(knobs) if (group, name) in PRESETS else free
    keys = [f"{key} is in one of them only" for key in sorted(set(stated) ^ set(knobs))]
    values = [
        f"{key} is {stated[key]} and {knobs[key]}" for key in stated if key in knobs and key not in free
        and (stated[key], type(stated[key])) != (knobs[key], type(knobs[key]))
    ]  # fmt: skip
    types = {int, float, bool, str, list, type(None)}
    return [*missing, *keys, *values, *(f"{key} is {type(value)}" for key, value in stated.items()
            if type(value) not in types)]  # fmt: skip


@pytest.mark.parametrize(("group", "name"), MADE)
def test_an_options_keys_and_defaults_are_those_of_what_it_names(group: str, name: str) -> None:
    target = pkgutil.resolve_name(VALUES[group, name]["_target_"])
    assert disagreements(group, name, VALUES[group, name], target) == []


@pytest.mark.parametrize(("group", "name"), PROVIDERS)
def test_the_keys_of_a_provider_are_those_that_parsl_knows(group: str, name: str) -> None:
    known = inspect.signature(pkgutil.resolve_name(TARGETS[group, name])).parameters
    stated = {*VALUES[group, name]} - {"_target_"}
    assert stated - {*known} == BESIDE[group] | {"nodes"}


def missing_parts(target: Callable[..., Any], *, example: bool = True, source: bool = True) -> list[str]:
    """What the docstring of a component lacks."""
    text = inspect.getdoc(target) or ""
    first, _, rest = text.partition("\n")
    documented = re.findall(r"^    (\w+):", text.partition("Args:\n")[2].partition("\n\n")[0], re.MULTILINE)
    parts = {
        "one line that ends in a full stop": first.endswith(".") and rest[:1] in ("", "\n"),
        "Args, each in its order": documented == list(inspect.signature(target).parameters),
        "Returns": inspect.isclass(target) or "\nReturns:\n" in text,
        "Raises": "\nRaises:\n" in text or not re.search(r"^ +raise ", inspect.getsource(target), re.MULTILINE),
        "Example": not example or re.search(r"\nExample:\n    >>> ", text) is not None,
        "Source": ("\nSource: " in text) == source,
    }
    return [part for part, is_there in parts.items() if not is_there]


@pytest.mark.parametrize(("group", "name"), MADE)
def test_what_an_option_names_is_documented(group: str, name: str) -> None:
    target = pkgutil.resolve_name(VALUES[group, name]["_target_"])
    needs_files = group == "data" and bool({"root", "path", "table"} & set(VALUES[group, name]))
    is_ours = name in NO_SOURCE or group == "sweep/executor"
    assert missing_parts(target, example=not needs_files, source=not is_ours) == []


# --- every option is held against an independent value

REFERENCING = (
    "test_activations", "augment/test_pipeline", "augment/test_geometry", "network/test_build", "data/test_folders",
    "data/test_readers", "data/test_regression", "network/test_initializers", "test_layers", "test_losses",
    "test_optimizers", "test_scales", "test_schedules",
)  # fmt: skip


def module_at(path: str) -> ModuleType:
    """Import a file of tests, which has no package."""
    spec = spec_from_file_location(path.replace("/", "_"), Path(__file__).parent / f"{path}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def references(modules: Iterable[Any]) -> set[tuple[str, str]]:
    """The options that a test of these modules holds against a NumPy twin, Keras, torch or files in a known format."""
    tests = [test for module in modules for name, test in vars(module).items() if name.startswith("test_")]
    marks = [mark for test in tests for mark in getattr(test, "pytestmark", []) if mark.name == "reference"]
    return {(mark.args[0], name) for mark in marks for name in mark.args[1:]}


def test_every_component_has_a_reference_value() -> None:
    # Samplers and pruners are Optuna's: tests/sweep/test_search.py asserts what they find.
    components = [option for option in MADE if not option[0].startswith("sweep/")]
    components += [("arch.init", name) for name in INITIALIZERS]
    found = references(map(module_at, REFERENCING))
    assert sorted(set(components) - found) == []
    assert sorted(found - set(components)) == []  # a mark that is mistyped, or outlived its option
    assert len(found) == 74


# --- the contract can fail


def bare(x: Any, *, b: float = 4.0) -> Any:
    """A component without anything."""
    if b < 0:
        raise ValueError
    return x


def sound(x: Any, *, b: float = 4.0) -> Any:
    """What a component looks like.

    Args:
        x: Anything.
        b: A knob.

    Returns:
        x.

    Example:
        >>> sound(1)
        1.0

    Source: this file.
    """
    return x + 0 * b


def test_a_missing_part_of_a_docstring_is_found() -> None:
    assert missing_parts(sound) == []
    assert missing_parts(sound, source=False) == ["Source"]
    assert missing_parts(bare) == ["Args, each in its order", "Returns", "Raises", "Example", "Source"]
    assert missing_parts(bare, example=False, source=False) == ["Args, each in its order", "Returns", "Raises"]
    assert missing_parts(lambda x: x)[0] == "one line that ends in a full stop"


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ({"b": 4.0}, []),
        ({}, ["b is in one of them only"]),
        ({"b": 4.0, "c": 1}, ["c is in one of them only"]),
        ({"b": 2.0}, ["b is 2.0 and 4.0"]),
        ({"b": 4}, ["b is 4 and 4.0"]),
    ],
)
def test_a_file_that_disagrees_with_its_signature_is_found(stated: dict[str, Any], found: list[str]) -> None:
    assert disagreements("activation", "sound", {"_target_": "sound", **stated}, sound) == found


def test_a_data_set_without_a_batch_size_is_found() -> None:
    assert disagreements(
        "data", "sound", {"_target_": "sound", "b": 4.0, "limit_evaluation": 0, "views": 0}, sound
    ) == ["batch_size is missing"]


def test_a_component_without_a_reference_value_is_found() -> None:
    @pytest.mark.reference("activation", "relu", "tanh")
    @pytest.mark.parametrize("name", ["relu", "tanh"])
    def test_twins() -> None: ...

    module = SimpleNamespace(test_twins=test_twins, test_other=lambda: None, helper=test_twins)
    assert references([module]) == {("activation", "relu"), ("activation", "tanh")}
    assert {("activation", "relu"), ("activation", "new")} - references([module]) == {("activation", "new")}


def test_keys_with_ranges_and_choices_exist() -> None:
    keys = {key for (group, _), values in VALUES.items() for key, _ in flatten(values, f"{group.replace('/', '.')}.")}
    keys |= {key for key, _ in flatten(yaml.safe_load((CONF / "config.yaml").read_text()))}
    assert set(MINIMA) | set(MAXIMA) | set(ONE_OF) | set(NULLABLE) | set(WORDS_OR_NUMBERS) <= keys
    assert set(ONE_OF["arch.init"]) == set(INITIALIZERS)


# --- every option trains


def train(settings: SettingsMaker, *overrides: str) -> list[dict[str, float]]:
    """One epoch through the pipeline's own path; what became of it."""
    chosen = settings("tracking=none", *overrides, "trainer.max_epochs=1", "data.limit=40", "data.batch_size=20")
    run(chosen, Console(file=io.StringIO()))
    (folder,) = Path("runs").iterdir()
    return torch.load(folder / "last.ckpt", weights_only=True)["history"]


def is_of_numbers(group: str, name: str) -> bool:
    return (group == "target" and name != "auto") or (group == "loss" and "classification" not in FITS[name])


def trainings() -> list[dict[str, str]]:
    """By group the options of each training: one of every group at once, but networks and those of numbers alone."""
    alone: list[dict[str, str]] = []
    others: dict[str, list[tuple[str, str]]] = {}
    for group, name in OPTIONS:
        if group in ("data", "sweep/sampler") or name in ("gpu", "mlflow", *COSTLY):
            continue
        if group == "arch" or is_of_numbers(group, name):
            alone.append({group: name})
        else:
            others.setdefault(group, []).append((group, name))
    return [*alone, *(dict(filter(None, row)) for row in zip_longest(*others.values()))]


TRAININGS = trainings()


def needs(options: dict[str, str]) -> list[str]:
    """What options cannot train without on pictures of 8x8 pixels; and, of several, a network that has them all."""
    network = ["arch.pattern='INPUT -> CONV -> NORM? -> ACT -> POOL? -> DROPOUT? -> FC'"] if len(options) > 1 else []
    size = ["data=random", "data.shape=[1,28,28]"] if options.get("arch") == "lenet5" else []
    groups = ["layer.norm.num_groups=4"] if options.get("layer/norm") == "group" else []
    return [*network, *size, *groups]


def test_every_option_is_in_a_training() -> None:
    found = Counter(option for options in TRAININGS for option in options.items())
    elsewhere = {("trainer", "gpu"), ("tracking", "mlflow"), *(("arch", name) for name in COSTLY)}
    elsewhere |= {option for option in OPTIONS if option[0] in ("data", "sweep/sampler")}
    assert found == Counter({*OPTIONS} - elsewhere)


@pytest.mark.parametrize("options", TRAININGS, ids=lambda options: " ".join(map("=".join, options.items())))
def test_every_option_trains_an_epoch_on_digits(
    settings: SettingsMaker, in_tmp: Path, options: dict[str, str], accelerator: str
) -> None:
    small = ["arch.filters=4", "arch.hidden=8", f"trainer.accelerator={accelerator}"]
    numbers = any(is_of_numbers(*option) for option in options.items())
    data = [*write_numbers(in_tmp / "numbers.npz"), "loss=mean_squared_error"] if numbers else []
    (metrics,) = train(settings, *small, *data, *needs(options), *map("=".join, options.items()))
    loss = options.get("loss", "mean_squared_error")
    row = fit(loss, "regression" if numbers else "classification")
    names = metrics_of("regression" if numbers else "classification", row, 10)
    assert set(metrics) == {"train/loss", *(f"val/{name}" for name in names)}
    assert all(np.isfinite(value) for value in metrics.values())
    assert metrics["train/loss"] > 0 or loss == "cosine_proximity"  # which is at least -1


def test_options_of_numbers_are_those_that_refuse_classes() -> None:
    assert {option for option in OPTIONS if is_of_numbers(*option)} == {
        ("loss", "mean_absolute_percentage_error"), ("loss", "mean_squared_logarithmic_error"), ("loss", "poisson"),
        ("target", "standardize"), ("target", "minmax"), ("target", "log"), ("target", "none"),
    }  # fmt: skip


def write_numbers(path: Path) -> list[str]:
    """Two positive numbers to predict of each picture."""
    images = RNG.random((60, 8, 8))
    np.savez(path, images=images, targets=np.stack((images.mean((1, 2)), 9 * images[:, 2, 3] + 1), 1))
    return ["data=arrays", f"data.path={path}", "data.shape=[1,8,8]", "data.task=regression"]


def test_tracking_with_mlflow_trains_an_epoch(settings: SettingsMaker, store: str, in_tmp: Path) -> None:
    (metrics,) = train(settings, "tracking=mlflow", f"tracking.uri={store}")
    assert metrics["train/loss"] > 0


def write_idx(folder: Path) -> list[str]:
    folder.mkdir()
    for part, size in (("train", 60), ("t10k", 20)):
        for kind, array in (
            ("images-idx3", RNG.integers(0, 256, (size, 28, 28), dtype=np.uint8)),
            ("labels-idx1", (np.arange(size) % 10).astype(np.uint8)),
        ):
            header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return [f"data.root={folder.parent}"]


def write_cifar(folder: Path, files: list[str], labels: bytes, names: str, count: int) -> list[str]:
    folder.mkdir()
    for name in files:
        batch = {b"data": RNG.integers(0, 256, (20, 3072), dtype=np.uint8), labels: [i % count for i in range(20)]}
        (folder / name).write_bytes(pickle.dumps(batch))
    kind, _, key = names.partition(":")
    (folder / kind).write_bytes(pickle.dumps({key.encode(): [f"class {i}".encode() for i in range(count)]}))
    return [f"data.root={folder.parent}"]


def write_pictures(folder: Path) -> list[str]:
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(folder / name / f"{number}.png")
    return [f"data.root={folder}", "data.shape=[3,8,8]"]


def write_arrays(path: Path) -> list[str]:
    np.savez(path, images=RNG.random((50, 8, 8)), targets=np.arange(50) % 3)
    return [f"data.path={path}", "data.shape=[1,8,8]"]


def write_table(folder: Path) -> list[str]:
    write_pictures(folder)
    paths = sorted(folder.rglob("*.png"))
    rows = [f"{path.relative_to(folder)},{number},{number**2}" for number, path in enumerate(paths)]
    (folder / "table.csv").write_text("\n".join(["file,price,area", *rows]))
    return [f"data.table={folder}/table.csv", "data.targets=[price,area]", "data.shape=[3,8,8]", REGRESSION]


REGRESSION = "loss=mean_squared_error"
BATCHES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]
WRITERS: dict[str, Callable[[Path], list[str]]] = {
    "digits": lambda _: [],
    "random": lambda _: ["data.shape=[2,6,9]"],
    "mnist": lambda folder: write_idx(folder / "mnist"),
    "fashion_mnist": lambda folder: write_idx(folder / "fashion-mnist"),
    "cifar10": lambda folder: write_cifar(
        folder / "cifar-10-batches-py", BATCHES, b"labels", "batches.meta:label_names", 10
    ),
    "cifar100": lambda folder: write_cifar(
        folder / "cifar-100-python", ["train", "test"], b"fine_labels", "meta:fine_label_names", 100
    ),
    "image_folder": lambda folder: write_pictures(folder / "pictures"),
    "arrays": lambda folder: write_arrays(folder / "own.npz"),
    "digits_angle": lambda _: [REGRESSION],
    "table_images": lambda folder: write_table(folder / "pictures"),
}


@pytest.mark.parametrize("name", [name for group, name in OPTIONS if group == "data"])
def test_every_data_option_trains_an_epoch(settings: SettingsMaker, in_tmp: Path, name: str, accelerator: str) -> None:
    """Of files in the official format, but few; tests/data/ has the readers' own tests."""
    more = [f"trainer.accelerator={accelerator}", *(["data.limit=0"] if name == "cifar100" else [])]
    (metrics,) = train(
        settings, f"data={name}", *WRITERS[name](in_tmp), "arch.m=1", "arch.filters=2", "arch.hidden=4", *more
    )
    assert metrics["train/loss"] > 0
    assert np.isfinite(metrics["val/loss"])


# --- the user's own option


def write_squareplus(folder: Path, module: str) -> None:
    (folder / "conf" / "activation").mkdir(parents=True)
    (folder / "conf" / "activation" / "squareplus.yaml").write_text(
        f"# A smooth relu without exponentials.\n_target_: {module}.squareplus\nb: 4.0\n"
    )
    (folder / f"{module}.py").write_text(
        "import torch\n\n\ndef squareplus(x, *, b=4.0):\n    return (x + torch.sqrt(x * x + b)) / 2\n"
    )


def test_an_option_from_outside_the_project_trains(in_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_squareplus(in_tmp, "found")
    monkeypatch.syspath_prepend(in_tmp)
    words = ["activation=squareplus", "activation.b=1.0", "tracking=none", "trainer=debug"]
    assert main(["run", "--config-dir", "conf", *words]) == 0
    (folder,) = (in_tmp / "runs").iterdir()
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    assert stored["values"]["activation"] == {"_target_": "found.squareplus", "b": 1.0}


def test_an_option_from_outside_the_project_may_stand_in_a_pattern(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_squareplus(in_tmp, "unneeded")
    pattern = "arch.pattern=INPUT -> CONV(3) -> SQUAREPLUS -> FC"
    assert main(["run", "--config-dir", "conf", "dry_run=true", pattern]) == 0
    assert "squareplus1 " in capsys.readouterr().out


def test_an_option_whose_module_is_not_found_is_named_before_a_run_exists(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_squareplus(in_tmp, "nowhere")
    assert main(["run", "--config-dir", "conf", "activation=squareplus"]) == 1
    assert capsys.readouterr() == (
        "",
        "ConfigError: activation=squareplus names nowhere.squareplus, which cannot be imported: "
        "No module named 'nowhere'.\n"
        "Mend _target_ in the option's file, or add the module's folder to PYTHONPATH.\n",
    )
    assert {path.name for path in in_tmp.iterdir()} == {"conf", "nowhere.py"}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
