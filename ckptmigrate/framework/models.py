"""The child's side of a forward check: `python -m ckptmigrate.framework.models REQUEST.json` runs one of two models.

REQUEST is {"model": "PKG.MOD:FN", "side": source | target, "path", "cwd", "given", "folder", "answer"}. `given` lists
the inputs that the other side was given, none for the first. Answered is {"inputs": [...], "outputs": [...]}, entries
{"name", "file", "shape"} with the array in a .npy file of `folder`; or {"usage", "hint"}: what --model names isn't what
docs/forward.md describes; or {"failed"}: its code raised.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.framework.process import answer, asked

Array = np.ndarray[Any, Any]
PROTOCOL = "docs/forward.md says what --model names"
SEED = 0


class NotAModelError(Exception):
    """What --model names can't be imported, or isn't what it should be."""


def main() -> None:
    """Answers one request."""
    request = asked()
    os.chdir(request["cwd"])
    sys.path.append(request["cwd"])  # last: a numpy.py that lies there shadows nothing
    try:
        told = run(request)
    except NotAModelError as error:
        told = {"usage": str(error), "hint": PROTOCOL}
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is told, not raised
        told = {"failed": _told(error)}
    answer(request, told)


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Gives one model its inputs and keeps its outputs."""
    pair = load(request["model"])
    folder = Path(request["folder"])
    given = request["given"]
    inputs = {e["name"]: np.load(folder / e["file"]) for e in given} if given else inputs_of(pair)
    kept = given or keep(inputs, folder, "input")
    outputs = part(pair, request["side"])(request["path"], inputs)
    if not isinstance(outputs, Mapping) or not outputs:
        raise NotAModelError(f"{request['side']}() gave {_kind(outputs)}; expected a dict of output names and arrays")
    arrays = {str(name): numbers(str(name), value) for name, value in outputs.items()}
    return {"inputs": kept, "outputs": keep(arrays, folder, request["side"])}


def load(model: str) -> object:
    """Calls the function that `PKG.MOD:FN` names."""
    module, _, name = model.partition(":")
    try:
        found: Any = importlib.import_module(module)
    except Exception as error:  # a module's code may raise anything
        raise NotAModelError(f"--model {model}: {module} can't be imported: {_told(error)}") from error
    for attribute in name.split("."):
        if not hasattr(found, attribute):
            raise NotAModelError(f"--model {model}: {module} has no {name}")
        found = getattr(found, attribute)
    if not callable(found):
        raise NotAModelError(f"--model {model}: expected a function, found {_kind(found)}")
    return found()


def part(pair: object, name: str) -> Callable[[str, dict[str, Array]], object]:
    """The function `source` or `target` of a pair, which is a dict or any object."""
    found = _get(pair, name)
    if not callable(found):
        raise NotAModelError(f"no function {name!r} in what --model gives, {_kind(pair)}")
    function: Callable[[str, dict[str, Array]], object] = found
    return function


def inputs_of(pair: object) -> dict[str, Array]:
    """The inputs: arrays as they are, and arrays of normal numbers where only a shape is given."""
    inputs = _get(pair, "inputs")
    if not isinstance(inputs, Mapping):
        raise NotAModelError(f"no dict 'inputs' in what --model gives, found {_kind(inputs)}")
    seed = _get(pair, "seed")
    random = np.random.default_rng(seed if isinstance(seed, int) else SEED)
    return {str(name): _input(str(name), value, random) for name, value in inputs.items()}


def _input(name: str, value: object, random: np.random.Generator) -> Array:
    if isinstance(value, tuple) and all(isinstance(size, int) for size in value):
        return random.standard_normal(value).astype(np.float32)
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise NotAModelError(f"input {name!r} is neither an array nor a shape: {_kind(value)}")
    return array


def numbers(name: str, value: object) -> Array:
    """An output as an array of a type that NumPy can write; bfloat16 and the like as float32."""
    array = np.asarray(value)
    if array.dtype.kind in "biufc":
        return array
    if array.dtype.kind in "OSUMm":
        raise NotAModelError(f"output {name!r} is {_kind(value)} of dtype {array.dtype}; expected numbers")
    return array.astype(np.float32)


def keep(arrays: Mapping[str, Array], folder: Path, stem: str) -> list[dict[str, Any]]:
    """Writes arrays into files of the folder; gives their names, files and shapes in order."""
    kept = []
    for number, (name, array) in enumerate(arrays.items()):
        file = f"{stem}-{number}.npy"
        np.save(folder / file, array, allow_pickle=False)
        kept.append({"name": name, "file": file, "shape": list(array.shape)})
    return kept


def _get(pair: object, name: str) -> object:
    return pair.get(name) if isinstance(pair, Mapping) else getattr(pair, name, None)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _told(error: BaseException) -> str:
    """An exception in one line, with the last place in a file of the user's where there is one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    own = [f for f in frames if Path(f.filename).parent == Path.cwd()] or frames
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {str(error).strip()[:2000]}{where}"


if __name__ == "__main__":
    main()
