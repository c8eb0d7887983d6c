"""README and docs say what is so: their commands and snippets run, their tables are the code's, their links lead on."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import case_studies
from convgrid import __main__ as commands
from convgrid import terminal
from convgrid.network.pattern import arguments
from convgrid.objective.fit import FITS, Fit
from convgrid.objective.fit import table as fits
from convgrid.objective.glossary import METRICS, glossary
from convgrid.system import device
from forks import fork_workers, fork_writers
from sweep_folders import finish, make_sweep, make_trial

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = {"bash", "console", "python", "yaml", "text"}  # all of them run but text
# no settings: of patterns and functions, and short names
ARGUMENTS = (
    *(name for names in arguments.ARGUMENTS.values() for name in names),
    "n",
    "m",
    "class_names",
    "from_logits",
    "kernel",
    "install",
    "lr",
    "quiet",
    "config_dir",
)
# their files may be missing
FETCHED = {"data=mnist", "data=fashion_mnist", "data=cifar10", "data=cifar100", "arch.weights=imagenet"}
ELSEWHERE = (  # what other tests and benchmarks run
    ("export MLFLOW_TRACKING_URI=", "benchmarks/serving.py"),
    ("mlflow models serve ", "benchmarks/serving.py"),
    ("python -c ", "benchmarks/serving.py"),
    ("curl ", "benchmarks/serving.py"),
    ("make ", "Makefile"),
    ("pip install ", "pyproject.toml"),
    ("python -m convgrid ui", "tests/tracking/test_dashboard.py"),
    ("eval ", "tests/cli/test_run.py"),
    ("sbatch ", "tests/sweep/executors/test_slurm.py"),
    ("ray start ", "tests/sweep/executors/test_ray.py"),
    ("ssh ", "tests/sweep/executors/test_nodes.py"),
)
# they differ in the network alone, which tests/network/test_case_studies.py plans
ALIKE = {line for number, line in enumerate(case_studies.commands().splitlines()) if number % 7}
UNTRACKED = ("tracked in ", "MLflow run ", "dashboard ")  # lines that tests/training/test_trial.py shows


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str


def blocks(page: str) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(TEXTS[page])]


def section(page: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level or above."""
    level = len(heading) - len(heading.lstrip("#"))
    _, found, rest = BLOCK.sub("", TEXTS[page]).partition(f"\n{heading}\n")
    assert found, heading
    return re.split(rf"^#{{1,{level}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of tables, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    bodies = [line for number, line in enumerate(lines) if number not in heads and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in bodies]


# --- what a page shows is run, in its order, in a folder that has what its text supposes


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory, migrated_store: Path) -> Path:
    """The user's folder: photos, tables, digits to predict, and a sweep; each page gets a copy."""
    folder = tmp_path_factory.mktemp("furnished")
    shutil.copyfile(migrated_store, folder / "mlflow.db")
    noise = np.random.default_rng(0)
    for name in [f"photos/{pet}/{number}.png" for pet in ("cats", "dogs") for number in range(10)] + [
        *("new/1.jpg", "new/2.jpg", "images/1.png", "images/2.png", "images/3.png", "images/4.png"),
    ]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (70, 80, 3), dtype=np.uint8)).save(folder / name)
    for name in ("0.png", "4.png"):
        Image.fromarray(noise.integers(0, 17, (8, 8), dtype=np.uint8)).save(folder / name)
    prices = [f"images/{number}.png,{number}00000,{number % 2}\n" for number in (1, 2, 3, 4)] * 5
    (folder / "houses.csv").write_text("file,price,garden\n" + "".join(prices))
    with contextlib.chdir(folder):
        make_a_sweep()
    return folder


@pytest.fixture
def desk(in_tmp: Path, furnished: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's folder, of one page."""
    shutil.copytree(furnished, in_tmp, dirs_exist_ok=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{in_tmp / 'mlflow.db'}")
    monkeypatch.setattr(terminal, "cpu_flags", lambda: {"avx512_bf16"})  # whatever this machine has
    monkeypatch.setattr(device, "DRIVERS", ())
    fork_workers(monkeypatch.setattr)
    fork_writers(monkeypatch.setattr)
    before = {*sys.modules}
    yield in_tmp
    for name in {*sys.modules} - before:
        if name.startswith("my_"):
            del sys.modules[name]


def make_a_sweep() -> None:
    names = []
    for n, optimizer, seed in ((n, optimizer, seed) for n in "12" for optimizer in ("sgd", "adam") for seed in "01"):
        params = {"arch.n": n, "optimizer": optimizer, "seed": seed, "plan.parameters": "10", "plan.multiply_adds": n}
        folder = make_trial(Path("runs"), f"n{n}{optimizer}{seed}", epochs=3, params=params)
        finish(folder, accuracy=0.8 + int(n) / 10 + int(seed) / 1000)
        names.append(folder.name)
    varying = {"arch.n": ["1", "2"], "optimizer": ["sgd", "adam"], "seed": ["0", "1"]}
    make_sweep(Path("sweeps"), "1f0c00000000", names, varying=varying, status="finished", points=8)


def log_runs_of_others() -> None:
    """Runs in MLflow under the names that docs/answer.md maps."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{Path('mlflow.db').absolute()}")
    for experiment, metric, seed in (("convgrid", "val/accuracy", "seed"), ("theirs", "valid_acc", "random_seed")):
        made = client.create_experiment(experiment)
        for number in range(8):
            run = client.create_run(made).info.run_id
            params = {"lr": number // 4, "depth": number // 2 % 2, "optimizer": "adam", seed: number % 2}
            if experiment == "convgrid":
                params |= {"objective.metric": metric, "objective.mode": "max"}
            logged = [Param(key, str(value)) for key, value in params.items()]
            client.log_batch(run, [Metric(metric, 0.5 + number / 20, 0, 0)], logged)
            client.set_terminated(run)


def type_(*words: str) -> tuple[int, str, str]:
    """Type `python -m convgrid WORDS` in this process: status, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["convgrid", *words])
        try:
            status = commands.main()
        except SystemExit as end:
            status = int(end.code or 0)
    return status, out.getvalue(), err.getvalue()


def shortened(words: list[str]) -> list[str]:
    """What is typed instead: sweeps and what is fetched are planned, others train a little without MLflow."""
    if any(word.startswith("resume=") for word in words):
        return ["trainer.max_epochs=2" if word.startswith("trainer.max_epochs=") else word for word in words]
    if {"-m", "--help", "--cfg", "-sc", "dry_run=true"} & {*words}:
        return words if "-m" not in words else [*words, "dry_run=true"]
    if FETCHED & {*words} or any(word.startswith(("experiments=", "tracking.")) for word in words):
        return [*words, "dry_run=true"]
    words = [*(word for word in words if not word.startswith("trainer.max_epochs=")), "trainer.max_epochs=1"]
    words = words if any(word.startswith("data") for word in words) else [*words, "data.limit=300"]
    return words if "tracking=none" in words else [*words, "tracking=none"]


def do(line: str, folder: Path, patch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Run one line of a page; its exit status, and all that it printed."""
    words = shlex.split(line, comments=True)
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if target else words
    if words[0].startswith("PYTHONPATH="):
        patch.syspath_prepend(folder / words.pop(0).partition("=")[2])
    words = [path for word in words for path in (sorted(map(str, Path().glob(word))) if "*." in word else [word])]
    match words:
        case ["python", "run.py", *rest]:
            status, out, err = type_("run", *shortened(rest))
        case ["python", "-m", "convgrid", *rest]:
            status, out, err = type_(*rest)
        case _:
            raise AssertionError(f"{line}: neither a command of convgrid nor one of ELSEWHERE")
    if target:
        Path(target).write_text(out)
    return status, out + err


def bare(text: str) -> list[str]:
    """Lines without what changes from run to run: numbers, ids, devices, widths."""
    text = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,32}\b", "ID", text)
    text = re.sub(r"-?\d[\d.,]*(?:e-?\d+)?", "0", re.sub(r" on cuda\S*| on mps", " on cpu", text))
    return [" ".join(line.split()) for line in text.splitlines() if line.strip() and line != "..."]


def run_lines(lines: list[str], folder: Path, patch: pytest.MonkeyPatch) -> None:
    for line in lines:
        if not line.strip() or line.startswith("#") or line in ALIKE:
            continue
        if found := [where for start, where in ELSEWHERE if line.startswith(start)]:
            assert all((ROOT / where).is_file() for where in found)
            if line.startswith("make "):
                words = shlex.split(line, comments=True)
                assert f"\n{words[1]}:" in (ROOT / "Makefile").read_text(), line
            continue
        status, said = do(line, folder, patch)
        assert status == 0, f"{line}\n{said}"


def run_shown(text: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Commands with what they print; a plan and a mistake are shown to the letter."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        status, said = do(line, folder, patch)
        assert status == ("Error: " in output), f"{line}\n{said}"
        if status or "dry_run=true" in line:
            assert said == output, line
        elif " -m " in line and "-m convgrid" not in line:  # what stands before the first trial is its plan
            assert output.partition("multiply-adds  ")[0] in said, line
        else:
            wanted = [line for line in bare(output) if not line.startswith(UNTRACKED)]
            missing = [shape for shape in wanted if shape not in bare(said)]
            assert not missing, f"{line}\n{missing}\n{bare(said)}"


def check_the_components() -> None:
    """The components of the page were trained, as it shows them."""
    made = [path.parent for path in Path("runs").glob("*/config.yaml") if (path.parent / "best.ckpt").exists()]
    stored = [yaml.safe_load((folder / "config.yaml").read_text()) for folder in made]
    assert {one["choices"][group] for one in stored for group in ("activation", "layer/norm", "loss", "data")} >= {
        "squareplus", "rms", "poly1", "rows",
    }  # fmt: skip
    (poly1,) = (one["values"]["loss"] for one in stored if one["choices"]["loss"] == "poly1")
    assert poly1["epsilon"] == 2.0
    assert poly1["fit"] == {"classification": {"form": "index", "link": "softmax", "from_scores": True}}
    assert all(json.loads((folder / "run.json").read_text())["status"] == "finished" for folder in made)


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_and_snippet_of_a_page_runs(page: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page == "docs/answer.md":
        log_runs_of_others()
    names: dict[str, object] = {"__name__": "snippet"}
    for block in blocks(page):
        first, _, _ = block.text.partition("\n")
        match block.language:
            case "bash":
                run_lines(block.text.splitlines(), desk, monkeypatch)
            case "console":
                run_shown(block.text, desk, monkeypatch)
            case "python" | "yaml" if first.startswith("# mine/"):
                file = desk / first.removeprefix("# ")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text)
            case "python":
                exec(compile(block.text, page, "exec"), names)
            case language:
                assert language == "text", f"{page} has a block of {language}"
    if page == "docs/components.md":
        check_the_components()


def test_every_block_says_what_it_is() -> None:
    for page, text in TEXTS.items():
        fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
        assert {*fences[::2]} <= LANGUAGES, page
        assert {*fences[1::2]} <= {""}, page
        for line in text.splitlines():  # no command stands where it is not run
            assert not line.startswith("    python"), page


@pytest.mark.parametrize("page", [page for page in TEXTS if page.startswith("docs/") and page != "docs/README.md"])
def test_a_page_begins_with_what_the_reader_can_do_and_a_command(page: str) -> None:
    title, _, rest = TEXTS[page].partition("\n\n")
    assert re.fullmatch(r"# .+", title)
    before, fence, _ = rest.partition("\n```")
    assert "Here you " in before
    assert fence
    assert len(before.splitlines()) <= 8
    assert blocks(page)[0].language in ("bash", "console", "python") or page == "docs/components.md"


# --- links, files and keys that are named exist


def anchors(text: str) -> set[str]:
    """What GitHub makes of headings."""
    heads = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_to_a_page_and_its_heading(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert path.is_file(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}"


def test_the_index_and_the_readme_list_every_page() -> None:
    pages = {page.removeprefix("docs/") for page in TEXTS if page.startswith("docs/")} - {"README.md"}
    assert pages <= {*re.findall(r"\]\(([\w.]+)\)", TEXTS["docs/README.md"])}
    assert pages <= {*re.findall(r"\]\(docs/([\w.]+)\)", TEXTS["README.md"])}


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 200


@pytest.mark.parametrize(
    ("page", "heading"), [("README.md", "## The flow and the map"), ("docs/how_it_works.md", "## The map"),
                          ("docs/how_it_works.md", "## The flow")],
)  # fmt: skip
def test_every_place_of_the_map_exists(page: str, heading: str) -> None:
    text = section(page, heading).partition("| place |")[2] or section(page, heading)
    places = [place for row in rows(f"| place |{text}") for cell in row for place in re.findall(r"`([\w./*]+)`", cell)]
    places = [place for place in places if "/" in place or place.endswith(".py")]
    assert len(places) > 5
    for place in places:
        assert [*ROOT.glob(place), *(ROOT / "src/convgrid").glob(place)], place
    if heading == "## The flow":
        return
    shown = {Path(place).name for place in places}
    rooms = {path.name for path in (ROOT / "src/convgrid").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert rooms - {"augment", "losses"} <= shown, "every room has a line"


def test_files_that_pages_name_exist() -> None:
    for page, text in TEXTS.items():
        for name in re.findall(
            r"`((?:src|tests|benchmarks|docs|experiments|conf)/[a-z_/]+\.(?:py|yaml|md|png))`", text
        ):
            assert (ROOT / name).exists(), f"{page}: {name}"


def keys_of(node: object, start: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, below in node.items():
            yield f"{start}{name}"
            yield from keys_of(below, f"{start}{name}.")


def test_every_setting_that_a_page_names_exists() -> None:
    files = [path for path in CONF.rglob("*.yaml") if "hydra" not in path.parts and path.name != "config.yaml"]
    keys = {*keys_of(yaml.safe_load((CONF / "config.yaml").read_text()))}
    options = {path.relative_to(CONF).with_suffix("").as_posix() for path in files}
    for path in files:
        group = path.parent.relative_to(CONF).as_posix().replace("/", ".")
        keys |= {*keys_of(yaml.safe_load(path.read_text()) or {}, f"{group}.")}
    options |= {f"experiments/{path.stem}" for path in (ROOT / "experiments").glob("*.yaml")} | {"hydra/sweeper/basic"}
    groups = {option.rpartition("/")[0] for option in options}
    for page, text in TEXTS.items():
        for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", text)):
            for name, value in re.findall(r"(?:^|\s)([a-z_/]+(?:\.[a-z0-9_]+)*)=([\w./-]*)", code):
                if name in groups:
                    capital = not value or value.isupper()
                    assert capital or f"{name}/{value}" in options, f"{page}: {name}={value}"
                else:
                    assert name in keys or name in ARGUMENTS, f"{page}: {name}"


# --- tables that the code knows


def test_the_page_of_losses_shows_the_table_and_the_glossary_of_the_code() -> None:
    for rendered in (fits(), glossary()):
        assert f"\n\n{rendered}\n\n" in TEXTS["docs/losses.md"]
        assert all(len(line) <= 120 for line in rendered.splitlines())
    named = [word.strip("`") for row in rows(fits()) for word in row[0].split()]
    assert sorted(named) == sorted(FITS)
    kinds = {"classification": "classes", "multilabel": "labels", "regression": "numbers"}
    for task, metrics in METRICS.items():
        assert {row[0].strip("`") for row in rows(glossary()) if kinds[task] in row[1].split(", ")} == {*metrics}


def test_the_experiments_are_shown() -> None:
    shown = [row[0].strip("`") for row in rows(section("docs/options.md", "## Experiments"))]
    assert shown == sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))


def test_every_group_is_shown_with_its_options_and_what_they_are() -> None:
    defaults = {
        group: option
        for entry in yaml.safe_load((CONF / "config.yaml").read_text())["defaults"]
        if isinstance(entry, dict)
        for group, option in entry.items()
    } | {"sweep/sampler": "tpe"}  # of sweep=optuna
    found = {path.parent for path in CONF.rglob("*/*.yaml") if "hydra" not in path.parts}
    groups = {path.relative_to(CONF).as_posix() for path in found}
    shown = re.findall(r"^### (.+)$", section("docs/options.md", "## Groups"), re.MULTILINE)
    assert {*shown} == groups
    for group in shown:
        files = sorted((CONF / group).glob("*.yaml"), key=lambda path: (path.stem != defaults[group], path.stem))
        said = [path.read_text().splitlines()[0].removeprefix("# ").replace("|", r"\|") for path in files]
        expected = [[f"`{path.stem}`", line] for path, line in zip(files, said, strict=True)]
        assert rows(section("docs/options.md", f"### {group}")) == expected, group


def test_the_presets_are_shown_with_their_patterns() -> None:
    shown = {
        row[0].removesuffix(" (default)").strip("`"): row[1].strip("`")
        for row in rows(section("docs/patterns.md", "## Ready patterns"))
    }
    assert shown == {
        name: yaml.safe_load((CONF / f"arch/{name}.yaml").read_text())["pattern"] for name in case_studies.OF_THE_COURSE
    }


def test_the_published_networks_are_shown_with_their_plans() -> None:
    assert f"\n\n{case_studies.table()}\n\n" in TEXTS["docs/networks.md"]
    assert f"\n```bash\n{case_studies.commands()}\n```\n" in TEXTS["docs/networks.md"]
    assert {row[0].strip("`") for row in rows(section("docs/networks.md", "## All of them"))} == {
        path.stem for path in (CONF / "arch").glob("*.yaml")
    } - case_studies.OF_THE_COURSE


def test_every_data_set_and_scale_is_shown() -> None:
    data = " ".join(row[0] for row in rows(section("docs/data.md", "## Data sets")))
    assert sorted(re.findall(r"`(\w+)`", data)) == sorted(path.stem for path in (CONF / "data").glob("*.yaml"))
    scales = [row[0].strip("`") for row in rows(section("docs/losses.md", "## Numbers to predict"))]
    assert sorted(scales) == sorted(path.stem for path in (CONF / "target").glob("*.yaml"))


def test_every_command_is_shown() -> None:
    shown = re.findall(r"^\| `python -m convgrid (\w+)`", section("docs/options.md", "## Commands"), re.MULTILINE)
    _, helped, _ = type_("--help")
    named = {line.split()[0] for line in helped.partition("commands:")[2].splitlines() if re.match(r"  \w", line)}
    assert {*shown, "run"} == named


def test_the_contract_of_components_has_every_group_that_makes_something() -> None:
    shown = [row[0].strip("`") for row in rows(section("docs/components.md", "## What each group asks for"))]
    files = [path for path in CONF.rglob("*.yaml") if "hydra" not in path.parts]
    made = {path.parent for path in files if "\n_target_: " in path.read_text()}
    assert sorted(shown) == sorted(path.relative_to(CONF).as_posix() for path in made)


def test_the_fit_of_a_loss_has_every_key_with_its_default_first() -> None:
    shown = {row[0].strip("`"): row[1] for row in rows(section("docs/components.md", "## A loss"))}
    assert list(shown) == [field.name for field in fields(Fit)]
    for field in fields(Fit):
        if field.default is not MISSING:
            assert shown[field.name].startswith(f"`{str(field.default).lower()}`"), field.name
