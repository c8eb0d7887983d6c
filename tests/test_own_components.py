"""The user's own components from outside the project: one of each group (docs: test_docs.py)."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from convgrid.cli.main import main
from convgrid.config import Composer, command, register_experiments
from convgrid.config.composer import find_options
from convgrid.model.trained_model import load
from forks import fork_workers

ROOT = Path(__file__).parents[1]
Typed = Callable[..., tuple[int, str, str]]

PARTS = '''
import numpy as np
import torch
from torch import nn
from convgrid.data import ImageData, Split, divide, fingerprint


def separable(channels, filters, padding, *, kernel_size=3, stride=1):
    left, right, top, bottom = padding
    apart = nn.Conv2d(channels, channels, kernel_size, stride, groups=channels, bias=False)
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), apart, nn.Conv2d(channels, filters, 1))


class Mixed(nn.Module):
    """Maximum and average, each by a learned share."""

    def __init__(self, padding, *, kernel_size=2, stride=None):
        super().__init__()
        self.share = nn.Parameter(torch.tensor(0.5))
        self.around = nn.ZeroPad2d(padding)
        self.most, self.mean = nn.MaxPool2d(kernel_size, stride), nn.AvgPool2d(kernel_size, stride)

    def forward(self, x):
        x = self.around(x)
        return self.share * self.most(x) + (1 - self.share) * self.mean(x)


class Bounded(torch.nn.Module):
    """Gives its weights another tensor whenever it is used."""

    def __init__(self, shape, *, most=1.5):
        super().__init__()
        self.most = most
        self.weight = torch.nn.Parameter(torch.ones(shape[0], *[1] * (len(shape) - 1)))

    def forward(self, x):
        self.weight.data = self.weight.data.clamp(max=self.most)
        return x * self.weight


class Scale(nn.Module):
    """A learned factor for each pixel and channel."""

    def __init__(self, shape, *, start=1.0, drop=0):
        super().__init__()
        self.factor = nn.Parameter(torch.full(shape, start))
        self.drop = drop

    def forward(self, x):
        return (x * self.factor)[:, self.drop :]


class Blur(nn.Module):
    """Noise while training."""

    def __init__(self, *, std=0.1):
        super().__init__()
        self.std, self.generator = std, None

    def forward(self, x):
        if not self.training:
            return x
        assert self.generator is not None
        return x + self.std * torch.empty_like(x).normal_(generator=self.generator)


def sign_sgd(parameters, *, lr=0.01):
    return torch.optim.SGD(parameters, lr=lr)


def halves(progress, *, epochs=1):
    return 0.5 ** (progress.step / progress.steps_per_epoch / epochs)


class Root(nn.Module):
    def __init__(self, targets, *, power=0.5):
        super().__init__()
        self.power = power

    def encode(self, targets):
        return targets**self.power

    def decode(self, scaled):
        return scaled.clamp(min=0) ** (1 / self.power)


class Remembered(nn.Module):
    """A scale that its weights do not tell."""

    def __init__(self, targets):
        super().__init__()
        self.most = targets.max().item()

    def encode(self, targets):
        return targets / self.most

    def decode(self, scaled):
        return scaled * self.most


def huber(predictions, targets, *, delta=1.0):
    return nn.functional.huber_loss(predictions, targets, delta=delta, reduction="none").mean(-1)


def averaged(predictions, targets):
    return (predictions - targets).square().mean()


def focal(predictions, targets, *, gamma=2.0, from_logits=False):
    assert from_logits
    p = predictions.softmax(-1)
    return -(targets * (1 - p) ** gamma * predictions.log_softmax(-1)).sum(-1)


def brightness(*, shape, num_classes, task, shift, split, split_seed):
    """Numbers to predict; float64 images, and no knob limit."""
    images = np.random.default_rng(split_seed).random((200, *shape))
    targets = images.mean((1, 2, 3)) + shift
    parts = divide((images, targets), class_names=(), digest=fingerprint(images, targets), split=split,
                   split_seed=split_seed, limit=0)
    assert task == "regression" and num_classes == 1
    return parts


def made_by_hand(*, shape, num_classes, kind):
    """An ImageData with something wrong."""
    images, targets, names = torch.zeros(8, *shape), torch.arange(8) % num_classes, ("a", "b")
    if kind == "tuple":
        return images, targets
    if kind == "shape":
        images = images[:, :, :4]
    if kind == "double":
        images = images.double()
    if kind == "nan":
        images[3] = float("nan")
    if kind == "counted from 1":
        targets = targets + 1
    if kind == "names":
        names = ("a", "b", "c")
    if kind == "missing":
        targets = targets[:5]
    if kind == "vector of numbers":
        names = ()
    part = Split(images, targets)
    return ImageData(part, part, None, names, "0")


class Flip:
    def __init__(self, *, share=0.5, double=False):
        self.share, self.double = share, double

    def __call__(self, images, targets, generator):
        drawn = torch.rand(len(images), generator=generator, device=images.device) < self.share
        images = torch.where(drawn[:, None, None, None], images.flip(3), images)
        return images.double() if self.double else images, targets


def total(x):
    return x.sum(1, keepdim=True)
'''
OPTIONS = {
    "layer/conv/separable": "_target_: own_parts.separable\nkernel_size: 3\nstride: 1\npadding: same\n",
    "layer/pool/mixed": "_target_: own_parts.Mixed\nkernel_size: 2\nstride: null\npadding: 0\n",
    "layer/norm/scale": "_target_: own_parts.Scale\nstart: 1.0\ndrop: 0\n",
    "layer/norm/bounded": "_target_: own_parts.Bounded\nmost: 1.5\n",
    "layer/dropout/blur": "_target_: own_parts.Blur\nstd: 0.1\n",
    "layer/dropout/torchs": "_target_: torch.nn.Dropout\np: 0.5\n",
    "optimizer/sign_sgd": "_target_: own_parts.sign_sgd\nlr: 0.01\n",
    "schedule/raising": "_target_: raising.schedule\n",
    "schedule/halves": "_target_: own_parts.halves\nepochs: 1\n",
    "target/root": "_target_: own_parts.Root\npower: 0.5\n",
    "target/remembered": "_target_: own_parts.Remembered\n",
    "loss/huber": "_target_: own_parts.huber\ndelta: 1.0\nfit: {regression: {form: numbers, link: identity}}\n",
    "loss/torchs": "_target_: torch.nn.functional.cross_entropy\nreduction: none\nlabel_smoothing: 0.1\n"
    "fit: {classification: {form: index, link: softmax, from_scores: true}}\n",
    "loss/averaged": "_target_: own_parts.averaged\nfit: {classification: {form: one_hot, link: softmax}}\n",
    "loss/focal": "_target_: own_parts.focal\ngamma: 2.0\n"
    "fit: {classification: {form: one_hot, link: softmax, from_scores: true}}\n",
    "data/brightness": "_target_: own_parts.brightness\nshape: [1, 8, 8]\nnum_classes: 1\ntask: regression\n"
    "shift: 0.0\nbatch_size: 32\nsplit: [0.8, 0.2]\nsplit_seed: 0\n",
    "data/by_hand": "_target_: own_parts.made_by_hand\nshape: [1, 8, 8]\nnum_classes: 2\nbatch_size: 4\nkind: sound\n",
    "augment/flip": "_target_: own_parts.Flip\nshare: 0.5\ndouble: false\n",
    "activation/total": "_target_: own_parts.total\n",
}


SEARCHING = """
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler


class Drawing(RandomSampler):
    def __init__(self, seed, number, *, value=None):
        super().__init__(seed)
        self.value = value

    def sample_independent(self, study, trial, name, distribution):
        if self.value is None:
            raise KeyError("no such key")
        return self.value


class Judging(NopPruner):
    def __init__(self, max_epochs, *, answer=None):
        self.answer = answer

    def prune(self, study, trial):
        if self.answer is None:
            raise KeyError("no such trial")
        return self.answer
"""
# by group what is named, and what is told of it
WRONG = [
    ("activation", "torch.is_tensor", ": torch.is_tensor gives bool, not Tensor. "),
    ("activation", "torch.nn.ReLU", ": torch.nn.ReLU gives ReLU, not Tensor. "),
    ("activation", "os.getcwd", " cannot be used: os.getcwd raises TypeError ("),
    ("activation", "torch.nn.Linear", " cannot be used: torch.nn.Linear raises TypeError ("),
    ("optimizer", "builtins.dict", ": builtins.dict gives dict, not Optimizer. "),
    ("optimizer", "math.sqrt", " cannot be used: math.sqrt raises TypeError ("),
    ("loss", "builtins.dict", " cannot be used: builtins.dict raises TypeError ("),
    ("loss", "torch.nn.Identity", ": torch.nn.Identity gives Identity, not Tensor. "),
    ("schedule", "builtins.str", ": builtins.str gives str, not float. "),
    ("schedule", "math.sqrt", " cannot be used: math.sqrt raises TypeError ("),
    ("target", "builtins.len", " cannot be used: builtins.len raises AttributeError ("),
    ("target", "math.sqrt", " cannot be used: math.sqrt raises ValueError ("),
    ("augment", "os.getcwd", " cannot be used: os.getcwd raises TypeError ("),
    ("augment", "os.fspath", " cannot be used: os.fspath raises TypeError ("),
    ("layer/dropout", "os.getcwd", ": os.getcwd gives str, not Module. "),
    ("layer/norm", "builtins.len", ": builtins.len gives int, not Module. "),
    ("layer/norm", "math.sqrt", " cannot be used: math.sqrt raises TypeError ("),
    ("layer/pool", "builtins.dict", " cannot be used: builtins.dict raises TypeError ("),
    ("layer/conv", "builtins.dict", " cannot be used: builtins.dict raises TypeError ("),
    (
        "data",
        "email.message_from_string",
        " cannot be used: email.message_from_string raises TypeError (",
    ),
]
WRONG_IN_SEARCHES = [
    ("sweep/sampler", "builtins.max", ": builtins.max gives int, not BaseSampler. "),
    ("sweep/sampler", "builtins.len", " cannot be used: builtins.len raises TypeError ("),
    (
        "sweep/sampler",
        "nowhere.Sampler",
        " names nowhere.Sampler, which cannot be imported: No module named 'nowhere'.\n",
    ),
    ("sweep/sampler", "searching.Drawing", " cannot be used: searching.Drawing raises KeyError ('no such key') in "),
    (
        "sweep/sampler",
        "searching.Drawing\nvalue: 7.5",
        " cannot be used: searching.Drawing raises ValueError (optimizer.lr=7.5 is none of the values",
    ),
    (
        "sweep/sampler",
        "searching.Drawing\nvalue: high",
        " cannot be used: searching.Drawing raises ValueError ('high' is",
    ),
    ("sweep/pruner", "builtins.str", ": builtins.str gives str, not BasePruner. "),
    ("sweep/pruner", "builtins.len", " cannot be used: builtins.len raises TypeError ("),
    ("sweep/pruner", "searching.Judging", " cannot be used: searching.Judging raises KeyError ('no such trial') in "),
    (
        "sweep/pruner",
        "searching.Judging\nanswer: perhaps",
        " cannot be used: searching.Judging raises TypeError (it answers 'perhaps', not True or False)",
    ),
]
NEEDED = {
    "loss": "fit: {classification: {form: index, link: softmax, from_scores: true}}\n",
    "data": "shape: [1, 8, 8]\nnum_classes: 10\nbatch_size: 32\n",
}


def numbered(wrong: list[tuple[str, str, str]]) -> list[tuple[int, str, str]]:
    return [(number, group, told) for number, (group, _, told) in enumerate(wrong)]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_parts.py").write_text(PARTS)
    (folder / "searching.py").write_text(SEARCHING)
    texts = dict(OPTIONS)
    for wrong in (WRONG, WRONG_IN_SEARCHES):
        for number, (group, target, _) in enumerate(wrong):
            texts[f"{group}/wrong{number}"] = f"_target_: {target}\n{NEEDED.get(group, '')}"
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in ("own_parts", "searching"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def composer(parts: Path) -> Composer:
    """What one test has composed of the options, the next has at once."""
    register_experiments()
    return Composer("config", find_options(str(parts)))


@pytest.fixture
def typed(
    parts: Path, composer: Composer, in_tmp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Typed:
    """Run a command line with the options of one's own: exit status, stdout, stderr."""
    monkeypatch.setattr(command, "Composer", lambda *_: composer)

    def type_(*argv: str) -> tuple[int, str, str]:
        status = main(["run", "--config-dir", str(parts), "tracking=none", "trainer=debug", *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return type_


def history() -> list[dict[str, float]]:
    (folder,) = Path("runs").iterdir()
    return torch.load(folder / "last.ckpt", weights_only=True)["history"]


def test_layers_of_ones_own_train(typed: Typed) -> None:
    status, _, err = typed(
        "layer/conv=separable", "layer/pool=mixed", "layer/norm=scale", "layer/dropout=blur", "layer.dropout.std=0.2",
        "arch.filters=4", "arch.hidden=8",
    )  # fmt: skip
    assert (status, err) == (0, "")
    assert len(history()) == 2


def test_layers_of_ones_own_are_inside_an_exported_file(
    typed: Typed, parts: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(
        "layer/conv=separable", "layer/pool=mixed", "layer/norm=scale", "layer/dropout=blur", "arch.filters=4",
        "arch.pattern=INPUT -> CONV -> NORM -> ACT -> POOL -> DROPOUT -> FC",
    )  # fmt: skip
    assert main(["export", "last", "--out", "own.pt2"]) == 0
    Image.new("L", (8, 8), 100).save("grey.png")
    capsys.readouterr()
    assert main(["predict", "last", "grey.png"]) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(parts)])
    monkeypatch.delitem(sys.modules, "own_parts")
    assert main(["predict", "own.pt2", "grey.png"]) == 0
    assert capsys.readouterr().out == expected
    assert main(["predict", "last", "grey.png"]) == 1
    assert capsys.readouterr().err.startswith("ConfigError: layer/conv=separable names own_parts.separable, which")


def test_a_scale_of_ones_own_that_its_weights_do_not_tell_is_fitted_on_the_data_again(typed: Typed) -> None:
    typed("data=brightness", "data.shift=7.0", "loss=mean_squared_error", "target=remembered")
    (folder,) = Path("runs").iterdir()
    examples = torch.load(folder / "best.ckpt", weights_only=True)["examples"]
    torch.testing.assert_close(load(folder).predictor(examples["images"]), examples["predictions"])


def test_the_plan_counts_the_weights_of_layers_of_ones_own(typed: Typed) -> None:
    pattern = "INPUT -> CONV(6, kernel=5, stride=2) -> NORM -> POOL -> FC"
    status, out, err = typed(
        "layer/conv=separable", "layer/pool=mixed", "layer/norm=scale", f"arch.pattern={pattern}", "dry_run=true"
    )
    assert (status, err) == (0, "")
    counted = {
        name: tuple(int(number.replace(",", "")) for number in numbers)
        for name, *numbers in re.findall(r"^(\w+) .*? +([\d,]+) +([\d,]+) +[\d.]+ \w*B", out, re.MULTILINE)
    }
    # 25 weights a channel apart, then 6 of 1x1 with a bias each, at the 4x4 places of stride 2 in 8x8; all by hand.
    assert counted == {
        "conv1": (25 + 6 + 6, 16 * (25 + 6)),
        "norm1": (6 * 4 * 4, 0),
        "pool1": (1, 0),
        "output": (24 * 10 + 10, 240),
        "total": (37 + 96 + 1 + 250, 16 * 31 + 240),
    }


def test_a_layer_that_gives_its_weights_another_tensor_is_trained_all_the_same(typed: Typed) -> None:
    assert typed("layer/norm=bounded", "arch.filters=4", "arch.hidden=8")[::2] == (0, "")
    (folder,) = Path("runs").iterdir()
    weights = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    assert not torch.equal(weights["predictor.network.norm1.weight"], torch.ones(4, 1, 1))


def test_an_optimizer_schedule_and_augmentation_of_ones_own_train(typed: Typed) -> None:
    status, _, err = typed("optimizer=sign_sgd", "schedule=halves", "schedule.epochs=2", "augment=flip")
    assert (status, err) == (0, "")
    assert len(history()) == 2


def test_draws_of_ones_own_are_repeated_bit_for_bit(typed: Typed) -> None:
    line = ["layer/dropout=blur", "arch.pattern=INPUT -> FC(8) -> DROPOUT -> FC", "augment=flip", "data.limit=64"]
    assert [typed(*line)[0] for _ in range(2)] == [0, 0]
    one, other = (torch.load(path, weights_only=True)["history"] for path in sorted(Path("runs").glob("*/last.ckpt")))
    assert one == other


@pytest.mark.parametrize("loss", ["torchs", "focal"])
def test_a_loss_of_ones_own_takes_scores_and_from_logits_where_it_has_it(typed: Typed, loss: str) -> None:
    status, _, err = typed(f"loss={loss}")
    assert (status, err) == (0, "")
    assert history()[-1]["train/loss"] > 0


def test_numbers_to_predict_of_ones_own_train_with_a_loss_and_a_scale_of_ones_own(typed: Typed) -> None:
    status, _, err = typed("data=brightness", "loss=huber", "target=root", "data.split=[0.7,0.3]")
    assert (status, err) == (0, "")
    assert set(history()[-1]) >= {"train/loss", "val/loss", "val/mae"}


def test_a_data_set_made_by_hand_trains(typed: Typed) -> None:
    status, _, err = typed("data=by_hand")
    assert (status, err) == (0, "")


# --- what does not keep to its contract


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tuple", "data=by_hand is tuple, not ImageData. Make that with convgrid.data.divide."),
        (
            "shape",
            "data.shape=[1, 8, 8] does not fit: the images of data=by_hand are [1, 4, 8]. Use data.shape=[1,4,8].",
        ),
        (
            "double",
            "the training part of data=by_hand has images as float64 of shape [8, 1, 8, 8]. "
            "Give uint8 or float32 of shape (B, C, H, W).",
        ),
        ("nan", "the training part of data=by_hand has pixels that are NaN or infinite."),
        (
            "counted from 1",
            "the training part of data=by_hand has classes from 1 to 2, but 2 class names. "
            "Number the classes from 0 to 1.",
        ),
        ("names", "data.num_classes=2 does not fit: data=by_hand has 3 classes. Use data.num_classes=3."),
        ("missing", "the training part of data=by_hand has 8 images and 5 targets. Give every image one."),
        (
            "vector of numbers",
            "the training part of data=by_hand has targets of shape [8]. Give finite numbers of shape (B, T).",
        ),
    ],
)
def test_data_of_ones_own_that_cannot_be_trained_on_is_told(typed: Typed, kind: str, message: str) -> None:
    status, _, err = typed("data=by_hand", f"data.kind='{kind}'")
    assert (status, err) == (1, f"DataError: {message}\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            ["layer/norm=scale", "layer.norm.drop=2", "arch.filters=4"],
            "PlanError: layer/norm=scale: norm1 makes 2x8x8 of 4x8x8, but the plan has 4x8x8. Mend own_parts.Scale.",
        ),
        (
            ["activation=total", "arch.filters=4"],
            "PlanError: activation=total: total1 makes 1x8x8 of 4x8x8, but the plan has 4x8x8. Mend own_parts.total.",
        ),
        (
            ["layer/dropout=torchs"],
            "ConfigError: layer/dropout=torchs has no attribute generator. Set it to None and draw from it: the "
            "training puts one there for each epoch, so that a run can be repeated and resumed.",
        ),
        (
            ["loss=averaged"],
            "ConfigError: loss=averaged gives [] values for 2 examples. It must give one value an example: average "
            "over an example's outputs, not over the batch.",
        ),
        (
            ["augment=flip", "augment.double=true"],
            "ConfigError: augment=flip makes float64 of shape [2, 1, 8, 8] of [2, 1, 8, 8]. "
            "It must keep the shape, in float32.",
        ),
        (
            ["layer/pool=mixed", "layer.pool.padding=1", "layer.pool.kernel_size=4", "arch.m=4"],
            "PlanError: arch.m=4 pools a 8x8 input 4 times, but after 2 it is 1x1. Use arch.m<=2 or layer/pool=none.",
        ),
    ],
)
def test_a_component_of_ones_own_that_breaks_its_contract_is_told_before_a_run_exists(
    typed: Typed, line: list[str], message: str
) -> None:
    assert typed(*line)[::2] == (1, f"{message}\n")
    assert not Path("runs").exists()


WITH = {
    "target": ["data=digits_angle", "loss=mean_squared_error"],
    "layer/norm": ["arch.pattern=INPUT -> CONV -> NORM -> FC"],
}


@pytest.mark.parametrize(("number", "group", "told"), numbered(WRONG))
def test_what_is_not_what_its_group_is_made_of_is_told_in_a_line_before_a_run_exists(
    typed: Typed, number: int, group: str, told: str
) -> None:
    status, _, error = typed(f"{group}=wrong{number}", *WITH.get(group, ()))
    assert status == 1
    assert error.startswith(f"ConfigError: {group}=wrong{number}{told}")
    assert error.endswith(f"ame another {group} in the option's file.\n")
    assert error.count("\n") == 1
    assert not Path("runs").exists()


def test_where_a_component_of_ones_own_raises_is_told(typed: Typed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    Path("raising.py").write_text("def schedule(progress):\n    raise KeyError('no such epoch')\n")
    assert typed("schedule=raising")[::2] == (
        1,
        "ConfigError: schedule=raising cannot be used: raising.schedule raises KeyError ('no such epoch') in "
        f"{Path('raising.py').resolve()}, line 2. Mend it, or name another schedule in the option's file.\n",
    )


@pytest.mark.parametrize(("number", "group", "told"), numbered(WRONG_IN_SEARCHES))
def test_a_sampler_or_pruner_that_is_none_or_goes_wrong_is_told_before_a_run_exists(
    typed: Typed, parts: Path, monkeypatch: pytest.MonkeyPatch, number: int, group: str, told: str
) -> None:
    fork_workers(monkeypatch.setattr)
    search = ["-m", "sweep=optuna", "sweep.max_trials=2", "optimizer.lr=interval(1e-4,1e-1)"]
    storage = f"sweep.storage=sqlite:///{parts / 'optuna.db'}"  # of all: it takes its time to make one
    status, _, error = typed(*search, storage, f"{group}=wrong{number}")
    assert status == 1
    assert error.startswith(f"ConfigError: {group}=wrong{number}{told}")
    assert error.count("\n") == 1 + told.endswith("\n")
    assert not Path("runs").exists()
