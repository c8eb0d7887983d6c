"""What a model says of itself: what it takes and gives, how it is put together, and where it comes from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from convgrid import __version__
from convgrid.component import Component
from convgrid.config import component, fit_of, flatten, is_outside_identity
from convgrid.config.identity import WEIGHTS_KEY
from convgrid.data.profile import Profile
from convgrid.network.plan import Plan
from convgrid.objective.fit import Fit
from convgrid.runs.forms import DATA_FORM, PLAN_FORM
from convgrid.runs.trial import read_plan, read_record, read_settings

Kind = Literal["probability", "score", "number"]


@dataclass(frozen=True)
class Metadata:
    """A model's description of itself.

    Args:
        trial: Name of the folder that it was trained in.
        version: Of the convgrid that wrote it.
        profile: Of what it was trained on.
        fit: From scores to predictions.
        target: What scales the numbers to predict; None for what suits the loss.
        config: What it was trained with, by dotted key or group, less paths and addresses.
        slides: Whether its program takes larger images, too, and predicts at each place.
        about: What is known of weights that were not trained here: source, licence, channels, a check.
    """

    trial: str
    version: str
    profile: Profile
    plan: Plan
    fit: Fit
    target: Component | None
    config: Mapping[str, Any]
    slides: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, profile: Profile) -> Self:
        """Gather it from a trial's folder.

        Returns:
            The description.
        """
        settings = read_settings(folder)
        kept = {key: value for key, value in flatten(settings.values) if not is_outside_identity(key)}
        if kept.get(WEIGHTS_KEY) is not None:  # what they are, not where they lie
            kept[WEIGHTS_KEY] = read_record(folder).get("weights")
        return cls(
            trial=folder.resolve().name,
            version=__version__,
            profile=profile,
            plan=read_plan(folder),
            fit=fit_of(settings, profile.task, len(profile.names)),
            target=component(settings, "target"),
            config={key: value for key, value in kept.items() if "_target_" not in key} | dict(settings.choices),
        )

    @property
    def kind(self) -> Kind:
        """What is predicted: probabilities or scores of the classes or labels, or numbers in the data's units."""
        if self.profile.task == "regression":
            return "number"
        return "probability" if self.fit.gives_probabilities else "score"

    @property
    def columns(self) -> list[str]:
        """Of a table of predictions: of which class they are, and what; or the names of the numbers."""
        names = self.profile.names
        return list(names) if self.kind == "number" else [f"{self.kind}_{name}" for name in names]

    @property
    def answer(self) -> str | None:
        """The column before them, for the class that is predicted or the labels that are; None for numbers."""
        return {"classification": "class", "multilabel": "labels", "regression": None}[self.profile.task]

    @property
    def threshold(self) -> float:
        """A label is told whose prediction is above it."""
        return 0.5 if self.kind == "probability" else 0.0

    def dumps(self) -> str:
        """As JSON, with what a program without convgrid needs to read predictions."""
        reading = {key: getattr(self, key) for key in ("kind", "columns", "answer", "threshold")}
        return json.dumps({**asdict(self), **reading})

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read what `dumps` made.

        Raises:
            ValueError: If it holds something else; some of that is a KeyError, a TypeError or the like.
        """
        known = json.loads(text)
        fault = DATA_FORM.fault(known["profile"]) or PLAN_FORM.fault(known["plan"])
        if fault:
            raise ValueError(fault)
        target = known["target"]
        return cls(
            trial=known["trial"],
            version=known["version"],
            profile=Profile.load(known["profile"]),
            plan=Plan.load(known["plan"]),
            fit=Fit(**known["fit"]),
            target=Component(**target) if target else None,
            config=known["config"],
            slides=known.get("slides", False),  # files of older versions
            about=known.get("about", {}),
        )
