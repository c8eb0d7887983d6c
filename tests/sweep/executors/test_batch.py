"""What batch systems are told and what is made of their answers, with stand-ins for their commands.

`test_slurm.py` has a real Slurm. What PBS, LSF and Grid Engine read and print is that of their manuals.
"""

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import pytest
import yaml
from parsl.jobs.states import JobState, JobStatus

from convgrid.component import Component
from convgrid.config import CONF
from convgrid.config.settings import PIPELINES
from convgrid.errors import ConfigError
from convgrid.sweep.executors import batch
from convgrid.sweep.executors.batch import JobBatch, make_launcher

NODE = ["/venv/bin/python", "-m", "convgrid", "node", "/home/ann/my sweep.json"]
STARTED = "exec /venv/bin/python -m convgrid node '/home/ann/my sweep.json'"


def option(name: str, **changed: Any) -> Component:
    """An option as its file and a command line make it."""
    values = yaml.safe_load((CONF / "sweep/executor" / f"{name}.yaml").read_text()) | changed
    target = values.pop("_target_")
    given = {key: value for key, value in values.items() if key not in PIPELINES["sweep/executor"]}
    return Component(name, target, given, "sweep/executor")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts programs on the path that print a text, and note what they were called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")

    def put(**texts: str) -> None:
        for name, text in texts.items():
            (folder / name).write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.calls\n{text}\n')
            (folder / name).chmod(stat.S_IRWXU)

    return put


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "nodes").mkdir()
    return tmp_path / "nodes"


def scripts(logs: Path) -> list[str]:
    return [path.read_text() for path in sorted(logs.iterdir()) if path.suffix not in (".stdout", ".stderr", ".json")]


@pytest.mark.parametrize(
    ("name", "changed", "taken", "said", "lines"),
    [
        (
            "slurm",
            {"partition": "gpu", "gpus_per_node": 2, "cores_per_node": 8, "mem_per_node": 32, "exclusive": False},
            {"sbatch": "echo Submitted batch job 7", "sacct": "exit 1"},
            "sbatch",
            [
                *("#SBATCH --partition=gpu", "#SBATCH --gpus-per-node=2", "#SBATCH --cpus-per-task=8"),
                *("#SBATCH --mem=32g", "#SBATCH --time=240", "#SBATCH --nodes=1", "#SBATCH --ntasks-per-node=1"),
                "#SBATCH --requeue --open-mode=append",
            ],
        ),
        (
            "pbs",
            {"cpus_per_node": 8, "select_options": "ngpus=1:mem=16gb"},
            {"qsub": "echo 7.server"},
            "qsub",
            ["#PBS -l walltime=04:00:00", "#PBS -l select=1:ncpus=8:ngpus=1:mem=16gb"],
        ),
        (
            "lsf",
            {"cores_per_block": 8, "cores_per_node": 8, "project": "deep", "scheduler_options": "#BSUB -gpu num=1"},
            {"bsub": "cat > /dev/null; echo 'Job <7> is submitted to default queue <normal>.'"},
            "bsub",
            ["#BSUB -W 240", "#BSUB -n 8", '#BSUB -R "span[ptile=8]"', "#BSUB -P deep", "#BSUB -gpu num=1"],
        ),
        (
            "sge",
            {"queue": "long", "scheduler_options": "#$ -pe smp 8"},
            {"qsub": "echo 7"},
            "qsub",
            ["#$ -l h_rt=04:00:00", "#$ -pe smp 8", "#$ -cwd"],
        ),
    ],
)
def test_a_job_asks_for_what_was_typed_and_becomes_the_node_process(
    name: str, changed: Any, taken: Any, said: str, lines: list[str], programs: Any, logs: Path
) -> None:
    programs(**taken)
    made = make_launcher(option(name, worker_init="module load cuda", **changed))
    assert made.start(NODE, 2, logs) == 2
    for script in scripts(logs):
        assert [line for line in [*lines, "module load cuda", STARTED] if line not in script.splitlines()] == []
        assert "None" not in script
    assert len(scripts(logs)) == 2
    assert len((logs.parent / f"{said}.calls").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "program", "error"),
    [
        ("slurm", "sbatch", "sbatch: error: invalid partition specified: gpu"),
        ("pbs", "qsub", "qsub: Unknown queue"),
        ("lsf", "bsub", "gpu: No such queue. Job not submitted."),
        ("sge", "qsub", "Unable to run job: Job was rejected"),
    ],
)
def test_a_refusal_is_told_in_the_words_of_the_batch_system(
    name: str, program: str, error: str, programs: Any, logs: Path
) -> None:
    programs(sacct="exit 1", **{program: f"echo '{error}' >&2; exit 1"})
    with pytest.raises(ConfigError, match=f"sweep/executor={name}: no job is taken. .*{error}"):
        make_launcher(option(name)).start(NODE, 2, logs)


def test_a_limit_of_jobs_leaves_those_that_were_taken(programs: Any, logs: Path) -> None:
    programs(
        sacct="exit 1",
        sbatch=f"[ $(wc -l < {logs.parent}/sbatch.calls) -lt 3 ] && echo Submitted batch job $RANDOM$$ && exit\n"
        "echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2; exit 1",
    )
    made = make_launcher(option("slurm"))
    assert made.start(NODE, 4, logs) == 2
    assert made.notes() == ["2 of 4 jobs are not taken: sbatch: error: QOSMaxSubmitJobPerUserLimit."]


def test_a_walltime_that_is_none_is_told_before_anything_is_submitted(programs: Any) -> None:
    programs(sacct="exit 1")
    for wrong in ("4h", "00:00:30", "0:00:59"):
        with pytest.raises(ConfigError, match=f"sweep.executor.walltime={wrong} .*sweep.executor.walltime=04:00:00"):
            make_launcher(option("slurm", walltime=wrong))


def test_a_value_that_the_provider_does_not_take_is_told_in_a_line(programs: Any) -> None:
    with pytest.raises(ConfigError, match=r"sweep/executor=slurm cannot be used: .*cores_per_node"):
        make_launcher(option("slurm", cores_per_node="many"))


def test_what_is_neither_a_provider_nor_a_launcher_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sweep/executor=mine: collections.Counter gives Counter, which is neither"):
        make_launcher(Component("mine", "collections.Counter", {}, "sweep/executor"))


def test_without_parsl_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "find_spec", lambda name: None)
    with pytest.raises(
        ConfigError,
        match=r"sweep/executor=slurm needs parsl, which is not installed: pip install 'convgrid\[cluster\]'",
    ):
        make_launcher(option("slurm"))


# --- what becomes of jobs


class Queue:
    """A provider whose jobs do what the test says. What has ended it asks for no more, as Parsl's do not.

    Args:
        system: State and name of each job: another provider's, for another start of the sweep.
    """

    walltime = "01:00:00"

    def __init__(self, system: dict[str, tuple[str, str]] | None = None) -> None:
        self.system = {} if system is None else system
        self.script_dir: str | None = None
        self.resources: dict[str, Any] = {}
        self.cancelled: list[str] = []

    def submit(self, command: str, tasks_per_node: int, job_name: str = "") -> str:
        number = str(len(self.system) + 1)
        self.system[number] = ("PENDING", job_name)
        Path(str(self.script_dir), f"{job_name}.1764.5").write_text(command)
        self.resources[number] = {"job_id": number, "status": JobStatus(JobState.PENDING)}
        return number

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        for number, job in self.resources.items():
            if not job["status"].terminal:
                job["status"] = JobStatus(JobState[self.system[number][0]])
        return [self.resources[number]["status"] for number in job_ids]

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        self.cancelled += job_ids
        return [True for _ in job_ids]

    def turn(self, number: str, state: str, words: str = "") -> None:
        name = self.system[number][1]
        self.system[number] = (state, name)
        if words:
            Path(str(self.script_dir), f"{name}.1764.5.stderr").write_text(words)


@pytest.fixture
def queue() -> Queue:
    return Queue()


@pytest.fixture
def jobs(queue: Queue, logs: Path) -> JobBatch:
    made = JobBatch(queue, "sweep/executor=slurm")
    made.start(NODE, 2, logs)
    return made


@pytest.mark.parametrize(
    ("state", "words", "is_cancelled"),
    [  # Slurm's words as 22.05 writes them, those of LSF and PBS as in their manuals
        (
            "COMPLETED",
            "slurmstepd-node1: error: *** JOB 2 ON node1 CANCELLED AT 2026-11-27T01:51:26 DUE TO TIME LIMIT ***",
            False,
        ),
        ("COMPLETED", "slurmstepd-node1: error: *** JOB 1 ON node1 CANCELLED AT 2026-11-27T01:50:05 ***", True),
        ("CANCELLED", "", True),
        ("TIMEOUT", "", False),
        ("FAILED", "convgrid 0.1.0 on node1, another at the scheduler", False),
        ("FAILED", "TERM_RUNLIMIT: job killed after reaching LSF run time limit.", False),
        ("FAILED", "TERM_OWNER: job killed by owner.", True),
        ("COMPLETED", "=>> PBS: job killed: walltime 65 exceeded limit 60", False),
    ],
)
def test_a_job_that_has_ended_is_told_and_replaced_unless_somebody_cancelled_it(
    state: str, words: str, is_cancelled: bool, jobs: JobBatch, queue: Queue, logs: Path
) -> None:
    queue.turn("1", "RUNNING")
    assert jobs.waiting() == 2
    queue.turn("1", state, f"Found GPUs\n{words}\n" if words else "")
    assert jobs.waiting() == 1
    (note,) = jobs.notes()
    assert note.startswith("Job 1 was cancelled, and no other" if is_cancelled else "Job 1 has ended: ")
    assert note.endswith(words or f"{logs} says nothing of it")
    assert jobs.start(NODE, 1, logs) == (0 if is_cancelled else 1)
    assert jobs.start(NODE, 1, logs) == 1  # asked for anew


def test_a_job_that_is_requeued_is_still_waited_for_and_told(jobs: JobBatch, queue: Queue) -> None:
    queue.turn("1", "RUNNING")
    jobs.waiting()
    queue.turn("1", "PENDING", "error: *** JOB 1 ON node1 CANCELLED AT 2026-11-27T02:00:00 DUE TO PREEMPTION ***")
    assert jobs.waiting() == 2
    assert [*jobs.notes(), *jobs.notes()] == [
        "Job 1 waits again: error: *** JOB 1 ON node1 CANCELLED AT 2026-11-27T02:00:00 DUE TO PREEMPTION ***"
    ]
    queue.turn("1", "RUNNING")
    jobs.waiting()
    queue.turn("1", "COMPLETED")
    assert jobs.waiting() == 1
    assert jobs.notes() == [f"Job 1 has ended: {queue.script_dir} says nothing of it"]  # preempted it was before


def test_who_has_ended_a_job_is_taken_from_accounting_where_there_is_one(programs: Any, logs: Path) -> None:
    table = logs.parent / "table"
    programs(sbatch="echo Submitted batch job 7", sacct=f'case "$*" in *--job*) cat {table};; esac')
    made = make_launcher(option("slurm"))
    made.start(NODE, 1, logs)
    told = []
    for state, count in (("PENDING", 1), ("RUNNING", 1), ("REQUEUED", 1), ("RUNNING", 1), ("CANCELLED by 0", 0)):
        table.write_text(f"7 {state}\n")  # as Slurm's manual has it
        assert made.waiting() == count
        told += made.notes()
    assert told == [
        "Job 7 waits again: the batch system requeued it",
        f"Job 7 was cancelled, and no other takes its place: {logs} says nothing of it",
    ]


def test_a_job_that_accounting_does_not_list_yet_is_not_given_up(
    jobs: JobBatch, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue.turn("1", "COMPLETED")  # as Parsl calls what sacct does not list
    assert jobs.waiting() == 2
    queue.turn("1", "RUNNING")
    assert jobs.waiting() == 2
    queue.turn("2", "COMPLETED")
    monkeypatch.setattr(batch, "LATE", 0.0)
    assert jobs.waiting() == 1
    assert jobs.notes() == ["Job 2 was cancelled, and no other takes its place: it left the queue before it began"]


def test_a_batch_system_that_is_away_changes_nothing(
    jobs: JobBatch, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(job_ids: Sequence[str]) -> list[JobStatus]:
        raise TimeoutExpired("squeue", 60)

    monkeypatch.setattr(queue, "status", away)
    assert jobs.waiting() == 2
    assert jobs.notes() == []


def test_at_the_end_jobs_that_wait_are_cancelled_and_others_end_by_themselves(
    jobs: JobBatch, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "JOBS_POLL_INTERVAL", 0.0)
    queue.turn("1", "RUNNING")
    jobs.waiting()
    queue.turn("1", "COMPLETED", "the sweep is over")
    jobs.stop()
    assert queue.cancelled == ["2"]
    assert jobs.waiting() == 0


def test_jobs_of_a_start_that_was_killed_are_taken_over(jobs: JobBatch, queue: Queue, logs: Path) -> None:
    queue.turn("1", "RUNNING", "Found GPUs")
    jobs.waiting()
    queue.turn("1", "COMPLETED")  # while nobody looks
    again = Queue(queue.system)
    taken = JobBatch(again, "sweep/executor=slurm")
    assert taken.start(NODE, 2, logs) == 2
    assert taken.notes() == ["Jobs of this sweep's earlier start are still there: 2"]
    assert sorted(again.system) == ["1", "2", "3"]
    assert again.system["3"][1] == "convgrid-3"
    assert taken.waiting() == 2
    taken.stop()
    assert again.cancelled == ["2", "3"]
    assert JobBatch(Queue(queue.system), "sweep/executor=slurm").start(NODE, 2, logs) == 2
    assert len(queue.system) == 5  # after an end there is nothing to take over


def test_jobs_of_another_batch_system_are_not_taken_over(jobs: JobBatch, logs: Path) -> None:
    other = Queue()
    assert JobBatch(other, "sweep/executor=pbs").start(NODE, 2, logs) == 2
    assert sorted(other.system) == ["1", "2"]
