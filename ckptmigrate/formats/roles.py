"""What a variable is for, guessed from its name where a file doesn't tell."""

from __future__ import annotations

from ckptmigrate.dtypes import STRING, DType
from ckptmigrate.table import Role

# Last segment of the name -> role: TensorFlow's and Keras' names, then PyTorch's.
_STATISTICS: dict[str, Role] = {
    "moving_mean": "bn_mean",
    "moving_variance": "bn_variance",
    "running_mean": "bn_mean",
    "running_var": "bn_variance",
    "running_std": "bn_variance",  # Keras 1 called the variance so
}
_COUNTERS = frozenset({"global_step", "save_counter", "iterations", "iteration", "step", "num_batches_tracked"})
_RANDOM = frozenset({"seed_generator_state", "_state_var"})


def role_of(name: str, dtype: DType, shape: tuple[int, ...]) -> Role:
    """The role that a variable's name, type and shape suggest; "weight" when nothing else does.

    >>> from ckptmigrate.dtypes import FLOAT32, INT64
    >>> role_of("bn/moving_mean", FLOAT32, (8,)), role_of("layer1.0.bn1.running_var", FLOAT32, (8,))
    ('bn_mean', 'bn_variance')
    >>> role_of("global_step", INT64, ())
    'counter'
    """
    leaf = name.replace(".", "/").removesuffix(":0").rsplit("/", 1)[-1]
    if leaf in _STATISTICS:
        return _STATISTICS[leaf]
    if not dtype.is_float and shape in ((), (1,)) and leaf in _COUNTERS:
        return "counter"
    if leaf in _RANDOM and not dtype.is_float:
        return "rng"
    return "other" if dtype is STRING else "weight"
