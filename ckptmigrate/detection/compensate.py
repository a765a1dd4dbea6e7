"""SSD ResNet FPN for inference: values that make TF2's backbone compute what TF1's did.

TF1 keeps plain ReLU after residual additions and epsilon 1e-5 in the backbone; TF2 has RELU_6 and the configured
epsilon. Variances take the difference of the epsilons; the residual stream is scaled by 2^-12, so that nothing is
clipped at 6, and scaled back where it is read. Powers of two change no mantissa: P4 to P7 come out bit for bit.
"""

from __future__ import annotations

import re
from dataclasses import replace

from ckptmigrate.chosen import Chosen
from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.errors import UsageError
from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.operations import Operation
from ckptmigrate.table import Checkpoint

SCALE = 2.0**-12
_SLIM_EPSILON = 1e-5
_DEFAULT_EPSILON = 0.001  # of object_detection/protos/hyperparams.proto, BatchNorm
_WHERE = "--compensate inference"

# Endings of TF2 names below the backbone: what leaves the residual stream, and what reads it.
_WRITES = re.compile(r"conv\d_block\d+_[03]_bn/(gamma|beta)")
_READS = re.compile(r"conv\d_block\d+_1_conv/kernel|conv[345]_block1_0_conv/kernel|projection_\d/kernel")
_FIRST = "conv2_block1_1_conv/kernel"  # reads the stem, which isn't scaled


def revise(config: Pipeline, chosen: Chosen) -> Chosen:
    """The choice with the operations that compensate.

    Raises:
        UsageError: The model is none that this is for.
    """
    at = config.model("feature_extractor")
    if not config.extractor.startswith("ssd_resnet") or chosen.template is None:
        raise UsageError("--compensate inference is for SSD ResNet FPN models", where=config.where(*at, "type"))
    if not config.flag(False, *at, "override_base_feature_extractor_hyperparams"):
        raise UsageError("there is nothing to compensate: override_base_feature_extractor_hyperparams isn't on")
    epsilon = config.number(_DEFAULT_EPSILON, *at, "conv_hyperparams", "batch_norm", "epsilon")
    template = chosen.template
    moves = tuple(_compensated(move, _name(template, move), epsilon) for move in chosen.assignment.moves)
    return replace(chosen, assignment=replace(chosen.assignment, moves=moves))


def _name(template: Checkpoint, move: Move) -> str:
    variable = template.variables[move.targets[0]]
    full = variable.aliases.get("full_name", ("",))[0]
    in_backbone = "/classification_backbone/" in variable.name or "/projection_" in full
    return "/".join(full.split("/")[-2:]) if in_backbone else ""


def _compensated(move: Move, name: str, epsilon: float) -> Move:
    if name.endswith("/moving_variance"):
        return _with(move, "add", {"value": _SLIM_EPSILON - epsilon})
    if _WRITES.fullmatch(name):
        return _with(move, "scale", {"by": SCALE})
    if _READS.fullmatch(name) and name != _FIRST:
        return _with(move, "scale", {"by": 1 / SCALE})
    return move


def _with(move: Move, name: str, params: dict[str, float]) -> Move:
    return replace(move, operations=(*move.operations, Operation(name, params, _WHERE)))
