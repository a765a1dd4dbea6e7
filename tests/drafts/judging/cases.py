"""The pairs whose mapping is known: Keras' files of one model, the library's mappings, proven pairs of detectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckptmigrate.mapping.options import PlanOptions
from ckptmigrate.mapping.plan import make_plan
from ckptmigrate.mapping.rules import Mapping as Rules
from ckptmigrate.table import Checkpoint
from judging.case import MODES, Case, checkpoint, plain, shuffled, variable

HERE = Path(__file__).resolve().parents[1]
TABLES = HERE / "tables"  # made by fixtures/make/keras_applications.py
SLIM = HERE.parent / "mapping" / "slim_variables"
MANIFESTS = HERE.parents[1] / ".." / "shared" / "od_manifests"
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"

# How people come by two files of one model, and the formats that the two have.
ROADS = {
    "tf_keras .h5 to keras3 weights.h5": ("keras-h5", "keras-v3"),
    "tf_keras .h5 to tf_keras checkpoint": ("keras-h5", "tf2"),
    "tf1 to keras3 .keras": ("tf1", "keras-v3"),
    "tf1 to tf_keras checkpoint": ("tf1", "tf2"),
    "tf_keras checkpoint to keras3 weights.h5": ("tf2", "keras-v3"),
    "keras3 weights.h5 to tf1": ("keras-v3", "tf1"),
}
_VALUED = {  # whose values are compared, too
    ("mobilenet_v2", "tf_keras .h5 to keras3 weights.h5"),
    ("mobilenet_v2", "tf1 to tf_keras checkpoint"),
}


def cases() -> Iterator[Case]:
    """Every case that is at hand."""
    yield from keras_files()
    yield from slim_nets()
    yield from detectors()
    yield from texts()


def keras_files() -> Iterator[Case]:
    """Two files of one model, each as Keras wrote it: which variable is which was read from the values."""
    for path in sorted(TABLES.glob("*.json")):
        table = json.loads(path.read_text("utf-8"))
        if "shapes" not in table:
            continue
        for road, formats in ROADS.items():
            near, far = (table[kind] for kind in road.split(" to "))
            numbers = {number: name for number, name, _ in near}
            source, target = (_listed(side, table["shapes"], f) for side, f in zip((near, far), formats, strict=True))
            truth = {name: plain(numbers[number], name) for number, name, _ in far}
            modes = MODES if (path.stem, road) in _VALUED else MODES[:2]
            yield Case("keras.applications", f"{path.stem}, {road}", source, target, truth, modes)


def _listed(rows: list[Any], shapes: list[list[int]], format_name: str) -> Checkpoint:
    return checkpoint((variable(name, shapes[number], **aliases) for number, name, aliases in rows), format_name)


def slim_nets() -> Iterator[Case]:
    """Slim's classifiers to Keras Applications, by the library's mappings."""
    targets = json.loads((TABLES / "slim_targets.json").read_text("utf-8"))
    for path in sorted(SLIM.glob("*.json")):
        scopes = json.loads(path.read_text("utf-8"))
        shapes = {f"{scope}/{leaf}": shape for scope, leaves in scopes.items() for leaf, shape in leaves.items()}
        source = checkpoint((variable(name, shapes[name]) for name in sorted(shapes)), "tf1")
        target = checkpoint((variable(name, shape) for name, shape in targets[path.stem]), "keras-h5")
        yield by_rules(f"keras/{path.stem}", ("slim to keras", path.stem), source, target)


def detectors() -> Iterator[Case]:
    """Detection models of TF1 and TF2, by pairs that were proven with the models themselves."""
    for path in sorted((MANIFESTS / "pairs").glob("*.json")) if MANIFESTS.is_dir() else ():
        near, far = (_manifest(path.stem, side) for side in ("tf1", "tf2"))
        names = {name.removesuffix(SUFFIX): name for name in far}
        source = checkpoint((variable(name, shape) for name, (shape, _) in near.items()), "tf1")
        target = checkpoint((variable(n, far[key][0], full_name=far[key][1]) for n, key in names.items()), "tf2")
        pairs = json.loads(path.read_text("utf-8"))
        truth = {
            to: plain(n, to) for n, p in pairs.items() if not p["transform"] and (to := p["tf2"].removesuffix(SUFFIX))
        }
        target = checkpoint((v for v in target.variables.values() if v.name in truth), "tf2")  # less what was padded
        yield Case("detection", path.stem, source, target, truth)


def _manifest(model: str, side: str) -> dict[str, tuple[list[int], str]]:
    """Key -> shape and full name of a model's own variables."""
    slots = ("/RMSProp", "/RMSProp_1", "/Momentum", "/Adam", "/Adam_1", "/ExponentialMovingAverage")
    counters = {"global_step", f"step{SUFFIX}", f"save_counter{SUFFIX}"}
    found = {}
    for entry in json.loads((MANIFESTS / f"{model}.{side}.json").read_text("utf-8"))["variables"]:
        key = entry.get("key", entry["name"])
        is_own = key.endswith(SUFFIX) and not key.startswith("optimizer/") if side == "tf2" else not key.endswith(slots)
        if is_own and key not in counters and "/.OPTIMIZER_SLOT/" not in key:
            found[key] = (entry["shape"], entry["name"])
    return found


def texts() -> Iterator[Case]:
    """BERT and GPT-2 to Hugging Face, and TF1's LSTM cells to Keras, by the library's mappings."""
    for name, rules, shapes in (
        ("bert, 2 layers", "text/bert_model", bert(2, 8, 32, 50)),
        ("bert, 12 layers", "text/bert_model", bert(12, 24, 96, 300)),
        ("gpt2, 2 layers", "text/gpt2_model", gpt2(2, 8, 50)),
        ("gpt2, 12 layers", "text/gpt2_model", gpt2(12, 24, 300)),
        ("lstm", str(Path(__file__).with_name("lstm.yaml")), lstm(2, 6, 4)),
    ):
        source = checkpoint((variable(n, shapes[n]) for n in sorted(shapes)), "tf1")
        yield by_rules(rules, ("text", name), source, None)


def bert(layers: int, width: int, inner: int, words: int) -> dict[str, tuple[int, ...]]:
    """Google's BERT."""
    found: dict[str, tuple[int, ...]] = {
        "bert/embeddings/word_embeddings": (words, width),
        "bert/embeddings/position_embeddings": (40, width),
        "bert/embeddings/token_type_embeddings": (2, width),
        **_dense("bert/pooler/dense", width, width),
        **_scale("bert/embeddings/LayerNorm", width),
    }
    for layer in (f"bert/encoder/layer_{i}" for i in range(layers)):
        for part in ("attention/self/query", "attention/self/key", "attention/self/value", "attention/output/dense"):
            found |= _dense(f"{layer}/{part}", width, width)
        found |= _dense(f"{layer}/intermediate/dense", width, inner) | _dense(f"{layer}/output/dense", inner, width)
        found |= _scale(f"{layer}/attention/output/LayerNorm", width) | _scale(f"{layer}/output/LayerNorm", width)
    return found


def gpt2(layers: int, width: int, words: int) -> dict[str, tuple[int, ...]]:
    """OpenAI's GPT-2: kernels with an axis in front."""
    found: dict[str, tuple[int, ...]] = {"model/wte": (words, width), "model/wpe": (40, width)}
    found |= {f"model/ln_f/{leaf}": (width,) for leaf in "gb"}
    for layer in (f"model/h{i}" for i in range(layers)):
        found |= {f"{layer}/ln_{k}/{leaf}": (width,) for k in (1, 2) for leaf in "gb"}
        for part, (into, out) in {
            "attn/c_attn": (width, 3 * width), "attn/c_proj": (width, width),
            "mlp/c_fc": (width, 4 * width), "mlp/c_proj": (4 * width, width),
        }.items():  # fmt: skip
            found |= {f"{layer}/{part}/w": (1, into, out), f"{layer}/{part}/b": (out,)}
    return found


def lstm(cells: int, into: int, units: int) -> dict[str, tuple[int, ...]]:
    """TensorFlow 1's LSTM cells."""
    return {
        f"rnn/multi_rnn_cell/cell_{i}/lstm_cell/{leaf}": shape
        for i in range(cells)
        for leaf, shape in {"kernel": (into + units, 4 * units), "bias": (4 * units,)}.items()
    }


def _dense(layer: str, into: int, out: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}/kernel": (into, out), f"{layer}/bias": (out,)}


def _scale(layer: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{layer}/gamma": (width,), f"{layer}/beta": (width,)}


def by_rules(rules: str, title: tuple[str, str], source: Checkpoint, target: Checkpoint | None) -> Case:
    """A case of the library: without a target, that which the mapping makes, in an order that tells nothing."""
    assignment = Rules.load(rules).assign(source, target)
    plan = make_plan(source, assignment, target, PlanOptions(target_format="npz"))
    modes = MODES[:2] if target is not None else MODES
    if target is None:
        made = {p.name: p.tensor.shape for p in plan.planned}
        target = checkpoint((variable(n, made[n]) for n in shuffled(made)), "npz")
    truth = {name: move for move in assignment.moves for name in move.targets}
    return Case(*title, source, target, truth, modes)
