"""Every fixture into every format and back: nothing is lost silently, and what is lost is a row in a table here."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from ckptmigrate import convert
from ckptmigrate.formats import FORMATS, open_checkpoint
from ckptmigrate.report import Report
from ckptmigrate.table import Checkpoint
from ckptmigrate.verification import diff, verify

WRITABLE = [f.name for f in FORMATS if f.writer is not None]
SUFFIXES = {"npz": ".npz", "safetensors": ".safetensors", "keras-v3": ".weights.h5"}
RATE = {"hyper": {"learning_rate": 0.01}}
BETAS = {"hyper": {"beta_1": 0.9, "beta_2": 0.999}}

# Their momentum follows another schedule than that of the Keras that v3 files are for.
NADAMS = ("k1_nadam", "k22_nadam", "k23_nadam", "tfk_legacy_nadam")

# Old Keras splits gates and may flip kernels: there is no way back from what rules make of them
OLD = ("k1", "k2_theano")

# (fixture, format) -> (what the refusal speaks of, the options that settle it): exit code 6
REFUSED: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("tf1-big_endian", "tf2"): ("learning rate", RATE),
    ("tf1-ema", "tf2"): ("learning rate", RATE),
    ("tf1-momentum", "tf2"): ("learning rate", {"dialect": "tf1"}),
    ("tf1-sharded", "tf2"): ("learning rate", RATE),
    ("tf1-sharded_partitions", "tf2"): ("learning rate", RATE),
    ("tf1-v1-sharded", "tf2"): ("learning rate", {"dialect": "tf1"}),
    ("tf2-keras2_adam", "tf1"): ("beta_1 and beta_2", BETAS),
    ("tf2-keras3_adam", "tf1"): ("beta_1 and beta_2", BETAS),
    ("tf2-keras2_gan", "tf1"): ("beta_1 and beta_2", BETAS),
    ("keras-v3-keras2_weights", "tf2"): ("whose slot", {"allow_loss": True}),
    ("tf2-keras_amsgrad", "tf1"): ("no AMSGrad", {"allow_loss": True}),
    **{(f"keras-h5-{n}", "keras-v3"): ("not portable", {"optimizer": "drop"}) for n in NADAMS},
    ("tf1-optimizers_held", "tf2"): ("no way from dialect tf1", {"dialect": "tf1"}),
    **{(f"tf2-optimizers_keras{n}", "tf1"): ("no ", {"optimizer": "drop"}) for n in (2, 3)},
    ("tf2-optimizers_legacy", "tf1"): ("kind nadam", {"dialect": "keras-legacy"}),
    ("keras-h5-tfk_legacy_amsgrad", "tf1"): ("no AMSGrad", {"allow_loss": True}),
}

# Formats that hold any dialect's state; to others it goes where arithmetic is known, else it has to be left out.
_ANY_DIALECT = ("npz", "safetensors")
KERAS = ("keras-h5", "keras-v3")
# Groups of v3 files are called after classes: a configuration tells them, or a template.
NO_CLASSES = "called after the classes of layers"
NO_PLACE = ("no ", {"optimizer": "drop", "allow_loss": True})
NO_WAY = ("no way from dialect", {"optimizer": "drop"})
# State of a Keras file that a name-based one can't take without being told more, or at all.
LEFT_OUT = ("", {"optimizer": "drop"})
# A legacy .h5 file holds numbers, one optimizer, and no averages beside it.
ONE_OPTIMIZER = ("one optimizer", {"optimizer": "drop"})
NO_RATE = ("learning rate", {"optimizer": "drop"})
NO_STRINGS = ("can't hold the element type", {"allow_loss": True})
IN_LAYERS = {
    **dict.fromkeys(("tf1-adam_scopes", "tf1-adam_twice", "tf1-keras_optimizers", "tf1-optimizers"), ONE_OPTIMIZER),
    **dict.fromkeys(("tf1-keras_optimizers_later", "tf1-optimizers_later"), ONE_OPTIMIZER),
    **dict.fromkeys(
        ("tf2-gan", "tf2-keras2_gan", *(f"tf2-optimizers_{name}" for name in ("legacy", "keras2", "keras3"))),
        ONE_OPTIMIZER,
    ),
    **dict.fromkeys(("tf1-big_endian", "tf1-momentum", "tf1-sharded", "tf1-sharded_partitions"), NO_RATE),
    "tf1-v1-sharded": NO_RATE,
    "tf1-ema": ("", {"optimizer": "drop", "allow_loss": True}),
    "tf1-optimizers_held": NO_WAY,
    **dict.fromkeys(("tf1-strings", "tf1-v1-strings", "tf2-stateful"), NO_STRINGS),
    "tf2-ema": ("averages", {"allow_loss": True}),
}

# (fixture, format) -> patterns of labels that don't come back as they were
CHANGED: dict[tuple[str, str], tuple[str, ...]] = {
    # a name-based file keeps neither the names of two Adams nor which beta powers are whose, unless scopes tell
    ("tf1-adam_scopes", "tf2"): ("*Adam*.beta?_power*",),
    ("tf2-gan", "tf1"): ("*_optimizer.*",),
    ("tf2-keras2_gan", "tf1"): ("*_optimizer.*",),
    **{(f"tf2-optimizers_keras{n}", "tf1"): ("*_optimizer.*", "*:?*") for n in (2, 3)},
    # left out as the refusal said
    ("keras-v3-keras2_weights", "tf2"): ("optimizer.*", "optimizer/vars/*:?"),
    ("tf2-keras_amsgrad", "tf1"): ("*:vhat",),
    # a wrapper counts its own steps, which may be others than those of what it wraps; TF1 has one counter
    ("keras-v3-keras3_loss_scale", "tf1"): ("optimizer/inner_optimizer.iter",),
    # TF1 stores nothing for plain gradient descent
    ("tf2-keras_sgd", "tf1"): ("optimizer.*",),
    # an iterator's state is a variant: only bundles hold it
    ("tf2-stateful", "npz"): ("iterator/*",),
    ("tf2-stateful", "safetensors"): ("iterator/*",),
}

# A SavedModel is object-based, too; those of the fixtures that hold TF1's names go the way of TF1's files.
REFUSED |= {(name, "keras-h5"): told for name, told in IN_LAYERS.items()}
REFUSED |= {(name, "savedmodel"): told for (name, to), told in REFUSED.items() if to == "tf2"}
CHANGED |= {(name, "savedmodel"): told for (name, to), told in CHANGED.items() if to == "tf2"}


def out(folder: Path, name: str, to: str) -> Path:
    return folder / f"{name}{SUFFIXES.get(to, '')}"


# A wrapper and the optimizer it wraps are one state in a plan, whose scalars go by other names.
WRAPPED = ("optimizer.step_counter", "optimizer.dynamic_scale", "optimizer/inner_optimizer.*")


def unaccounted(source: Path, report: Report) -> set[str]:
    """Tensors of the source that no row of the report speaks of."""
    told = {text for row in report.rows for text in (*row.source.split(", "), row.source)}
    with open_checkpoint(source) as checkpoint:
        left = {row.label for row in checkpoint.rows() if not told & {row.label, row.key}}
        return {label for label in left if not any(fnmatchcase(label, pattern) for pattern in WRAPPED)}


def way_back(checkpoint: Checkpoint) -> dict[str, Any]:
    """What the other kind of bundle doesn't keep: whose conventions they were, hyperparameters, steps."""
    state = next((o for o in checkpoint.optimizers if o.kind != "ema"), None)
    if state is None:
        return {}
    steps = {} if state.step is None or state.dialect == "tf1" else {"iter": state.step}
    settings = {"momentum": 0.5} if state.kind == "rmsprop" else {}  # of the newer Keras no file holds it
    return {"dialect": state.dialect, "hyper": {**settings, **state.hyper, **steps}}


def changes(report: Report) -> Iterator[str]:
    """Labels that don't come back as they were."""
    for row in report.rows:
        if row.outcome not in ("equal", "filled"):
            yield f"{row.name}:{row.slot}" if row.slot else row.name


@pytest.mark.parametrize("to", WRITABLE)
def test_there_and_back(small, to, tmp_path):
    name = f"{small.folder.parent.name}-{small.folder.name}"
    target, back = out(tmp_path, "there", to), small.format.removesuffix("-v1")
    report = convert(small.path, target, to=to)
    assert unaccounted(small.path, report) == set()
    refusal = REFUSED.get((name, to))
    if refusal is None and small.format in KERAS and to not in _ANY_DIALECT and report.exit_code:
        refusal = NO_PLACE if to == "keras-v3" else LEFT_OUT
    if to == "keras-v3" and small.folder.name.startswith(OLD) and report.exit_code == 0:
        assert verify(small.path, target).exit_code == 0
        return
    if any(NO_CLASSES in issue.message for issue in report.issues):
        assert (to, report.exit_code, report.verdict, list(tmp_path.iterdir())) == ("keras-v3", 6, "refused", [])
        return
    if refusal is not None:
        reason, options = refusal
        assert (report.exit_code, report.verdict, list(tmp_path.iterdir())) == (6, "refused", [])
        told = [i for i in report.issues if i.severity in ("error", "loss")]
        assert all(reason in i.message and i.hint for i in told)
        report = convert(small.path, target, to=to, **options)
        assert unaccounted(small.path, report) == set()
    assert (report.exit_code, report.verdict) == (0, "verified"), report.issues
    checked = verify(small.path, target)
    assert (checked.exit_code, checked.verdict) == (0, "verified"), list(changes(checked))

    # What comes back from a legacy .h5 file are names of layers: its own tests and the oracle's say what arrives.
    if back not in WRITABLE or "keras-h5" in (to, back if to not in _ANY_DIALECT else ""):
        return
    home = out(tmp_path, "back", back)
    with open_checkpoint(small.path) as source:
        told = way_back(source)
    options = {} if to in SUFFIXES or back in SUFFIXES else told
    if back == "keras-v3" and to not in SUFFIXES:
        options = {"hyper": {"learning_rate": 0.01, **told.get("hyper", {})}, "template": small.path}
    returned = convert(target, home, to=back, **options)
    assert (returned.exit_code, returned.verdict) == (0, "verified"), returned.issues
    changed, expected = set(changes(diff(small.path, home, rtol=1e-6))), CHANGED.get((name, to), ())
    if refusal in (NO_WAY, LEFT_OUT):
        expected = ("optimizer*", "*:?*")
    assert [c for c in changed if not any(fnmatchcase(c, pattern) for pattern in expected)] == []
    assert all(any(fnmatchcase(c, pattern) for c in changed) for pattern in expected), "it comes back: take the row out"
