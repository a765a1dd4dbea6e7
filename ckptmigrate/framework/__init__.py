"""Checks by the original programs: TensorFlow, safetensors and NumPy read what we wrote, in a process of their own."""

from ckptmigrate.framework.check import check

__all__ = ["check"]
