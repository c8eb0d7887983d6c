"""The page: a template, a style and a script in one file, which nothing else may be loaded into."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from convgrid.compare.report.captions import ids_of, typographic, wording_of
from convgrid.compare.report.chapters import Chapter
from convgrid.compare.report.html_tables import AT_ONCE, SMALLEST_SIGN, interval_ends, ranking_table
from convgrid.compare.report.palette import DARK, LIGHT
from convgrid.compare.report.svg import svg
from convgrid.compare.results import Answer
from convgrid.compare.sentences import named, text
from convgrid.compare.trials import Trials

HERE = Path(__file__).parent
COMMIT = 10  # letters of a commit that tell it from others
MAX_FAILURES_NAMED = 5  # trials named of those that failed alike
STATUS_ORDER = ("finished", "pruned", "failed", "killed", "running")
FACTS = {"data": "data", "tag.device": "device", "tag.git.commit": "code"}


def report_page(trials: Trials, answer: Answer, chapters: Sequence[Chapter]) -> str:
    """Write the page.

    Args:
        answer: What the comparison comes to.

    Returns:
        HTML; whatever trials are named is harmless in it.
    """
    words = wording_of(trials, answer)
    style, script = (
        coloured((HERE / "page.css").read_text(encoding="utf-8")),
        (HERE / "page.js").read_text(encoding="utf-8"),
    )
    columns, rows = ranking_table(answer, words)
    template = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return template.from_string((HERE / "page.html").read_text(encoding="utf-8")).render(
        answer=answer,
        at_once=AT_ONCE,
        chapters=[chapter for chapter in chapters if chapter.name != "ranking"],
        columns=columns,
        ends=interval_ends(answer, words),
        facts=_facts(trials, answer),
        groups=_groups(trials, answer),
        rows=rows,
        script=Markup(script),  # noqa: S704
        script_hash=hash_of(script),
        smallest=SMALLEST_SIGN,
        style=Markup(style),  # noqa: S704
        style_hash=hash_of(style),
        svg=svg,
        typographic=typographic,
        trials=trials,
        words=words,
    )


def coloured(style: str) -> str:
    """A style with the palette before it."""
    light, dark = _variables(LIGHT), _variables(DARK)
    colours = f":root {{ {light} }}\n@media screen and (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    roles = "\n".join(f".{role} {{ --c: var(--{role}); }}" for role in LIGHT)
    return f"\n{colours}{roles}\n{style}"


def _variables(palette: Mapping[str, str]) -> str:
    return " ".join(f"--{role}: {colour};" for role, colour in palette.items())


def hash_of(text: str) -> str:
    """What a content security policy names a script or a style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _facts(trials: Trials, answer: Answer) -> dict[str, str]:
    counts = {status: len(ids_of(trials, status)) for status in STATUS_ORDER}
    facts = {
        "objective": f"{trials.metric} at the best epoch, {'higher' if trials.mode == 'max' else 'lower'} is better",
        "trials": ", ".join(f"{count:,} {status}" for status, count in counts.items() if count),
        "settings": f"{len(answer.settings):,}",
    }
    if trials.left:
        facts["trials"] += f", {trials.left:,} left"
    for key in trials.repetitions:
        found = sorted({each for each in _column(trials, key) if pd.notna(each)})
        facts[f"{key}s"] = ", ".join(map(text, found)) if len(found) <= 10 else f"{len(found)}"
    for column, name in FACTS.items():
        values = set(map(text, _column(trials, column)))
        if len(values) == 1:
            facts[name] = values.pop()[: COMMIT if name == "code" else None]
    return facts


def _column(trials: Trials, name: str) -> list[Any]:
    return np.asarray(trials.frame[name]).tolist() if name in trials.frame else []


def _groups(trials: Trials, answer: Answer) -> list[dict[str, Any]]:
    """What did not finish, by its reason, the most first."""
    failed = [_group("failed", reason, _names(trials, ids)) for reason, ids in answer.failures.items()]
    skipped = [_group("skipped", reason, list(points)) for reason, points in trials.skipped.items()]
    stopped = ids_of(trials, "pruned")
    pruned = []
    if stopped:
        epochs = np.asarray(trials.frame.loc[stopped, "epochs"], dtype=int)
        least, most = epochs.min(), epochs.max()
        between = f"{least}" if least == most else f"{least} to {most}"
        pruned = [_group("pruned", f"stopped early, after {between} epochs", _names(trials, stopped))]
    others = [
        _group(status, "", _names(trials, ids)) for status in ("killed", "running") if (ids := ids_of(trials, status))
    ]
    return [*sorted(failed, key=_count), *sorted(skipped, key=_count), *pruned, *others]


def _group(kind: str, reason: str, examples: Sequence[str]) -> dict[str, Any]:
    return {"kind": kind, "reason": reason, "count": len(examples), "examples": examples[:MAX_FAILURES_NAMED]}


def _count(group: Mapping[str, Any]) -> int:
    return -group["count"]


def _names(trials: Trials, ids: Sequence[str]) -> list[str]:
    """All are counted, few are named."""
    return [_named(trials, trial) if place < MAX_FAILURES_NAMED else "" for place, trial in enumerate(ids)]


def _named(trials: Trials, trial: str) -> str:
    keys = [key for key in (*trials.keys, *trials.repetitions) if key in trials.frame]
    row = trials.frame.loc[[trial], keys].dropna(axis="columns")
    return f"{named({key: row[key].tolist()[0] for key in keys if key in row})} ({trial})".strip()
