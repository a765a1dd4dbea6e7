"""Every conversion of the matrix: what a Keras saved, converted, loaded again by Keras."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate import CkptMigrateError, Report, convert
from ckptmigrate.issues import Issue
from keras_matrix.files import ARRAYS, KERAS, KINDS, OTHER, SAVED, arrays, assign, is_whole, load
from keras_matrix.models import MODELS, Model, Subject

TARGETS = tuple(kind for kind in KINDS if kind != "export()")

# How far predictions of one Keras may be from those of the other
_BETWEEN = 1e-5

# Sources that don't tell the model's layers: these always take --template
UNTOLD = frozenset({".h5", ".weights.h5", ".weights.json", "export()", *ARRAYS})


@dataclass(frozen=True, slots=True)
class Place:
    """One field of the matrix."""

    keras: str
    source: str
    target: str
    model: str


@dataclass(frozen=True, slots=True)
class Cell:
    """How one conversion ended.

    Attributes:
        verdict: yes | template (yes, with one) | refused | absent (Keras saves no such file, or not all of the model).
        why: Why it is refused, and the ways out.
        wrong: What Keras says of the result, or how far its predictions are off, or which refusal names no way out.
    """

    verdict: str
    why: tuple[str, ...] = ()
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """What the conversions of one model share."""

    k: str
    name: str
    subject: Subject
    fresh: Model
    other: Model | None
    wanted: np.ndarray[Any, Any]
    folder: Path
    kept: dict[str, str]

    def template(self, target: str) -> Path:
        """The freshly built model as a .keras file; where that doesn't tell all, as a file of the target's kind."""
        is_by_objects = KINDS[target][0] in ("tf2", "savedmodel")
        kind = "tf2" if is_by_objects else self.legacy if KINDS[target][0] == "keras-h5" else ".keras"
        return self.folder / KINDS[".keras" if self.subject.is_described else kind][1]

    @property
    def legacy(self) -> str:
        """What a Keras writes of a model as .h5."""
        return "whole .h5" if "whole .h5" in self.kept or self.k == "keras3" else ".h5"


def cells(k: str, folder: Path, models: Mapping[str, Subject] = MODELS) -> Iterator[tuple[Place, Cell]]:
    """Every conversion of everything that a Keras saves."""
    for name, subject in models.items():
        model, fresh, other = subject.shaken(KERAS[k]), subject.anew(KERAS[k]), subject.anew(KERAS[OTHER[k]])
        is_alike = [w.shape for w in model.get_weights()] == [w.shape for w in other.get_weights()]
        home = made(folder / f"{name} anew")
        bench = Bench(k, name, subject, fresh, other if is_alike else None, subject.answer(model), home, {})
        places = {source: made(folder / f"{name} {source.strip('.')}") / KINDS[source][1] for source in SAVED[k]}
        bench.kept.update(
            {kind: why for kind, path in places.items() if not (why := unsaved(bench, model, kind, path))}
        )
        if ".h5" not in places and "whole .h5" in places and not loaded(bench, ".h5", places["whole .h5"]):
            bench.kept[".h5"] = ""  # Keras 3 loads weights from whole models, too
        subject.blank(fresh)
        for kind in {"tf2", ".keras", ".keras" if subject.is_described else bench.legacy}:
            SAVED[k][kind](fresh, home / KINDS[kind][1])
        for source, path in places.items():
            yield from row(bench, source, path)


def row(bench: Bench, source: str, path: Path) -> Iterator[tuple[Place, Cell]]:
    """Every conversion of one file to all that Keras loads."""
    for target in TARGETS:
        place = Place(bench.k, source, target, bench.name)
        if source in bench.kept and target in bench.kept:
            yield place, tried(bench, place, path, made(path.parent / f"to {target}"))
        elif target in SAVED[bench.k] or target == ".h5":
            yield place, Cell("absent")


def unsaved(bench: Bench, model: Model, kind: str, path: Path) -> str:
    """Why Keras itself doesn't keep the model in a kind of file; "" when it does."""
    try:
        SAVED[bench.k][kind](model, path)
    except (ValueError, NotImplementedError) as error:
        return str(error)
    return "" if kind == "export()" else loaded(bench, kind, path)


def loaded(bench: Bench, kind: str, path: Path) -> str:
    """What is wrong with what Keras loads into a freshly built model; "" when all is well."""
    fresh = bench.subject.blank(bench.fresh)
    try:
        is_named = kind in ARRAYS
        found = assign(fresh, arrays(kind, path)) if is_named else load(bench.k, bench.subject, fresh, kind, path)
        return distance(bench.subject.answer(found), bench.wanted)
    except Exception as error:  # noqa: BLE001 - whatever Keras has to say
        return f"{type(error).__name__}: {error}"


def tried(bench: Bench, place: Place, path: Path, folder: Path) -> Cell:
    """One conversion; with a template where it takes one."""
    to, name = KINDS[place.target]
    found: list[Issue] = []
    for way in ways(place):
        given = {"template": str(bench.template(place.target))} if way == "template" else {}
        try:
            report = convert(path, folder / name, to=to, optimizer="drop", force=True, **given)
        except CkptMigrateError as error:
            found = [Issue("error", "error", "", error.message, error.hint)]
            continue
        found = [issue for issue in report.issues if issue.severity in ("error", "loss")]
        if report.verdict == "verified" and (way == "template" or not points_on(report, place.target, folder / name)):
            is_named = place.target in ARRAYS
            wrong = rounded(bench, place, folder / name, way) if is_named else judged(bench, place, folder / name)
            if not (wrong and is_named and way == "yes"):
                return Cell(way, (), wrong)
    unhinted = [issue.message for issue in found if not issue.hint]
    return Cell("refused", tuple(dict.fromkeys(issue.message for issue in found)), "; ".join(unhinted))


def ways(place: Place) -> tuple[str, ...]:
    """How a conversion is tried: files that tell no layers take a template; arrays go by any name.

    Keras translates configurations in a process of its own, which takes seconds: for one of the models.
    """
    if place.target in ARRAYS:
        return ("yes", "template")
    is_translated = place.target == ".keras" and place.source in ("whole .h5", "savedmodel") and place.model != "nested"
    return ("template",) if place.source in UNTOLD or is_translated else ("yes", "template")


def points_on(report: Report, target: str, path: Path) -> bool:
    """Whether a run that went through says that a template would do better."""
    is_warned = any(i.severity == "warning" and "--template" in i.hint for i in report.issues)
    return is_warned or (target == "whole .h5" and not is_whole(path))


def judged(bench: Bench, place: Place, path: Path) -> str:
    """What is wrong with a result that Keras loads; "" when all is well."""
    wrong = loaded(bench, place.target, path)
    if wrong or place.target != ".h5" or bench.other is None:
        return wrong
    found = load(OTHER[bench.k], bench.subject, bench.subject.blank(bench.other), place.target, path)
    return distance(bench.subject.answer(found), bench.wanted, _BETWEEN)


def rounded(bench: Bench, place: Place, path: Path, way: str) -> str:
    """What is wrong with arrays: what their own library reads, and what goes back to where they are from."""
    values = arrays(place.target, path)
    if place.source in ARRAYS:
        return distance(bench.subject.answer(assign(bench.subject.blank(bench.fresh), values)), bench.wanted)
    back = place.source if place.source in bench.kept and place.source != "export()" else ".h5"
    to, name = KINDS[back]
    given = {"template": str(bench.template(back))}
    folder = path.parent / f"back by {way}"
    report = convert(path, made(folder) / name, to=to, optimizer="drop", **given)
    if report.verdict != "verified":
        return "; ".join(issue.message for issue in report.issues)
    return loaded(bench, back, folder / name)


def distance(found: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], tolerance: float = 0.0) -> str:
    """How far predictions are off; "" when they aren't."""
    far = float(np.abs(found - wanted).max())
    return "" if far <= tolerance else f"predictions are off by {far:g}"


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
