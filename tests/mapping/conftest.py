"""Checkpoints made of names alone, and the proven pairs of detection models."""

import json
from pathlib import Path

import pytest

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.mapping.rules import Mapping
from ckptmigrate.table import Checkpoint, Tensor, Variable

MANIFESTS = Path(__file__).resolve().parents[2] / ".." / "shared" / "od_manifests"
SLOTS = ("/RMSProp", "/RMSProp_1", "/Momentum", "/Adam", "/Adam_1", "/ExponentialMovingAverage")
SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def checkpoint(variables, format="tf1"):
    """A checkpoint of variables, given as names, or as name -> shape, or as Variable."""
    shapes = variables if isinstance(variables, dict) else {}
    made = [
        v if isinstance(v, Variable) else Variable(v, Tensor(tuple(shapes.get(v, ())), BY_NAME["float32"]), v)
        for v in variables
    ]
    return Checkpoint(Path("test"), format, {v.name: v for v in made})


def variable(name, shape=(), role="weight", is_open=False, **aliases):
    """A variable with aliases: system -> name."""
    given = {system: (alias,) for system, alias in aliases.items()}
    return Variable(name, Tensor(tuple(shape), BY_NAME["float32"], is_open=is_open), name, role, aliases=given)


def role(name):
    return "counter" if name in ("global_step", "step", "save_counter") else "weight"


def layer_path(path, full_name):
    """The object path with each `layer_with_weights-N` read as the layer's own name."""
    layer = full_name.rpartition("/")[0]
    return "/".join(layer if part.startswith("layer_with_weights-") else part for part in path.split("/"))


def manifest(model, side):
    """The variables of one side of a model of the Object Detection API."""
    found = []
    for entry in json.loads((MANIFESTS / f"{model}.{side}.json").read_text())["variables"]:
        name = entry["name"]
        if side == "tf1":
            if not name.endswith(SLOTS):
                found.append(variable(name, entry["shape"], role(name)))
            continue
        path = entry["key"].removesuffix(SUFFIX)
        if entry["key"] != path and "/.OPTIMIZER_SLOT/" not in path and not path.startswith("optimizer/"):
            found.append(variable(path, entry["shape"], role(path), full_name=name, layer_path=layer_path(path, name)))
    return checkpoint(found, side)


@pytest.fixture(scope="session")
def manifests():
    if not MANIFESTS.is_dir():
        pytest.skip("the proven pairs of the Object Detection API are not at hand")
    return MANIFESTS


@pytest.fixture(name="checkpoint", scope="session")
def _checkpoint():
    return checkpoint


@pytest.fixture(name="variable", scope="session")
def _variable():
    return variable


@pytest.fixture(name="manifest", scope="session")
def _manifest(manifests):
    return manifest


@pytest.fixture
def run(tmp_path):
    """Assigns with a mapping given as text: run(text, source, template, ...) -> Assignment."""

    def run(text, source, template=None, **options):
        path = tmp_path / "m.yaml"
        path.write_text(f"ckptmigrate: 1\n{text}\n")
        given = [c if c is None or isinstance(c, Checkpoint) else checkpoint(c) for c in (source, template)]
        return Mapping.load(path).assign(*given, **options)

    return run
