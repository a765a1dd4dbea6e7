"""What a `Hyperparams` message makes of the layers it is for: with batch norm or bias, with gamma or without."""

from __future__ import annotations

from dataclasses import dataclass

from ckptmigrate.detection.pipeline import Pipeline
from ckptmigrate.detection.tracked import Shape, Tracked, batch_norm, conv, depthwise, plain, separable


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

    def conv(self, name: str, norm: str, kernel: Shape) -> list[Tracked]:
        """A convolution, its batch norm, an activation."""
        return self.normalised(conv(name, kernel, bias=not self.has_norm), norm, kernel[-1])

    def separable(self, name: str, norm: str, kernel: Shape) -> list[Tracked]:
        """A separable convolution in place of one with that kernel, its batch norm, an activation."""
        return self.normalised(separable(name, kernel, bias=not self.has_norm), norm, kernel[-1])

    def depthwise(self, name: str, norm: str, size: int, channels: int) -> list[Tracked]:
        """A depthwise convolution, its batch norm, an activation."""
        return self.normalised(depthwise(name, size, channels), norm, channels)

    def normalised(self, item: Tracked, norm: str, channels: int) -> list[Tracked]:
        """A layer, its batch norm (in whose place an identity stands where there is none), an activation."""
        return [item, batch_norm(norm, channels, gamma=self.has_gamma) if self.has_norm else plain(), plain()]
