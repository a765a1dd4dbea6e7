"""Every conversion of one optimizer: saved in one dialect and form, converted to another, restored, trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate import convert
from ckptmigrate.errors import CkptMigrateError
from ckptmigrate.report import Report
from resuming.optimizers import CASES
from resuming.trained import BATCHES, BEFORE, LOADED, SAVED, Arrays, apart, built, train

FORMATS = {"tf1": "tf1", "tf2": "tf2", ".h5": "keras-h5", ".keras": "keras-v3", ".weights.h5": "keras-v3"}
TEMPLATES = {".weights.h5": ".keras"}  # what tells its model's names; else the form itself

# tf_keras' .weights.h5 numbers classes in place of the layers' names, and names no optimizer
RULES = "ckptmigrate: 1\ntitle: names\nrename: {'dense/{leaf}': 'd1/{leaf}', 'dense_1/{leaf}': 'd2/{leaf}'}\n"
BLOCK = "optimizers: [{from: optimizer, kind: KIND, variables: '{name:path}'}]\n"

CONTINUED = Path(__file__).resolve().parents[3] / "fixtures" / "continued"


@dataclass(frozen=True, slots=True)
class Source:
    """A state as it was saved, and what became of it.

    Attributes:
        title, dialect: Whose it is; the title names the Keras where the dialect doesn't.
        paths: Form -> where it was saved. The first is the most natural.
        batches: Of the next steps.
        later: The weights after these.
        control: How far off they are with a new optimizer.
    """

    title: str
    dialect: str
    paths: Mapping[str, str]
    batches: Sequence[tuple[Any, Any]]
    later: Arrays
    control: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where a state comes from and where it goes."""

    source: Source
    form: str
    target: str
    target_form: str

    def __str__(self) -> str:
        return f"{self.source.title} {self.form} -> {self.target} {self.target_form}"


@dataclass(frozen=True, slots=True)
class Cell:
    """How one conversion went.

    Attributes:
        apart: The largest difference between weights, five steps later; infinite where it didn't come to that.
        refused: Why there is no output.
        failed: Why the framework doesn't take it.
        needed: The hyperparameters that had to be given.
        told: Kinds and severities of what the report says.
    """

    apart: float = float("inf")
    refused: str = ""
    failed: str = ""
    needed: tuple[str, ...] = ()
    told: frozenset[tuple[str, str]] = frozenset()


class Family:
    """One optimizer in all its dialects: saved in every form, and as templates from before any training."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.case = name, folder, CASES[name]
        self.number = 0
        self.rules = folder / "names.yaml"
        self.rules.write_text(RULES + BLOCK.replace("KIND", self.case.kind))
        self.nets = {dialect: built(dialect, make) for dialect, make in self.case.make.items()}
        self.templates = {
            (dialect, form): net.save(form, self.place(f"{dialect} template {form}"))
            for dialect, net in self.nets.items()
            for form in LOADED[dialect]
        }
        self.sources = [*map(self.saved, self.nets), *continued(name)]

    def saved(self, dialect: str) -> Source:
        """The net trained and saved in every form."""
        net, folder = self.nets[dialect], self.place(dialect)
        weights = train(net, BATCHES[:BEFORE])
        forms = [form for form in SAVED[dialect] if (dialect, form) != self.case.unsaved]
        paths = {form: net.save(form, folder) for form in forms}
        batches = BATCHES[BEFORE:]
        later = train(net, batches)
        net.begin()
        net.assign(weights)
        return Source(dialect, dialect, paths, batches, later, apart(train(net, batches), later))

    def place(self, name: str) -> Path:
        """A new folder."""
        folder = self.folder / name
        folder.mkdir()
        return folder

    def cells(self) -> Iterator[tuple[Place, Cell]]:
        """All of them: every form of a source to each dialect's first form, and the first to every form."""
        for source in self.sources:
            for form in source.paths:
                for target, loaded in LOADED.items():
                    forms = loaded if form == next(iter(source.paths)) else loaded[:1]
                    for place in (Place(source, form, target, target_form) for target_form in forms):
                        yield place, self.cell(place)

    def cell(self, place: Place, **options: Any) -> Cell:
        """One conversion, and what becomes of it; with `options` it needn't be all that the framework looks for."""
        self.number += 1
        form = place.target_form
        out = self.place(str(self.number)) / f"model{form if form.startswith('.') else ''}"
        try:
            report, needed = self.converted(place, out, **options)
        except CkptMigrateError as error:
            return Cell(refused=f"{type(error).__name__}: {error}")
        told = frozenset((issue.kind, issue.severity) for issue in report.issues)
        if report.verdict != "verified":
            why = "; ".join(dict.fromkeys(i.message for i in report.issues if i.severity in ("error", "loss")))
            return Cell(refused=f"{report.verdict}: {why}", needed=needed, told=told)
        if place.target not in self.nets:
            return Cell(failed="there is no such optimizer", needed=needed, told=told)
        net = self.nets[place.target]
        net.begin()
        if not options:
            disturb(net)
        try:
            net.restore(form, str(out), partly=bool(options) or self.case.lone)
        except Exception as error:  # noqa: BLE001 - what the framework says of it
            return Cell(failed=f"{type(error).__name__}: {str(error)[:300]}", needed=needed, told=told)
        return Cell(apart(train(net, place.source.batches), place.source.later), "", "", needed, told)

    def converted(self, place: Place, out: Path, **options: Any) -> tuple[Report, tuple[str, ...]]:
        """The report, and the hyperparameters that had to be given."""
        source, form, target = place.source, place.target_form, place.target
        wanted = {"to": FORMATS[form], "dialect": target, "force": True, **options}
        if target in self.nets:
            wanted["template"] = self.templates[target, TEMPLATES.get(form, form)]
        if (source.dialect, place.form) == ("keras2", ".weights.h5"):
            wanted["mapping"] = str(self.rules)
        report = convert(source.paths[place.form], out, **wanted)
        needed = asked_for(report)
        if needed:
            hyper = {name: self.case.known[name] for name in needed if name in self.case.known}
            report = convert(source.paths[place.form], out, **wanted, hyper=hyper)
        return report, needed


def asked_for(report: Report) -> tuple[str, ...]:
    """The hyperparameters that the report asks for: the first way that each hint tells."""
    hints = [issue.hint.partition(",")[0] for issue in report.issues if issue.kind == "needed"]
    return tuple(dict.fromkeys(name for hint in hints for name in re.findall(r"--hyper (\w+)=", hint)))


def continued(name: str) -> Iterator[Source]:
    """What Keras 1 and 2 saved of this optimizer, and where it led them."""
    for folder in sorted(CONTINUED.iterdir()):
        path = folder / f"{name.replace(' ', '_').lower()}.h5"
        if path.exists():
            with np.load(folder / "later.npz") as file:
                batches = [(file[f"{n}/x"], file[f"{n}/y"]) for n in range(len(BATCHES) - BEFORE)]
                later, fresh = ({w: file[f"{name}/{kind}{w}"] for w in WEIGHTS} for kind in ("", "fresh/"))
            title = folder.name.replace("keras-", "Keras ")
            yield Source(title, "keras1", {".h5": str(path)}, batches, later, apart(fresh, later))


WEIGHTS = ("d1/kernel", "d1/bias", "d2/kernel", "d2/bias")


def disturb(net: Any) -> None:
    """Other weights, slots and counts than any saved state has, so that what isn't restored shows."""
    for x, y in BATCHES[:2]:
        net.step(3 * x, 3 * y)
