"""Command lines that nobody would type: each is done, or told as a mistake; anything else is a defect."""

import copy
import functools
import io
import random
from collections import Counter
from typing import Any

import pytest
import yaml
from rich.console import Console

from convgrid.cli.run import plan_or_train, sweep
from convgrid.config import CONF, Composition, check, command, composer, flatten, register_experiments, shown
from convgrid.errors import ConvgridError
from fuzzing import fuzz

# ruff: noqa: E501
VALUES = (
    """
0|-1|1|0.5|1e-320|nan|inf|1e400|-1e400|1_000|true|null|''|""|???|auto|none|last|best:0|a=b|é|x\\|'|(|)|{|${|$|%|,|1,,2|1,
999999999999999999999999999|9223372036854775808|[]|[[]]|[1,28,28]|[0,0,0]|[3,9999999,9999999]|[nan]|[null]|[1,5]|[5,1]|{}|{a:1}|{a:{b:1}}
{_target_:os.system}|{1:2}|${seed}|${nowhere}|${now:%Y}|${oc.env:NOT_THERE}|${hydra:job.name}|${arch}|[${seed}]|${oc.create:{a:1}}
1,2|a,b|1,1|null,1|range(1,3)|range(3,1)|range(1,1e7)|range(0,1,0)|range(0,1,1e-300)|range(1,inf)|range(nan,1)|choice()|choice(a,[1],{a:1})
choice(range(1,3),4)|shuffle(1,2)|shuffle(range(1,5))|sort(a,1)|glob(*)|glob(nothing)|interval(0,1)|interval(1,0)|interval(nan,1)
tag(log,interval(0,1))|tag(a,b,interval(0,1))|int(interval(0,1e300))|int(1e400)|int(nan)|tag(t,1)|nope(1)|bool(3)
INPUT -> FC|INPUT|->|INPUT -> CONV(kernel=0) -> FC|INPUT -> [FC]*N -> FC|INPUT -> DROPOUT(nan) -> FC|INPUT -> [CONV]*999999999 -> FC
params < 1|1/0 > 1|2**10**10 > 1|params < 'a'|lambda: 1|1e400 > params|[[arch.n,arch.m]]|[[arch.n]]|[[1,2]]|[arch.n]|[["arch.n=1,2"],["arch.m=1"]]
http://[|http://a:99999999|sqlite:///|sqlite:////dev/null|../..|/dev/null|C:\\x
""".strip()
    .replace("\n", "|")
    .split("|")
)
RAW = ("", "\x00", "\x1b[31m", "a\nb", "\t", "\udce9", "e\u0301", "\u202e", "9" * 5000, "a" * 3000, "[" * 300, "(" * 90)
PREFIXES = ("+", "++", "~")
SUFFIXES = (".x", ".0", "@x", "/x", ".", "..", "-", " ", "\x1b")
OTHERS = (
    "",
    "+",
    "-m",
    "--",
    "=",
    "hydra.mode",
    "hydra.sweeper.params",
    "hydra.sweeper._target_",
    "experiments",
    "sweep.max_trials",
)


@functools.cache
def keys() -> list[tuple[tuple[str, ...], str, str]]:
    """Every key of every option, with what chooses the option, and its default."""
    found = []
    for path in sorted(CONF.rglob("*.yaml")):
        group, values = str(path.parent.relative_to(CONF)), yaml.safe_load(path.read_text()) or {}
        if group.startswith("hydra"):
            continue
        place, chosen = ("", ()) if group == "." else (f"{group.replace('/', '.')}.", (f"{group}={path.stem}",))
        ours = [(key, value) for key, value in flatten(values) if not key.startswith(("defaults", "hydra"))]
        found += [(chosen, f"{place}{key}", shown(value)) for key, value in ours]
    return found


def a_line(rng: random.Random) -> list[str]:
    """One of the many."""
    words = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        chosen, key, default = rng.choice(keys())
        value = rng.choice((default, rng.choice(RAW), *(rng.choice(VALUES) for _ in range(3))))
        key = rng.choice(
            (*(key,) * 20, f"{rng.choice(PREFIXES)}{key}", f"{key}{rng.choice(SUFFIXES)}", rng.choice(OTHERS))
        )
        words += [*chosen, f"{key}={value}"]
    if rng.random() < 0.5:
        return ["-m", *words, "dry_run=true", *rng.choice(((), (), ("sweep=random", "sweep.max_trials=3")))]
    return [*words, *rng.choice(((), ("dry_run=true",)))]


def plan(words: list[str]) -> str:
    """Check a line, and plan what it asks for."""
    console, line = Console(file=io.StringIO()), check(words)
    if line.settings is None:
        return "Hydra"
    if not line.settings.dry_run:
        return "would train"
    if line.is_sweep:
        sweep(line.grids, Composition(line.composer), line.settings, command="", console=console)
    else:
        plan_or_train(line.settings, line.arguments, line.plan, command="", console=console)
    return "planned"


def outcome(words: list[str]) -> str:
    """What becomes of a line; anything but a mistake that is told comes through."""
    try:
        return plan(words)
    except ConvgridError as error:
        return "told" if error.tell().strip() else "told nothing"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose what was composed for an earlier line once only, and find the options once."""
    made: dict[Any, Any] = {}
    load = composer.load

    def load_once(loader: Any, name: str, texts: Any) -> Any:
        key = (name, tuple(texts))
        if key not in made:
            made[key] = load(loader, name, texts)
        return copy.deepcopy(made[key])

    monkeypatch.setattr(composer, "load", load_once)
    monkeypatch.setattr(command, "find_options", functools.cache(command.find_options))


@pytest.mark.usefixtures("in_tmp", "quick")
def test_every_fuzzed_line_is_done_or_told() -> None:
    register_experiments()
    found: Counter[str] = Counter()

    def case(draw: random.Random) -> None:
        words = a_line(draw)
        try:
            found[outcome(words)] += 1
        except Exception as error:
            error.add_note(f"{words}")
            raise

    lines = fuzz(case)
    assert found["told nothing"] == 0
    assert found["told"] > lines // 4
    assert found["planned"] + found["would train"] > 0


@pytest.mark.usefixtures("in_tmp", "quick")
def test_a_line_that_breaks_a_check_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fuzz can fail: anything but a ConvgridError comes through."""
    monkeypatch.setattr(composer.Composer, "compose", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        outcome(["seed=1"])


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["-m", "sweep.seeds=100000", "dry_run=true"],
            "ConfigError: the sweep has 100,000 points, and a grid takes 20,000. "
            "Give fewer values, or draw some: sweep=random sweep.max_trials=100.",
        ),
        (
            ["-m", "sweep=optuna", "sweep.max_trials=3", "sweep.objectives=[0,val/loss]", "dry_run=true"],
            "ConfigError: sweep.objectives=[0,val/loss] must be a list of texts.",
        ),
        (["data.num_classes=-1"], "PlanError: data.num_classes=-1 must be at least 1."),
        (["data.num_classes=-1", "dry_run=true"], "PlanError: data.num_classes=-1 must be at least 1."),
    ],
)
def test_a_line_that_was_a_traceback_is_told(words: list[str], expected: str) -> None:
    with pytest.raises(ConvgridError) as caught:
        plan(words)
    assert caught.value.tell() == expected
