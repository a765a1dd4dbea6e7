"""safetensors files judged by the safetensors library, npz files by NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ckptmigrate.framework.compare import Finding, differing_values
from ckptmigrate.issues import Issue
from ckptmigrate.objects import VALUE_SUFFIX
from ckptmigrate.table import Checkpoint, Tensor


def check_safetensors(checkpoint: Checkpoint) -> Finding:
    """Every tensor that the library lists, read through `safetensors.safe_open`, one at a time."""
    import safetensors

    issues: list[Issue] = []
    tensors = {key: t for key, t in _members(checkpoint).items() if _safetensors_reads(t)}
    seen: set[str] = set()
    for path in checkpoint.files:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(str(path), framework="numpy") as file:
                mine = {key: tensors[key] for key in file.keys() if key in tensors}  # noqa: SIM118 - not a mapping
                issues += differing_values(mine, file.get_tensor)
            seen |= mine.keys()
    issues += _unseen(checkpoint, seen, "safetensors")
    return Finding(tuple(issues), {"checked_by": f"safetensors {safetensors.__version__}", "restored": len(seen)})


def _members(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Every tensor by its name in the file: its key, which object-based sources end in a suffix. Copies stand once."""
    return {entry.key.removesuffix(VALUE_SUFFIX): entry.tensor for entry in checkpoint.rows()}


def _safetensors_reads(tensor: Tensor) -> bool:
    # the library's NumPy side asks numpy itself for float8, which has none
    return bool(tensor.dtype.safetensors) and not tensor.dtype.safetensors.startswith("F8")


def check_npz(checkpoint: Checkpoint) -> Finding:
    """Every tensor that NumPy holds as an array of the same type, read by `numpy.load(allow_pickle=False)`."""
    tensors = _members(checkpoint)
    with np.load(Path(checkpoint.path), allow_pickle=False) as file:
        mine = {key: t for key, t in tensors.items() if key in file.files and _numpy_holds(t)}
        issues = [*differing_values(mine, lambda key: np.asarray(file[key]))]
    issues += _unseen(checkpoint, set(mine), "numpy")
    return Finding(tuple(issues), {"checked_by": f"numpy {np.__version__}", "restored": len(mine)})


def _numpy_holds(tensor: Tensor) -> bool:
    return tensor.dtype.is_raw and tensor.dtype.numpy.isbuiltin == 1


def _unseen(checkpoint: Checkpoint, seen: set[str], program: str) -> list[Issue]:
    """A tensor of a type that the program has but doesn't list is an error; other types are only noted."""
    reads = {"safetensors": _safetensors_reads, "numpy": _numpy_holds}[program]
    unseen = {key: t for key, t in _members(checkpoint).items() if key not in seen}
    issues = [Issue("framework", "error", key, f"{program} doesn't see this") for key, t in unseen.items() if reads(t)]
    if len(unseen) > len(issues):
        count = len(unseen) - len(issues)
        issues.append(Issue("framework", "note", "", f"{count} tensors are of types that {program} doesn't read"))
    return issues
