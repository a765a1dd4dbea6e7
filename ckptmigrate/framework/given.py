"""What `--model PKG.MOD:FN` names, in the child that runs it: loading, its parts, and arrays in and out.

A child answers {"usage"}: what --model names isn't what its protocol describes; or {"failed"}: its code raised.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckptmigrate.framework.process import answer, asked

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Entries = Sequence[Mapping[str, Any]]  # {"name", "file", "shape"}: arrays in .npy files of a folder

SEED = 0


class NotAModelError(Exception):
    """What --model names can't be imported, or isn't what it should be."""


def serve(run: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Answers the request of this process with what `run` makes of it."""
    request = asked()
    os.chdir(request["cwd"])
    sys.path.append(request["cwd"])  # last: a numpy.py that lies there shadows nothing
    try:
        told = run(request)
    except NotAModelError as error:
        told = {"usage": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever the user's code raises is told, not raised
        told = {"failed": _told(error)}
    answer(request, told)


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
        raise NotAModelError(f"--model {model}: expected a function, found {kind(found)}")
    return found()


def get(thing: object, name: str) -> Any:
    """A part of a dict or of any object; None where it has none."""
    return thing.get(name) if isinstance(thing, Mapping) else getattr(thing, name, None)


def function(thing: object, name: str, of: str = "what --model gives") -> Callable[..., object]:
    """The function of that name in a dict or any object, which is called `of` in the message."""
    found = get(thing, name)
    if not callable(found):
        raise NotAModelError(f"no function {name!r} in {of}, {kind(thing)}")
    given: Callable[..., object] = found
    return given


def random_of(pair: object) -> np.random.Generator:
    """Random numbers from the pair's `seed`."""
    seed = get(pair, "seed")
    return np.random.default_rng(seed if isinstance(seed, int) else SEED)


def drawn(given: Mapping[str, object], random: np.random.Generator, what: str) -> Arrays:
    """Arrays as they are, and normal float32 numbers where only a shape is given.

    Args:
        given: Name -> array or shape.
        random: Where the numbers come from.
        what: What these are called in a message: input, batch.
    """
    return {str(name): _drawn(f"{what} {str(name)!r}", value, random) for name, value in given.items()}


def _drawn(what: str, value: object, random: np.random.Generator) -> Array:
    if isinstance(value, tuple) and all(isinstance(size, int) for size in value):
        return random.standard_normal(value).astype(np.float32)
    array = np.asarray(value)
    if array.dtype.hasobject:
        raise NotAModelError(f"{what} is neither an array nor a shape: {kind(value)}")
    return array


def arrays_of(given: object, called: str, what: str) -> Arrays:
    """The arrays that a function of the user's gave.

    Args:
        given: What it gave; expected a dict of names and whatever `numpy.asarray` takes.
        called: The function in a message: `source()`.
        what: What its arrays are: output, weight.
    """
    if not isinstance(given, Mapping) or not given:
        raise NotAModelError(f"{called} gave {kind(given)}; expected a dict of {what} names and arrays")
    return {str(name): numbers(f"{what} {str(name)!r}", value) for name, value in given.items()}


def numbers(what: str, value: object) -> Array:
    """An array of a type that NumPy can write; bfloat16 and the like as float32."""
    array = np.asarray(value)
    if array.dtype.kind in "biufc":
        return array
    if array.dtype.kind in "OSUMm":
        raise NotAModelError(f"{what} is {kind(value)} of dtype {array.dtype}; expected numbers")
    return array.astype(np.float32)


def keep(arrays: Mapping[str, Array], folder: Path, stem: str) -> list[dict[str, Any]]:
    """Writes arrays into files of the folder; gives their names, files and shapes in order."""
    kept = []
    for number, (name, array) in enumerate(arrays.items()):
        file = f"{stem}-{number}.npy"
        np.save(folder / file, array, allow_pickle=False)
        kept.append({"name": name, "file": file, "shape": list(array.shape)})
    return kept


def kept(entries: Entries, folder: Path) -> Arrays:
    """The arrays that `keep` wrote."""
    return {entry["name"]: np.load(folder / entry["file"]) for entry in entries}


def kind(value: object) -> str:
    """What a value is, in a message."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _told(error: BaseException) -> str:
    """An exception in one line, with the last place in a file of the user's where there is one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    own = [f for f in frames if Path(f.filename).parent == Path.cwd()] or frames
    where = f" ({Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {str(error).strip()[:2000]}{where}"
