"""The child's side of a forward check: `python -m ckptmigrate.framework.models REQUEST.json` runs one of two models.

REQUEST is {"model": "PKG.MOD:FN", "side": source | target, "path", "cwd", "given", "folder", "answer"}. `given` lists
the inputs that the other side was given, none for the first. Answered is {"inputs": [...], "outputs": [...]}, entries
{"name", "file", "shape"} with the array in a .npy file of `folder`; or what `given.serve` answers for code that fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ckptmigrate.framework import given


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Gives one model its inputs and keeps its outputs."""
    pair, side = given.load(request["model"]), request["side"]
    folder, entries = Path(request["folder"]), request["given"]
    inputs = given.kept(entries, folder) if entries else inputs_of(pair)
    entries = entries or given.keep(inputs, folder, "input")
    outputs = given.function(pair, side)(request["path"], inputs)
    arrays = given.arrays_of(outputs, f"{side}()", "output")
    return {"inputs": entries, "outputs": given.keep(arrays, folder, side)}


def inputs_of(pair: object) -> given.Arrays:
    """The inputs: arrays as they are, and arrays of normal numbers where only a shape is given."""
    inputs = given.get(pair, "inputs")
    if not isinstance(inputs, Mapping):
        raise given.NotAModelError(f"no dict 'inputs' in what --model gives, found {given.kind(inputs)}")
    return given.drawn(inputs, given.random_of(pair), "input")


if __name__ == "__main__":
    given.serve(run)
