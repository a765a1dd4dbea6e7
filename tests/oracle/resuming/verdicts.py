"""What is to be said of each conversion, by what the format atlas says of it: exact, unless a reason stands here."""

from __future__ import annotations

from typing import NamedTuple

from resuming.cells import Cell, Place, Source
from resuming.optimizers import CASES

ROUNDING = 5e-6  # of weights that moved by 0.05 and more

ROOT = "epsilon is added outside the square root on one side, inside on the other"
SCHEDULE = "its momentum warms up by 0.96^(0.004 t) on one side, by 0.96^t on the other"
NO_AMSGRAD = "TF1's Adam has no AMSGrad"
PRODUCT = "tf_keras' files lack Nadam's product: `optimizer._u_product` is assigned what the report says, after loading"
CONTRIB = "written for the optimizer of TF 1's contrib, which isn't tried here"

OUTSIDE = {"keras-legacy", "keras1"}  # where RMSprop without momentum, and Adagrad, add epsilon to the root
SLOW = {"keras-legacy", "keras1"}  # where Nadam's schedule_decay is 0.004


class Verdict(NamedTuple):
    """What the tables say of a conversion.

    Attributes:
        label: What it is where it isn't exact; "" for exact ones, "-" where the target has no such optimizer.
        reason: Why.
        apart: How far training is apart, where it went on.
        needed: Hyperparameters that have to be given.
        wrong: What is not as it should be.
    """

    label: str = ""
    reason: str = ""
    apart: float | None = None
    needed: tuple[str, ...] = ()
    wrong: str = ""

    @property
    def text(self) -> str:
        """A table's cell."""
        number = "" if self.apart is None else shown(self.apart)
        told = " ".join(part for part in (self.label, number) if part)
        return f"{told}, needs {', '.join(self.needed)}" if self.needed else told


def is_near(cell: Cell, source: Source) -> bool:
    """Whether training went on: rounding apart, and a hundred times nearer than without the slots."""
    return cell.apart <= min(ROUNDING, source.control / 100 if source.control else ROUNDING)


def approximate(name: str, place: Place) -> str:
    """Why a conversion is an approximation; "" where it isn't."""
    crosses = (place.source.dialect in OUTSIDE) != (place.target in OUTSIDE)
    plain = name.startswith("RMSprop") and not name.endswith("momentum")
    old = place.source.dialect == "keras1" and name == "Adagrad"
    return ROOT if crosses and (plain or old) else ""


def impossible(name: str, place: Place) -> str:
    """Why there is no conversion; "" where there is one."""
    if name == "AMSGrad" and place.target == "tf1":
        return NO_AMSGRAD
    if name == "Nadam" and (place.source.dialect in SLOW) != (place.target in SLOW):
        return SCHEDULE
    return ""


def verdict(name: str, place: Place, cell: Cell) -> Verdict:
    """What the tables say of a conversion, and whether that is as it should be."""
    if place.target not in CASES[name].make:
        wrong = "written for a dialect that has no such optimizer" if place.target != "tf1" else ""
        return Verdict("-") if cell.refused else Verdict("untried", CONTRIB, wrong=wrong)
    if reason := impossible(name, place):
        return Verdict("not portable", reason, wrong="" if cell.refused else f"isn't refused: {cell}")
    if cell.refused or cell.failed:
        return Verdict("refused", wrong=cell.refused or cell.failed)
    return _trained(name, place, cell)


def _trained(name: str, place: Place, cell: Cell) -> Verdict:
    """The same for what the framework restored and trained."""
    without = f"{cell.apart:.0e} apart, {place.source.control:.0e} without slots"
    if reason := approximate(name, place):
        wrong = "" if ("approximate", "warning") in cell.told else "isn't told to be approximate"
        wrong = wrong or ("" if cell.apart < place.source.control / 5 else f"no approximation: {without}")
        return Verdict("approximate", reason, cell.apart, cell.needed, wrong)
    wrong = "" if is_near(cell, place.source) else without
    label, reason = ("by hand", PRODUCT) if lacks_product(name, place) else ("", "")
    if label and ("approximate", "warning") not in cell.told:
        wrong = "isn't told what is to be set by hand"
    return Verdict(label, reason, cell.apart, cell.needed, wrong)


def lacks_product(name: str, place: Place) -> bool:
    """Whether the target's files have no room for Nadam's product."""
    return name == "Nadam" and place.target == "keras2" and place.target_form != "tf2"


def shown(apart: float) -> str:
    """A difference as the tables have it."""
    return f"{apart:.0e}" if apart else "0"
