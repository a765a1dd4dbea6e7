"""Real checkpoints that nobody here wrote read as their ground truth says: names, shapes, dtypes and every value.

The corpus is not part of the repository: it is looked for beside it, in ../shared/corpus.
"""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_SAFETENSORS
from ckptmigrate.formats import open_checkpoint

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
BOOKKEEPING = ("_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/OBJECT_CONFIG_JSON")


def entries():
    """(slug, path to open, name -> {dtype, shape, sha256}) of what the formats read here cover."""
    for file in sorted((CORPUS / "truth").glob("*.json")):
        told = json.loads(file.read_text())
        truth, folder = told["truth"], CORPUS / told["slug"]
        if told["kind"] == "tf_checkpoint":
            yield told["slug"], folder / told["entry"], truth["variables"]
        elif told["kind"] == "saved_model" and truth["variables_checkpoint"]:
            bundle = folder / told["entry"] / "variables" / "variables"
            yield told["slug"], bundle, truth["variables_checkpoint"]["variables"]
        elif told["kind"] == "safetensors":
            named = {k: v | {"dtype": BY_SAFETENSORS[v["dtype"]].name} for k, v in truth["tensors"].items()}
            yield told["slug"], folder / told["entry"], named


FOUND = [pytest.param(path, truth, id=slug) for slug, path, truth in entries()]
if not FOUND:
    FOUND = [pytest.param(None, None, marks=pytest.mark.skip(reason="no corpus at ../shared/corpus"))]


def digest(array):
    if array.dtype == object:
        return hashlib.sha256(b"".join(struct.pack("<Q", len(s)) + s for s in array.ravel())).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize(("path", "truth"), FOUND)
def test_reads_as_the_truth_says(path, truth):
    with open_checkpoint(path) as checkpoint:
        rows = list(checkpoint.rows())
        read = {r.key: (r.tensor.dtype.name, list(r.tensor.shape), digest(r.tensor.read())) for r in rows}
        read |= {key: read[v.key] for v in checkpoint.variables.values() for key in v.copies}
    said = {k: (v["dtype"], v["shape"], v["sha256"]) for k, v in truth.items() if not k.endswith(BOOKKEEPING)}
    assert read == said
    assert len(rows) <= len(said)
