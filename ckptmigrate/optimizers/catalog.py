"""The optimizers we know, and look-ups in that table."""

from __future__ import annotations

from ckptmigrate.optimizers.adadelta import ADADELTA
from ckptmigrate.optimizers.adafactor import ADAFACTOR
from ckptmigrate.optimizers.adagrad import ADAGRAD
from ckptmigrate.optimizers.adam import ADAM
from ckptmigrate.optimizers.adamax import ADAMAX
from ckptmigrate.optimizers.adamw import ADAMW
from ckptmigrate.optimizers.ema import EMA
from ckptmigrate.optimizers.ftrl import FTRL
from ckptmigrate.optimizers.lamb import LAMB
from ckptmigrate.optimizers.lion import LION
from ckptmigrate.optimizers.muon import MUON
from ckptmigrate.optimizers.nadam import NADAM
from ckptmigrate.optimizers.record import Block, Listed, Optimizer, Spelling
from ckptmigrate.optimizers.rmsprop import RMSPROP
from ckptmigrate.optimizers.sgd import MOMENTUM, SGD
from ckptmigrate.steps import Shape

OPTIMIZERS: tuple[Optimizer, ...] = (
    *(SGD, MOMENTUM, ADAM, ADAMW, RMSPROP),
    *(ADAGRAD, ADADELTA, ADAMAX, NADAM, FTRL, LION, LAMB, ADAFACTOR, MUON),
    EMA,
)

UNKNOWN = "unknown"

# Titles that stand for one optimizer alone, whatever else has such slots. In a dialect that has no record of it, the
# state is held under the names that the file has.
FOREIGN = frozenset(
    (
        *("Adamax", "Nadam", "AdamW", "Lamb", "LAMB", "Adafactor", "AdagradDA", "ProximalAdagrad", "MomentumW"),
        *("LARSOptimizer", "AddSignOptimizer", "PowerSignOptimizer", "RegAdagrad", "Shampoo"),
    )
)

BY_KIND = {o.kind: o for o in OPTIMIZERS}

AVERAGE = "average"
# What any optimizer of the newer Keras lists before its own slots, when asked to.
SHADOWS = (Block((AVERAGE,), "use_ema"), Block(("gradient_accumulator",), "gradient_accumulation_steps"))

# Loss scaling: one graph-wide pair, beside whatever optimizer it wraps.
LOSS_SCALE = ("current_loss_scale", "good_steps")


def spelling(kind: str, dialect: str) -> Spelling | None:
    """How `dialect` spells that optimizer; None where it has none, or we don't know it."""
    optimizer = BY_KIND.get(kind)
    return optimizer.dialects.get(dialect) if optimizer else None


def is_foreign(title: str, dialect: str) -> bool:
    """True for the title of an optimizer that has no record in that dialect.

    >>> is_foreign("AdamW", "keras-legacy"), is_foreign("AdamW", "tf1"), is_foreign("MyAdam", "tf1")
    (True, False, False)
    """
    return title in FOREIGN and not any(o.dialects[dialect].title == title for o in OPTIMIZERS if dialect in o.dialects)


def by_title(title: str, dialect: str) -> Optimizer | None:
    """The optimizer of that class, however spelled; the one with slots, where a class has two kinds (SGD).

    >>> by_title("rm_sprop", "keras3").kind, by_title("SGD", "keras2").kind, by_title("Adam", "keras1").kind
    ('rmsprop', 'momentum', 'adam')
    """
    wanted = _bare(title)
    found = [o for o in OPTIMIZERS if dialect in o.dialects and _bare(o.dialects[dialect].title) == wanted]
    return found[-1] if found else None


def _bare(title: str) -> str:
    return title.replace("_", "").lower()


def list_of(kind: str, dialect: str) -> Listed | None:
    """The order of its list, averages and accumulated gradients of the newer Keras included; None where unknown."""
    spelled = spelling(kind, dialect)
    if spelled is None or spelled.listed is None:
        return None
    shadows = SHADOWS if dialect in ("keras2", "keras3") else ()
    return spelled.listed._replace(blocks=(*shadows, *spelled.listed.blocks))


def initial_value(kind: str, dialect: str, slot: str) -> float:
    """What `dialect` fills a fresh slot with; 0 for what isn't known.

    >>> initial_value("rmsprop", "tf1", "rms"), initial_value("rmsprop", "keras-legacy", "rms")
    (1.0, 0.0)
    """
    spelled = spelling(kind, dialect)
    found = spelled.slot(slot) if spelled else None
    return found.initial if found else 0.0


def slot_shape(kind: str, dialect: str, slot: str, variable: str, shape: Shape) -> Shape | None:
    """The shape of a variable's slot; None where the variable hasn't this slot.

    >>> slot_shape("adafactor", "keras3", "r", "d/kernel", (2, 3)), slot_shape("adam", "tf1", "m", "d/kernel", (2, 3))
    ((2,), (2, 3))
    """
    spelled = spelling(kind, dialect)
    found = spelled.slot(slot) if spelled else None
    return found.shape_of(variable, shape) if found else shape
