"""Initialisers: the values that new variables start with, drawn as Keras draws them, and the same for the same seed.

Facts: keras/src/initializers/random_initializers.py (Keras 3; tf.keras and tf_keras have the same numbers). Fans are
those of Keras' kernels: `(in, out)`, and `(*window, in, out)` for convolutions.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ckptmigrate.batchnorm import initial
from ckptmigrate.dtypes import DType
from ckptmigrate.steps import Shape
from ckptmigrate.table import Tensor

DEFAULT = "default"  # what Keras' layers start such a variable with
_STDDEV = 0.05  # of Keras' random_normal and truncated_normal, and the limit of its random_uniform
_CUT = 0.87962566103423978  # standard deviation of a normal distribution that is cut off at two of its own
_CUT_AT = 2.0
_SCALING = re.compile(r"(?P<family>glorot|he|lecun)_(?P<shape>uniform|normal)")
_STATED = re.compile(r"(?P<name>[a-z_]+)(?::(?P<number>[-+.\de]+))?")
_CONSTANT = {"zeros": 0.0, "ones": 1.0}

Draws = npt.NDArray[np.float64]
_DRAWN: dict[str, Callable[[np.random.Generator, Shape, float], Draws]] = {
    "normal": lambda rng, shape, stddev: rng.normal(0.0, stddev, shape),
    "truncated_normal": lambda rng, shape, stddev: stddev * _truncated(rng, shape),
    "uniform": lambda rng, shape, limit: rng.uniform(-limit, limit, shape),
}
WORDS = (
    *_CONSTANT,
    DEFAULT,
    *(f"{family}_{shape}" for family in ("glorot", "he", "lecun") for shape in ("uniform", "normal")),
    *_DRAWN,
)


def is_stated(value: str) -> bool:
    """Whether a text states how a variable starts: one of WORDS; normal, truncated_normal and uniform with `:NUMBER`.

    >>> is_stated("normal:0.02"), is_stated("zeros:1"), is_stated("xavier")
    (True, False, False)
    """
    found = _STATED.fullmatch(value)
    if found is None or found["name"] not in WORDS:
        return False
    return found["number"] is None or (found["name"] in _DRAWN and _is_positive(found["number"]))


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def settled(value: float | str, name: str, shape: Shape) -> float | str:
    """A stated value with `default` settled by what the variable is, and zeros and ones as numbers.

    Args:
        value: A number, or a text of `is_stated`.
        name: The variable's: its last part tells embeddings, and the parts of batch normalisations.
        shape: Kernels have at least two axes.

    >>> settled("default", "head/kernel", (8, 3)), settled("default", "head/bias", (3,)), settled("ones", "scale", ())
    ('glorot_uniform', 0.0, 1.0)
    """
    if value == DEFAULT:
        embeds = name.rpartition("/")[2].lstrip("_").startswith("embedding")
        value = initial(name) if len(shape) < 2 else "uniform" if embeds else "glorot_uniform"
    return _CONSTANT.get(value, value) if isinstance(value, str) else value


def tensor_of(value: float | str, name: str, shape: Shape, dtype: DType, seed: int) -> Tensor:
    """A lazy tensor of a settled value.

    Args:
        value: As `settled` gives it.
        name: The variable's: each draws numbers of its own.
        shape, dtype: Of the tensor; numbers are drawn in float64 and rounded once.
        seed: The run's.
    """
    if isinstance(value, str):
        return Tensor(shape, dtype, lambda: _drawn(value, name, shape, seed).astype(dtype.numpy))
    return Tensor(shape, dtype, lambda: np.full(shape, value).astype(dtype.numpy))


def _drawn(value: str, name: str, shape: Shape, seed: int) -> Draws:
    words = np.frombuffer(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest(), "<u4")
    rng = np.random.default_rng([seed, *map(int, words)])
    if scaling := _SCALING.fullmatch(value):
        into, out = _fans(shape)
        scale = {"glorot": 2 / (into + out), "he": 2 / into, "lecun": 1 / into}[scaling["family"]]
        if scaling["shape"] == "uniform":
            return _DRAWN["uniform"](rng, shape, math.sqrt(3 * scale))
        return _DRAWN["truncated_normal"](rng, shape, math.sqrt(scale) / _CUT)
    word, _, number = value.partition(":")
    return _DRAWN[word](rng, shape, float(number) if number else _STDDEV)


def _fans(shape: Shape) -> tuple[int, int]:
    """Inputs and outputs of a kernel's unit, at least 1 each."""
    if len(shape) < 2:
        return (shape or (1,))[0] or 1, (shape or (1,))[0] or 1
    window = math.prod(shape[:-2])
    return max(1, window * shape[-2]), max(1, window * shape[-1])


def _truncated(rng: np.random.Generator, shape: Shape) -> Draws:
    """Normal numbers; those beyond two standard deviations are drawn again."""
    values = rng.normal(size=math.prod(shape))
    while (beyond := np.flatnonzero(np.abs(values) > _CUT_AT)).size:
        values[beyond] = rng.normal(size=beyond.size)
    return values.reshape(shape)
