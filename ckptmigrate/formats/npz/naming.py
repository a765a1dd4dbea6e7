"""Names inside a NumPy archive."""

from __future__ import annotations

FORMAT_ID = "npz"
SUFFIX = ".npz"
ARRAY_SUFFIX = ".npy"  # of every array's member; numpy.load takes it off again
DOCUMENT = "__ckptmigrate__.json"  # the member that holds the document


def is_array(member: str) -> bool:
    """Whether a member of the archive is an array."""
    return member.endswith(ARRAY_SUFFIX)


def tensor_name(member: str) -> str:
    """The array's name, as numpy.load lists it.

    >>> tensor_name("conv/kernel.npy")
    'conv/kernel'
    """
    return member.removesuffix(ARRAY_SUFFIX)
