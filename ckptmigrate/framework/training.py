"""The child's side of a resume check: `python -m ckptmigrate.framework.training REQUEST.json` trains one side on.

REQUEST is {"model": "PKG.MOD:FN", "side": source | target | fresh, "path", "cwd", "steps", "batches", "folder",
"answer"}. `batches` lists the batches that the other side was given, none for the first. Answered is {"batches": [...],
"states": [...], "has_fresh"}: a list of entries for each batch, and {"loss", "weights", "slots"} as restored and after
each step, where entries are {"name", "file", "shape"} with the array in a .npy file of `folder`; or what `given.serve`
answers for code that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from ckptmigrate.framework import given


def run(request: Mapping[str, Any]) -> dict[str, Any]:
    """Lets one side restore, train and tell after each step where it is."""
    pair, side, folder = given.load(request["model"]), request["side"], Path(request["folder"])
    entries = request["batches"]
    if not entries:
        batches = islice(batches_of(pair), request["steps"])
        entries = [given.keep(batch, folder, f"batch-{number}") for number, batch in enumerate(batches)]
    training = given.function(pair, side)(request["path"])
    states = [_state(training, side, None, folder, 0)]
    shapes = _shapes(states[0])
    for number, batch in enumerate(entries, 1):
        loss = given.function(training, "step", f"what {side}() gives")(given.kept(batch, folder))
        states.append(_state(training, side, _loss(loss), folder, number))
        if _shapes(states[-1]) != shapes:
            raise given.NotAModelError(f"weights() of the {side} gave other names or shapes after step {number}")
    return {"batches": entries, "states": states, "has_fresh": given.get(pair, "fresh") is not None}


def batches_of(pair: object) -> Iterator[given.Arrays]:
    """The batches without end: a list again from its beginning, shapes with new numbers for each step."""
    batches = given.get(pair, "batches")
    random = given.random_of(pair)
    if isinstance(batches, Mapping) and batches:
        while True:
            yield given.drawn(batches, random, "batch")
    if isinstance(batches, Sequence) and batches and all(isinstance(batch, Mapping) for batch in batches):
        yield from cycle([given.drawn(batch, random, "batch") for batch in batches])
    expected = "expected a dict of names and shapes, or a list of dicts of names and arrays"
    raise given.NotAModelError(f"no 'batches' in what --model gives, found {given.kind(batches)}; {expected}")


def _state(training: object, side: str, loss: float | None, folder: Path, number: int) -> dict[str, Any]:
    weights = given.function(training, "weights", f"what {side}() gives")()
    stem = f"{side}-{number}"
    kept = given.keep(given.arrays_of(weights, "weights()", "weight"), folder, stem)
    slots = {
        slot: given.keep(arrays, folder, f"{stem}-slot-{place}")
        for place, (slot, arrays) in enumerate(_slots(training).items())
    }
    return {"loss": loss, "weights": kept, "slots": slots}


def _shapes(state: Mapping[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry["shape"] for entry in state["weights"]}


def _slots(training: object) -> dict[str, given.Arrays]:
    """What the optional `slots()` gives: slot -> variable -> array."""
    if given.get(training, "slots") is None:
        return {}
    slots = given.function(training, "slots")()
    if not isinstance(slots, Mapping) or not all(isinstance(arrays, Mapping) for arrays in slots.values()):
        expected = "a dict: slot name -> dict: weight name -> array"
        raise given.NotAModelError(f"slots() gave {given.kind(slots)}; expected {expected}")
    return {str(slot): given.arrays_of(arrays, "slots()", str(slot)) for slot, arrays in slots.items() if arrays}


def _loss(value: object) -> float:
    array = given.numbers("the loss that step() gave", value)
    if array.size != 1 or array.dtype.kind == "c":
        raise given.NotAModelError(f"step() gave an array of shape {list(array.shape)}; expected the loss, a number")
    return float(array.reshape(-1)[0])


if __name__ == "__main__":
    given.serve(run)
