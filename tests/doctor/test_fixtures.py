"""Real checkpoints: nothing is found in them but what is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ckptmigrate.doctor import diagnose

ROOT = Path(__file__).resolve().parents[2] / "fixtures"
LISTINGS = sorted(path for path in ROOT.glob("*/*/listing.json"))

# Some were trained until they diverged, or filled with random numbers; in some the statistics were never updated.
THERE = {"nan", "batchnorm"}


CORPUS = ROOT.parents[1] / "shared" / "corpus"

# Checkpoints that nobody here wrote; what is found in them, by severity
REAL = {
    "v2-t2t-transformer/model.ckpt-1": [],
    "v2-dotnet-cifar/model.ckpt": [],
    "v2-tf2onnx-regression-winpath/model": [("error", "state")],  # C:\\src\\..., on a machine of somebody's
    "v2-lfads-65000/model-65000": [],
    "obj-tfx-tuner-1cba/checkpoint": [],
    "sm2-basicpitch-nmp": [],
    "h5-face-tiny-kdef/tiny_XCEPTION_KDEF.hdf5": [],
    "h5-genomic-cnn128/best_weights_cnn_128.hdf5": [],
}


@pytest.mark.parametrize("name", REAL)
def test_real_checkpoints(name: str) -> None:
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real checkpoints is not at hand")
    found = diagnose(CORPUS / name).findings
    assert [(i.severity, i.kind) for i in found if i.severity in ("error", "warning")] == REAL[name]


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda path: f"{path.parent.parent.name}/{path.parent.name}")
def test_no_false_alarm(listing: Path) -> None:
    found = diagnose(listing.parent / json.loads(listing.read_text("utf-8"))["entry"]).findings
    assert {issue.kind for issue in found if issue.severity == "error"} <= THERE
    assert not [issue for issue in found if issue.kind in ("slot", "leftover", "mixed", "state")]
