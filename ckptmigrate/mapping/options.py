"""What the user and the target format ask of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ckptmigrate.issues import Issue
from ckptmigrate.mapping.rules import OptimizerBlock
from ckptmigrate.table import Checkpoint

# Formats that keep any key as it is: an untouched tensor stands there under the key it was stored under.
KEY_KEEPERS = frozenset({"npz", "safetensors"})

# Formats that name variables by object path and keep an object graph.
OBJECT_BASED = frozenset({"tf2", "savedmodel"})

# Formats that name everything by its key.
NAME_BASED = frozenset({"tf1"})

# Formats that hold an optimizer's list as any Keras keeps it: state of theirs stays in its dialect.
LIST_KEEPERS = frozenset({"keras-h5", "keras-v3"})

# Whose optimizers a flavor is for.
NATURAL = {"tf_keras": "keras2", "keras3": "keras3", "paths": "keras-legacy"}


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options.

    Attributes:
        target_format: The format's id.
        dialects: Dialects the target holds optimizer state in, natural one first; () for any.
        holds_averages: Whether the target can hold averages beside raw weights.
        averages: keep | use | drop | "" for the default.
        optimizer: keep | drop | fresh.
        dialect: The dialect asked for, or "".
        natural: That of the Keras that the target is for, where it was asked for (`--flavor`), or "".
        hyper: Hyperparameters given by the user.
        dtype: Element type that floats are cast to, or "".
        blocks: The mapping's `optimizers` blocks.
        seed: Of the numbers that new variables are drawn with.
        is_comparison: Whether the template is what the result is compared with: what differs is no error then.
    """

    target_format: str
    dialects: tuple[str, ...] = ()
    holds_averages: bool = True
    averages: str = ""
    optimizer: str = "keep"
    dialect: str = ""
    natural: str = ""
    hyper: Mapping[str, float] = field(default_factory=dict)
    dtype: str = ""
    blocks: tuple[OptimizerBlock, ...] = ()
    seed: int = 0
    is_comparison: bool = False

    def keeps_keys(self, source: Checkpoint) -> bool:
        """Whether an untouched tensor keeps its stored key, and an object graph goes along with it."""
        return source.origin == self.target_origin or self.target_format in KEY_KEEPERS

    @property
    def target_origin(self) -> str:
        """The format whose names and keys the target has."""
        return "tf2" if self.target_format in OBJECT_BASED else self.target_format


@dataclass(frozen=True, slots=True)
class Planning:
    """One run of the planner: what it looks at, and the findings that it adds to."""

    source: Checkpoint
    template: Checkpoint | None
    options: PlanOptions
    issues: list[Issue] = field(default_factory=list)

    def report(self, issue: Issue) -> None:
        """Adds a finding."""
        self.issues.append(issue)
