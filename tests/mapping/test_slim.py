"""Slim's classifiers by names and shapes of their variables: the one mapping meant for each, what it leaves out."""

import json
from pathlib import Path

import pytest

from ckptmigrate.mapping import library
from ckptmigrate.mapping.rules import Mapping

VARIABLES = Path(__file__).parent / "slim_variables"  # made by fixtures/make/slim_variables.py
NETS = sorted(path.stem for path in VARIABLES.glob("*.json"))


@pytest.fixture
def slim(checkpoint, variable):
    """A net's variables, and the step of its training."""

    def read(net):
        scopes = json.loads((VARIABLES / f"{net}.json").read_text())
        shapes = {f"{scope}/{leaf}": shape for scope, leaves in scopes.items() for leaf, shape in leaves.items()}
        step = variable("global_step", role="counter")
        return checkpoint([*(variable(name, shape) for name, shape in shapes.items()), step])

    return read


def test_every_net_is_here():
    assert len(NETS) == 12
    assert {f"keras/{net}" for net in NETS} < set(library.names())


@pytest.mark.parametrize("net", NETS)
def test_the_one_mapping(slim, net):
    assert library.auto(slim(net)) == f"keras/{net}"


@pytest.mark.parametrize("net", NETS)
def test_every_variable_goes_to_a_layer_of_its_own(slim, net):
    source = slim(net)
    assignment = Mapping.load(f"keras/{net}").assign(source, None)
    assert [issue for issue in assignment.findings if issue.severity != "note"] == []
    dropped = {drop.source for drop in assignment.drops}
    assert all("/AuxLogits/" in name for name in dropped)
    moved = [name for move in assignment.moves for name in move.sources]
    assert sorted(moved) == sorted(source.variables.keys() - dropped - {"global_step"})
    targets = [name for move in assignment.moves for name in move.targets] + [fill.target for fill in assignment.fills]
    assert len(targets) == len(set(targets))
    assert all(name.count("/") == 1 for name in targets)
