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
from ckptmigrate.errors import SourceError
from ckptmigrate.formats import open_checkpoint
from ckptmigrate.wire.graph_def import read_graph
from ckptmigrate.wire.tensor_proto import read_place

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
BOOKKEEPING = ("_CHECKPOINTABLE_OBJECT_GRAPH", "/.ATTRIBUTES/OBJECT_CONFIG_JSON")


def is_weight(constant):
    """Whether a constant of a frozen graph is one of its variables."""
    return constant["shape"] and ("float" in constant["dtype"] or constant["dtype"].startswith("q"))


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
            yield f"{told['slug']}-folder", folder / told["entry"], truth["variables_checkpoint"]["variables"]
        elif told["kind"] == "saved_model":
            yield told["slug"], folder / told["entry"], {}
        elif told["kind"] == "frozen_graph":
            yield told["slug"], folder / told["entry"], {k: v for k, v in truth["consts"].items() if is_weight(v)}
        elif told["kind"] == "h5" and "layer_order" in truth:
            yield told["slug"], folder / told["entry"], truth["datasets"]
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


def frozen():
    for file in sorted((CORPUS / "truth").glob("pb-*.json")):
        told = json.loads(file.read_text())
        yield pytest.param(CORPUS / told["slug"] / told["entry"], told["truth"]["consts"], id=told["slug"])


@pytest.mark.parametrize(("path", "truth"), list(frozen()))
def test_every_constant_of_a_graph(path, truth):
    """Integers, scalars and strings, too, which no checkpoint lists."""
    read = {}
    for constant in read_graph(path).constants:
        values = read_place(path, constant.place, constant.name)
        read[constant.name] = (constant.place.dtype.name, list(values.shape), digest(values))
    assert read == {k: (v["dtype"], v["shape"], v["sha256"]) for k, v in truth.items()}
    with open_checkpoint(path) as checkpoint:
        others = checkpoint.metadata["other_constants"]
        assert {*others["names"], *checkpoint.variables} == truth.keys()
        assert others["count"] == len(others["names"])


def saved_models():
    for file in sorted((CORPUS / "truth").glob("sm?-*.json")):
        told = json.loads(file.read_text())
        yield pytest.param(CORPUS / told["slug"] / told["entry"], told["truth"], id=told["slug"])


@pytest.mark.parametrize(("path", "truth"), list(saved_models()))
def test_signatures_assets_and_what_is_trainable(path, truth):
    with open_checkpoint(path) as checkpoint:
        graphs = checkpoint.metadata["meta_graphs"]
        trainable = {v.name: v.trainable for v in checkpoint.variables.values()}
        own = [v.aliases["full_name"][0] for v in checkpoint.variables.values() if "full_name" in v.aliases]
    for told, said in zip(graphs, truth["meta_graphs"], strict=True):
        assert told["tags"] == said["tags"]
        assert told["tensorflow"] == said["tf_version"]
        signatures = {n: (sorted(s["inputs"]), sorted(s["outputs"])) for n, s in told["signatures"].items()}
        assert signatures == {n: (sorted(s["inputs"]), sorted(s["outputs"])) for n, s in said["signatures"].items()}
        named = said["variables_in_collection"].get("trainable_variables", [])
        assert all(trainable[v["name"].removesuffix(":0")] for v in named)
        assert set(own) <= {v["name"] for v in said["saved_variables"]}
    assert {a for g in graphs for a in g["assets"]} == {p.name for p in (path / "assets").glob("*")}


@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus at ../shared/corpus")
def test_a_text_graph_is_answered():
    with pytest.raises(SourceError) as caught:
        open_checkpoint(CORPUS / "text-tfx-remote-op" / "input_names-ids_a.pbtxt")
    assert "as_text=False" in caught.value.hint


@pytest.mark.parametrize("slug", ["hdf5-h5py-s390x", "hdf5-h5py-vlen-string"])
def test_hdf5_that_is_no_keras_file_is_refused(slug):
    folder = CORPUS / slug
    if not folder.is_dir():
        pytest.skip("no corpus at ../shared/corpus")
    for format in ("", "keras-h5"):
        with pytest.raises(SourceError, match="not a Keras file"):
            open_checkpoint(next(folder.iterdir()), format)
