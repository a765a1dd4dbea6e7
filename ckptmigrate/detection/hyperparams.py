"""What a `Hyperparams` message makes of the layers it is for: with batch norm or bias, with gamma or without."""

from __future__ import annotations

from dataclasses import dataclass

from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.tracked import Tracked, batch_norm, conv, plain


@dataclass(frozen=True, slots=True)
class Hyperparams:
    """Layer settings (object_detection/builders/hyperparams_builder.py, KerasLayerHyperparams).

    Attributes:
        has_norm: Whether convolutions are followed by batch normalisation; where they aren't, they have a bias.
        has_gamma: Whether that has a scale.
    """

    has_norm: bool
    has_gamma: bool

    @classmethod
    def of(cls, config: Pipeline, *path: str) -> Hyperparams:
        """The settings of the message at a path."""
        has_norm = config.document.has(*path, "batch_norm")
        return cls(has_norm, has_norm and config.flag(False, *path, "batch_norm", "scale"))

    @property
    def has_bias(self) -> bool:
        """Whether convolutions have a bias of their own."""
        return not self.has_norm

    def conv(self, name: str) -> Tracked:
        """A convolution that is normalised, or has a bias."""
        return conv(name, bias=self.has_bias)

    def normalised(self, item: Tracked, name: str) -> list[Tracked]:
        """A layer, its batch norm (in whose place an identity stands where there is none), an activation."""
        return [item, batch_norm(name, gamma=self.has_gamma) if self.has_norm else plain(), plain()]
