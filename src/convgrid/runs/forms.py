"""What the files of runs and sweeps hold."""

from collections.abc import Mapping
from typing import Any

from convgrid.runs.files import (
    COUNT,
    MAPPING,
    NAME,
    NUMBER,
    NUMBERS,
    TEXT,
    TEXTS,
    TIME,
    FieldKind,
    FileForm,
    is_count,
    is_name,
    is_number,
    is_text,
    list_of,
    mapping_of,
)

STATUSES = ("running", "finished", "pruned", "failed", "killed")
SIZE_PARAMS = ("plan.parameters", "plan.multiply_adds")  # numbers among a run's parameters, which are texts

OBJECTIVE = FieldKind("a metric with max or min", lambda value: _is_objective(value))
SWEEP_STATUS = FieldKind(
    "one of running, finished, failed, killed", lambda value: value in STATUSES and value != "pruned"
)
STATUS = FieldKind("one of " + ", ".join(STATUSES), lambda value: value in STATUSES)
CHOICES = FieldKind("a mapping to texts", mapping_of(lambda value: value is None or is_text(value)))
PARAMS = FieldKind("a mapping to texts, numbers for the sizes of the network", lambda value: _is_params(value))
YES_OR_NO = FieldKind("true or false", lambda value: isinstance(value, bool))
TEXT_OR_NONE = FieldKind("a text", lambda value: value is None or is_text(value))
NAME_OR_NONE = FieldKind("the name of a folder", lambda value: value is None or is_name(value))
NAMES = FieldKind("a list of folders' names", list_of(lambda value: value is None or is_name(value)))
LISTS = FieldKind("a mapping to lists of texts", mapping_of(list_of(is_text)))
COUNTS = FieldKind("a mapping to whole numbers", mapping_of(is_count))
SHAPE = FieldKind("three sizes", lambda value: list_of(is_count)(value) and len(value) == 3)
PAIR = FieldKind("two numbers", lambda value: list_of(is_number)(value) and len(value) == 2)
PAIRS = FieldKind("a list of pairs of numbers", list_of(PAIR.holds))
NUMBER_LIST = FieldKind("a list of whole numbers", list_of(is_count))
TEXT_LIST = FieldKind("a list of texts", list_of(is_text))
RACE = FieldKind("the rules of a race", lambda value: _is_race(value))
TRACKING = FieldKind("a mapping with uri and experiment", lambda value: _is_tracking(value))

BEGAN = {"name": TEXT, "params": PARAMS, "tags": TEXTS, "objective": OBJECTIVE}
RESULT = {"metrics": NUMBERS, "best_epoch": COUNT, "epochs": COUNT, "seconds": NUMBER}
END = {"reason": TEXT, "ended": TIME}
RECORD_FORM = FileForm(
    {"status": STATUS},
    {
        **BEGAN,
        **RESULT,
        **END,
        "started": TIME,
        "sweep": NAME,
        "config_key": TEXT,
        "code": TEXTS,
        "weights": TEXT,
        "diverged": YES_OR_NO,
    },
)
EPOCH_FORM = FileForm({"epoch": COUNT, "time": TIME, "metrics": NUMBERS})
SAMPLE_FORM = FileForm({"time": TIME, "metrics": NUMBERS})
CONFIG_FORM = FileForm({"values": MAPPING, "choices": CHOICES})
DATA_FORM = FileForm(
    {
        "name": TEXT,
        "digest": TEXT,
        "task": TEXT,
        "names": TEXT_LIST,
        "shape": SHAPE,
        "dtype": TEXT,
        "images": COUNTS,
    },
    {"pixels": PAIR, "scale": PAIR, "counts": NUMBER_LIST, "ranges": PAIRS, "groups": COUNTS, "notes": TEXT_LIST},
)
ENVIRONMENT_FORM = FileForm(
    known=dict.fromkeys(("git.commit", "git.dirty", "convgrid", "torch", "python", "command"), TEXT)
)
PLAN_FORM = FileForm({"layers": FieldKind("a list of layers with sizes", list_of(lambda value: _is_layer(value)))})
SWEEP_FORM = FileForm(
    {
        "id": NAME,
        "command": TEXT,
        "created": TIME,
        "status": SWEEP_STATUS,
        "trials": NAMES,
        "objective": OBJECTIVE,
        "varying": LISTS,
        "skipped": LISTS,
    },
    {"searched": TEXT_LIST, "race": RACE, "points": COUNT, "winner": NAME_OR_NONE, "tracking": TRACKING},
)
_PLACE = FileForm(
    {"place": TEXT, "uri": TEXT},
    {
        "run_id": TEXT,
        "model": TEXT_OR_NONE,
        "status": TEXT,
        "began": COUNT,
        "sent": COUNT,
        "system": COUNT,
        "ended": COUNT,
        "tags": TEXTS,
        "files": COUNTS,
        "totals": NUMBERS,
    },
)
TRACKED_FORM = FileForm(
    _PLACE.needed,
    {**_PLACE.known, "others": FieldKind("a list of places", list_of(lambda value: not _PLACE.fault(value)))},
)


def by_status(record: Mapping[str, Any]) -> FileForm:
    """What a record holds for its status.

    Returns:
        The form.
    """
    match record["status"]:
        case "finished" | "pruned" | "failed":
            return FileForm({**RESULT, **END})
        case "killed":
            return FileForm(END)
        case _:
            return FileForm()


def _is_objective(value: Any) -> bool:
    return list_of(is_text)(value) and len(value) == 2 and value[1] in ("max", "min")


def _is_params(value: Any) -> bool:
    texts = mapping_of(lambda each: each is None or is_text(each) or is_number(each))(value)
    return texts and all(str(value.get(size, 0)).isdecimal() for size in SIZE_PARAMS)


def _is_tracking(value: Any) -> bool:
    known = ("uri", "experiment", "register")
    return isinstance(value, dict) and all(value.get(key) is None or is_text(value[key]) for key in known)


def _is_race(value: Any) -> bool:
    if not isinstance(value, dict) or {*value} != {"settings", "tolerance", "max_seeds", "budget"}:
        return False
    known = all(is_count(value[key]) for key in ("settings", "max_seeds"))
    ends = (
        value["tolerance"] is None or is_number(value["tolerance"]),
        value["budget"] is None or is_count(value["budget"]),
    )
    return known and all(ends) and 3 <= value["max_seeds"] <= 20


def _is_layer(value: Any) -> bool:
    return isinstance(value, dict) and all(is_count(value.get(size)) for size in ("parameters", "multiply_adds"))
