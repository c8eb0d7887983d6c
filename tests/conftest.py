"""What several tests start from: settings as a command line would give them, in a folder of their own."""

import functools
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from importlib import metadata
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch reads it: several processes share the cores

import pytest
import torch
from filelock import FileLock
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser

from convgrid.config import Composer, Settings, command, from_hydra, register_experiments
from convgrid.config import files as places
from convgrid.config.address import EXPERIMENT_NAME, TRACKING_URI
from convgrid.config.composer import find_options
from convgrid.config.line import is_group
from convgrid.features import cache
from convgrid.runs import files
from convgrid.system.memory import uncollected

NO_BROWSER = "no Chromium to drive"  # why tests of the report's page are skipped
NO_NAMESPACES = "no network namespaces"  # why the test of a pulled cable is skipped
NO_LITE0 = "convgrid[lite0] is not installed"  # why the test of its weights is skipped
NO_SLURM = "no Slurm to run"  # why tests of sweeps under it are skipped
NO_RAY = "convgrid[ray] is not installed"
NO_GPU = "torch finds no GPU"


def pytest_configure() -> None:
    """Hear Ctrl-C, as processes that tests start shall: a job in a shell's background is deaf to it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Modules of tests import all that is large: without the collector, which would look through it many times."""
    with uncollected():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each process begin with a file of what mostly waits: others work meanwhile, and nobody waits at the end.

    pytest-xdist hands out one part of the list to each process, as large as the others, and then what is left over.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("waits"):
            files.setdefault(item.path, []).append(item)
    others = (item for item in [*items] if not item.get_closest_marker("waits"))
    count, left, ordered = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")), len(items), list[pytest.Item]()
    for number in range(count):
        first = [item for its in [*files.values()][number::count] for item in its]
        size = left // (count - number)
        left -= size
        ordered += [*first, *islice(others, max(0, size - len(first)))]
    items[:] = [*ordered, *others]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what wants a GPU where there is none."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip(NO_GPU)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Nobody overlooks that the report's page, a GPU, published weights, Slurm or Ray were not tried."""
    wanting = [each for each in terminalreporter.stats.get("skipped", []) if NO_GPU in str(each.longrepr)]
    if wanting:
        terminalreporter.write_line(f"!!! {len(wanting)} tests of a GPU did NOT run: {NO_GPU}", red=True, bold=True)
    skipped = [each for each in terminalreporter.stats.get("skipped", []) if NO_BROWSER in str(each.longrepr)]
    if skipped:
        words = f"{len(skipped)} tests of the report's page did NOT run: {NO_BROWSER} (apt-get install chromium)"
        terminalreporter.write_line(f"!!! {words}", red=True, bold=True)
    if any(NO_NAMESPACES in str(each.longrepr) for each in terminalreporter.stats.get("skipped", [])):
        words = f"a pulled cable was NOT tried: {NO_NAMESPACES} can be made here (that takes root, and ip of iproute2)"
        terminalreporter.write_line(f"!!! {words}", red=True, bold=True)
    for reason, fix in ((NO_SLURM, "apt-get install slurm-wlm slurmctld slurmd munge"), (NO_RAY, "pip install ray")):
        count = sum(reason in str(each.longrepr) for each in terminalreporter.stats.get("skipped", []))
        if count:
            words = f"{count} tests of sweeps over machines did NOT run: {reason} ({fix})"
            terminalreporter.write_line(f"!!! {words}", red=True, bold=True)
    if any(NO_LITE0 in str(each.longrepr) for each in terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(f"!!! published weights were NOT tried: {NO_LITE0}", red=True, bold=True)


@pytest.fixture(params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def accelerator(request: pytest.FixtureRequest) -> str:
    """A `trainer.accelerator` to train on: always a CPU; and a GPU where there is one."""
    return request.param


metadata.entry_points = functools.cache(metadata.entry_points)  # for each Trainer Lightning looks into all packages
EXPERIMENTS = places.EXPERIMENTS


@functools.cache
def composer_of_options() -> Composer:
    """What one test has composed of the project's own options, the next has at once: composing takes 70 ms."""
    register_experiments()  # as a command does
    return Composer("config", find_options(None))


def composer_of(config_name: str, loader: ConfigLoader) -> Composer:
    own = any(entry.provider == "command-line" for entry in loader.get_search_path().get_path())
    is_shared = config_name == "config" and not own and places.EXPERIMENTS == EXPERIMENTS
    return composer_of_options() if is_shared else Composer(config_name, loader)


def compose_settings(*overrides: str) -> Settings:
    """Compose like `python run.py OVERRIDES`, less its checks."""
    composer = composer_of("config", find_options(None))
    parsed = OverridesParser.create().parse_overrides([*overrides])
    texts = [str(each.input_line) for each in parsed if is_group(each, composer)]
    cfg = composer.compose(texts, [each for each in parsed if not is_group(each, composer)])
    return from_hydra(cfg, cfg.hydra)


@pytest.fixture
def settings() -> Callable[..., Settings]:
    return compose_settings


@pytest.fixture(autouse=True)
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "Composer", composer_of)


@pytest.fixture(autouse=True)
def untold() -> None:
    """What a process tells once, each test hears again."""
    files.told.clear()


@pytest.fixture(autouse=True)
def without_a_store_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow.set_tracking_uri`, which some tests call, sets the variable by which convgrid goes."""
    for name in (TRACKING_URI, EXPERIMENT_NAME):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True, scope="session")
def features_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test fills, or finds, the user's own cache of features; some have one to themselves."""
    own = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "user_cache_path", lambda name: Path(os.environ.get("XDG_CACHE_HOME", own)) / name)
        yield


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test's own working folder: runs/, mlflow.db and mlartifacts/ are made in it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the processes of pytest-xdist share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def migrated_store(of_all_processes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: its migrations take seconds, a copy none."""
    from mlflow.store.db import utils

    utils._get_latest_schema_revision = functools.cache(utils._get_latest_schema_revision)  # it asks for each store
    own = tmp_path_factory.getbasetemp()
    with FileLock(of_all_processes / "migrated.lock"):
        if not (path := of_all_processes / "migrated.db").exists():
            from mlflow.tracking import MlflowClient

            MlflowClient(tracking_uri=f"sqlite:///{own / 'mlflow.db'}").search_experiments()
            (own / "mlflow.db").rename(path)
    return path


@pytest.fixture
def store(in_tmp: Path, migrated_store: Path) -> str:
    """A store in a test's own folder; MLflow keeps stores by their address, so a relative one would be shared."""
    shutil.copyfile(migrated_store, in_tmp / "mlflow.db")
    return f"sqlite:///{in_tmp / 'mlflow.db'}"


@pytest.fixture(scope="session")
def trained_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a trial on digits, to be looked at only."""
    from trained_models import train

    return train(tmp_path_factory.mktemp("digits"))
