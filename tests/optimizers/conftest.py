"""Tensors by shape or by value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from ckptmigrate.dtypes import BY_NAME
from ckptmigrate.table import Tensor


def _unread() -> np.ndarray[Any, Any]:
    raise AssertionError("only scalars may be read")


class Make:
    """Makes tensors: unreadable ones of a shape, readable ones of a value."""

    @staticmethod
    def shaped(shape: Sequence[int], dtype: str = "float32") -> Tensor:
        return Tensor(tuple(shape), BY_NAME[dtype], _unread)

    @staticmethod
    def value(value: Any, dtype: str = "float32") -> Tensor:
        return Tensor.of(np.array(value, BY_NAME[dtype].numpy), BY_NAME[dtype])

    @classmethod
    def table(cls, entries: Mapping[str, Any]) -> dict[str, Tensor]:
        """Lists are shapes, floats are float32 scalars, ints are int64 scalars."""
        made = {}
        for key, entry in entries.items():
            if isinstance(entry, list):
                made[key] = cls.shaped(entry)
            else:
                made[key] = cls.value(entry, "int64" if isinstance(entry, int) else "float32")
        return made


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
