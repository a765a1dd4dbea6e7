"""Renewal: a checkpoint of Keras 1, or of Keras 2 on Theano, as Keras 2 on TensorFlow would have stored it, lazily.

Reading changes nothing: values come as stored. What goes on to another Keras is converted by rules of the library,
which speak of variables by what old files tell of their layers (names of the system `old_keras`); the result is a
checkpoint that flavors, templates and pairing take like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from ckptmigrate.chosen import Chosen, MappingOptions
from ckptmigrate.issues import Issue, exit_code
from ckptmigrate.keras1_config import MODEL_CONFIG, class_of, translated
from ckptmigrate.mapping.chain import chained
from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import Plan, make_plan
from ckptmigrate.mapping.rules import Mapping as Rules
from ckptmigrate.provenance import Made
from ckptmigrate.table import Checkpoint, Layer, Variable

SYSTEM = "old_keras"
AUTO = "auto"
TARGETS = frozenset({"keras-h5", "keras-v3", "tf2", "savedmodel"})
VERSION = "2.2.4"  # of the files that the result is like: the last Keras with Keras 1's lists of optimizer state

_LAYER_PATH = "layer_path"
_NO_CLASSES = ("own", "unknown")
_RULES = {
    "keras1-tensorflow": "keras/keras1",
    "keras1-theano": "keras/keras1_theano",
    "keras2-theano": "keras/keras2_theano",
}


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is converted from, and how it came to be.

    Attributes:
        source: The checkpoint that mappings, templates and flavors see.
        asked: The mapping options that are left to be followed.
        plan: How `source` is made from the file; None when the file isn't old, or stays as it is.
        rules: {"name", "digest"} of the rules that were applied.
        issues: What there is to say of it.
    """

    source: Checkpoint
    asked: MappingOptions
    plan: Plan | None = None
    rules: Mapping[str, str] | None = None
    issues: tuple[Issue, ...] = ()

    def recalled(self, made: Made | None) -> Made | None:
        """How an output was made from `source`: less the rules that made `source` of the file."""
        if made is None or self.rules is None or made.mapping != self.rules["name"]:
            return made
        return replace(made, mapping="", digest="")

    def completed(self, chosen: Chosen, plan: Plan) -> tuple[Chosen, Plan]:
        """A choice and plan made from `source`, as made from the file."""
        if self.plan is None:
            return replace(chosen, issues=(*self.issues, *chosen.issues)), plan
        rules = chosen.provenance or dict(self.rules or {})
        issues = (*self.issues, *chosen.issues)
        return replace(chosen, provenance=rules, issues=issues), chained(self.plan, plan)


def renewed(source: Checkpoint, asked: MappingOptions, target: str) -> Renewal:
    """The checkpoint to convert: renewed where it is old and the target is for a Keras of today.

    Args:
        source: As read.
        asked: The mapping options; a mapping that speaks of `old_keras` names is followed here.
        target: The target format's id.

    Raises:
        MappingError: The mapping can't be read.
    """
    family = family_of(source)
    if not family:
        return Renewal(source, asked)
    rules = _asked_for(asked)
    if asked.reverse or asked.names or (rules is None and asked.mapping not in ("", AUTO)):
        message = "names and values are seen as the old Keras stored them, and kernels stay so"
        hint = (
            "without --mapping and --names, rules of the library bring them into the form that Keras 2 and later have"
        )
        return Renewal(source, asked, issues=(Issue("kernels", "note", "", message, hint),))
    left = replace(asked, mapping="")
    if rules is None and not asked.mapping and target not in TARGETS:
        message = "names and values stay as the old Keras stored them; this format is for no Keras in particular"
        hint = f"--mapping {AUTO} brings them into the form that Keras 2 and later have"
        return Renewal(source, left, issues=(Issue("kernels", "note", "", message, hint),))
    if rules is None and family not in _RULES:
        message = "kernels of convolutions are flipped if the backend was Theano, which nothing in the file tells"
        hint = "--mapping keras/keras1 where it was TensorFlow, --mapping keras/keras1_theano where it was Theano"
        return Renewal(source, left, issues=(Issue("needed", "error", "", message, hint),))
    return _applied(source, left, rules or Rules.load(_RULES[family]), is_given=rules is not None)


def family_of(source: Checkpoint) -> str:
    """`keras1-tensorflow`, `keras1-theano`, `keras1-unknown`, `keras2-theano`; "" for what isn't old."""
    first = next((v.aliases[SYSTEM][0] for v in _old(source)), "")
    return first.partition("/")[0]


def _old(source: Checkpoint) -> Iterator[Variable]:
    """The variables that rules for old Keras can speak of."""
    return (v for v in source.variables.values() if v.aliases.get(SYSTEM))


def _asked_for(asked: MappingOptions) -> Rules | None:
    """The mapping that the options name, where it speaks of old Keras' variables."""
    if asked.mapping in ("", AUTO):
        return None
    rules = Rules.load(asked.mapping)
    return rules if rules.source.names == SYSTEM else None


def _applied(source: Checkpoint, asked: MappingOptions, rules: Rules, *, is_given: bool) -> Renewal:
    drop = tuple(pattern for pattern in asked.drop if pattern.startswith(f"{family_of(source)}/"))
    asked = replace(asked, drop=tuple(pattern for pattern in asked.drop if pattern not in drop))
    plan = make_plan(source, rules.assign(source, drop=drop), None, PlanOptions("keras-h5", holds_averages=True))
    issues = [_spoken(issue, source, rules) for issue in plan.issues if issue.kind != "unused"]
    if exit_code(issues) == 0:
        changed = sum(bool(p.steps) for p in plan.planned if not p.optimizer)
        message = f"rules applied, {rules.title}: {len(plan.variables)} variables, {changed} of them by operations"
        issues.append(Issue("mapping", "note", rules.name, message))
        if rules.note and is_given:
            issues.append(Issue("mapping", "note", rules.name, rules.note.strip()))
    result, told = _result(source, plan)
    return Renewal(result, asked, plan, {"name": rules.name, "digest": rules.digest}, (*issues, *told))


def _spoken(issue: Issue, source: Checkpoint, rules: Rules) -> Issue:
    """What no rule takes, by the name that a rule could take it by."""
    if issue.kind != "unmatched":
        return issue
    called = source.variables[issue.name].aliases.get(SYSTEM, (issue.name,))[0]
    hint = f"a mapping that includes {rules.name} and takes {called} (docs/keras1.md); or --drop '{called}'"
    return replace(issue, message="no rule takes it: nothing tells how it is laid out", hint=hint)


def _result(source: Checkpoint, plan: Plan) -> tuple[Checkpoint, tuple[Issue, ...]]:
    """The plan's result as a file of Keras 2 would read."""
    variables = {name: replace(v, aliases={_LAYER_PATH: (name,)}) for name, v in plan.variables.items()}
    blobs = dict(source.structure.blobs)
    issues: tuple[Issue, ...] = ()
    is_first = family_of(source).startswith("keras1")
    if is_first:
        config, issues = translated(blobs.pop(MODEL_CONFIG, None))
        blobs = {**blobs, **config}
    made = plan.result()
    became = {label: p.name for p in plan.planned if p.group and not p.optimizer for label in p.group.labels}
    told = {v.name: v.aliases[SYSTEM][0].split("/")[1].partition(".")[0] for v in _old(source)} if is_first else {}
    classes = {name: class_name for name, class_name in told.items() if class_name not in _NO_CLASSES}
    layout = tuple(_layer(layer, became, classes) for layer in source.structure.layout or ())
    result = replace(
        made,
        path=source.path,
        format=source.format,
        files=source.files,
        variables=variables,
        optimizers=tuple(replace(state, order=()) for state in made.optimizers),
        structure=replace(source.structure, layout=layout or None, blobs=blobs),
        metadata={
            **source.metadata,
            "keras_version": VERSION if is_first else source.metadata.get("keras_version", VERSION),
            "backend": "tensorflow",
        },
        issues=source.issues,
    )
    return result, issues


def _layer(layer: Layer, became: Mapping[str, str], classes: Mapping[str, str]) -> Layer:
    """A layer with what its variables became, each in the place of its first source; its class as it is called now.

    Where the file tells no class, weights that stand in the layer itself do.
    """
    names = dict.fromkeys(became[name] for _, name in layer.attributes if name in became)
    own = {classes.get(name, "") for _, name in layer.attributes if name.count("/") == 1}
    known = layer.class_name or (own.pop() if len(own) == 1 else "")
    attributes = tuple((name.removeprefix(f"{layer.name}/"), name) for name in names)
    return replace(layer, class_name=class_of(known), attributes=attributes)
