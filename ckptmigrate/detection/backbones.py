"""The Keras backbones of the TF2 Object Detection API: their layers in the order of the functional models.

Facts: object_detection/models/keras_models/{mobilenet_v1,mobilenet_v2,resnet_v1,inception_resnet_v2}.py and the
Keras applications that those wrap; each is compared with graphs and variables of the real models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckptmigrate.detection.tracked import Shape, Tracked, batch_norm, conv, depthwise, functional, plain, shaped_input

_V1_FILTERS = (64, 128, 128, 256, 256, *(512,) * 6, 1024, 1024)
V2_FILTERS = (16, 24, 24, 32, 32, 32, *(64,) * 4, *(96,) * 3, *(160,) * 3, 320)
V2_STRIDED = frozenset({1, 3, 6, 13})  # blocks that halve the resolution
_V2_EXPANSION = 6
_V2_LAST = 1280
_RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def mobilenet_v1(width: float = 1.0, min_depth: int = 0, *, is_padded: bool = False) -> Tracked:
    """MobileNet V1 up to its last pointwise convolution.

    Args:
        width: The depth multiplier, which this backbone applies twice.
        min_depth: Layers have at least that many channels, after the first time.
        is_padded: Padding is a layer of its own before each 3x3 convolution.
    """

    def widened(filters: int) -> int:
        return max(int(int(filters * width) * width), min_depth)

    channels = widened(32)
    layers = [shaped_input(), *_padding(is_padded), *_normalised("conv1", "conv1_bn", (3, 3, 3, channels))]
    for k, filters in enumerate(_V1_FILTERS, start=1):
        layers += [
            *_padding(is_padded),
            depthwise(f"conv_dw_{k}", 3, channels),
            batch_norm(f"conv_dw_{k}_bn", channels),
            plain(),
        ]
        layers += _normalised(f"conv_pw_{k}", f"conv_pw_{k}_bn", (1, 1, channels, widened(filters)))
        channels = widened(filters)
    return functional(layers)


def mobilenet_v2(width: float = 1.0, min_depth: int = 0, *, is_padded: bool = False) -> Tracked:
    """MobileNet V2 up to `Conv_1`.

    Args:
        width: The depth multiplier.
        min_depth: Layers have at least that many channels; additions are decided by the channels before that.
        is_padded: Padding is a layer of its own before each 3x3 convolution.
    """
    channels = max(divisible(32 * width), min_depth)
    layers = [shaped_input(), *_padding(is_padded), *_normalised("Conv1", "bn_Conv1", (3, 3, 3, channels))]
    for block, filters in enumerate(V2_FILTERS):
        name, inner = "expanded_conv", channels
        if block:
            name, inner = f"block_{block}", max(channels * _V2_EXPANSION, min_depth)
            layers += _normalised(f"{name}_expand", f"{name}_expand_BN", (1, 1, channels, inner))
        layers += [*_padding(is_padded), depthwise(f"{name}_depthwise", 3, inner)]
        layers += [batch_norm(f"{name}_depthwise_BN", inner), plain()]
        wanted = divisible(int(filters * width))
        outputs = max(wanted, min_depth)
        layers += _normalised(f"{name}_project", f"{name}_project_BN", (1, 1, inner, outputs))[:2]
        if channels == wanted and block not in V2_STRIDED:
            layers.append(plain())  # the residual addition
        channels = outputs
    last = max(divisible(_V2_LAST * width), min_depth)
    return functional([*layers, *_normalised("Conv_1", "Conv_1_bn", (1, 1, channels, last))])


def _padding(is_padded: bool) -> list[Tracked]:
    return [plain()] if is_padded else []


def divisible(channels: float) -> int:
    """The multiple of 8 that MobileNets round a number of channels to; never less than nine tenths of it.

    >>> divisible(24 * 0.75), divisible(4)
    (24, 8)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def resnet(depth: int, stages: Sequence[int] = (2, 3, 4, 5)) -> Tracked:
    """ResNet V1: of 50, 101 or 152 layers, these stages of it; the second brings the stem along."""
    stem = [shaped_input(), plain(), *_normalised("conv1_conv", "conv1_bn", (7, 7, 3, 64)), plain()]
    layers = stem if 2 in stages else [plain()]
    for stage in stages:
        filters = 64 << (stage - 2)
        channels = 64 if stage == 2 else filters * 2
        for block in range(1, _RESNET_BLOCKS[depth][stage - 2] + 1):
            layers += _bottleneck(f"conv{stage}_block{block}", channels, filters, is_first=block == 1)
            channels = filters * 4
    return functional(layers)


def _bottleneck(name: str, channels: int, filters: int, *, is_first: bool) -> list[Tracked]:
    """Three convolutions, an addition; the first of a stage has a fourth, for the shortcut, between them."""
    inner = _normalised(f"{name}_1_conv", f"{name}_1_bn", (1, 1, channels, filters))
    inner += _normalised(f"{name}_2_conv", f"{name}_2_bn", (3, 3, filters, filters))
    last = {0: channels, 3: filters} if is_first else {3: filters}
    convs = [conv(f"{name}_{j}_conv", (1, 1, inputs, 4 * filters)) for j, inputs in last.items()]
    norms = [batch_norm(f"{name}_{j}_bn", 4 * filters) for j in last]
    return [*inner, *convs, *norms, plain(), plain()]


def _normalised(name: str, norm: str, kernel: Shape) -> list[Tracked]:
    """A convolution, its batch norm, an activation."""
    return [conv(name, kernel), batch_norm(norm, kernel[-1]), plain()]


class _Block(NamedTuple):
    """Parallel branches.

    Attributes:
        rows: Numbers of the convolutions that stand side by side, row after row.
        kernels: Of the convolutions, in the order in which they were made.
    """

    rows: Sequence[Sequence[int]]
    kernels: Sequence[Shape]


_IN_LINE = ((1,), (2,), (0, 3))
_STEM = tuple(
    _Block(((0,),), (kernel,))
    for kernel in ((3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64), (1, 1, 64, 80), (3, 3, 80, 192))
)
_MIXED_5B = _Block(
    ((3,), (1, 4), (0, 2, 5, 6)),
    (
        *((1, 1, 192, 96), (1, 1, 192, 48), (5, 5, 48, 64)),
        *((1, 1, 192, 64), (3, 3, 64, 96), (3, 3, 96, 96), (1, 1, 192, 64)),
    ),
)
_BLOCK_35 = _Block(
    ((3,), (1, 4), (0, 2, 5)),
    (
        *((1, 1, 320, 32), (1, 1, 320, 32), (3, 3, 32, 32)),
        *((1, 1, 320, 32), (3, 3, 32, 48), (3, 3, 48, 64)),
    ),
)
_MIXED_6A = _Block(_IN_LINE, ((3, 3, 320, 384), (1, 1, 320, 256), (3, 3, 256, 256), (3, 3, 256, 384)))
_BLOCK_17 = _Block(_IN_LINE, ((1, 1, 1088, 192), (1, 1, 1088, 128), (1, 7, 128, 160), (7, 1, 160, 192)))
_MIXED_7A = _Block(
    ((4,), (0, 2, 5), (1, 3, 6)),
    (
        *((1, 1, 1088, 256), (3, 3, 256, 384), (1, 1, 1088, 256), (3, 3, 256, 288)),
        *((1, 1, 1088, 256), (3, 3, 256, 288), (3, 3, 288, 320)),
    ),
)
_BLOCK_8 = _Block(_IN_LINE, ((1, 1, 2080, 192), (1, 1, 2080, 192), (1, 3, 192, 224), (3, 1, 224, 256)))
_FIRST_OF_BOX_CLASSIFIER = 156


def inception_resnet_v2_proposals() -> Tracked:
    """Inception-ResNet V2 up to the last block of 17."""
    numbers = _Numbers(0)
    stem = [list(numbers.layers(block)) for block in _STEM]
    layers = [plain(), *stem[0], *stem[1], *stem[2], plain(), *stem[3], *stem[4], plain()]
    mixed = list(numbers.layers(_MIXED_5B))
    layers += [*mixed[:9], plain(), *mixed[9:], plain()]  # the pool of the last branch stands before its row
    layers += numbers.residual("block35", 10, _BLOCK_35, (1, 1, 128, 320))
    layers += [*numbers.layers(_MIXED_6A), plain(), plain()]
    return functional([*layers, *numbers.residual("block17", 20, _BLOCK_17, (1, 1, 384, 1088))])


def inception_resnet_v2_box_classifier() -> Tracked:
    """Inception-ResNet V2 from Mixed_7a on; its numbers go on behind those of the first stage."""
    numbers = _Numbers(_FIRST_OF_BOX_CLASSIFIER)
    layers = [plain(), *numbers.layers(_MIXED_7A), plain(), plain()]
    layers += numbers.residual("block8", 10, _BLOCK_8, (1, 1, 448, 2080))[:-1]  # the last is linear
    last = [conv("conv_7b", (1, 1, 2080, 1536)), batch_norm("conv_7b_bn", 1536, gamma=False), plain()]
    return functional([*layers, *last])


class _Numbers:
    """Convolutions that Keras numbered as they were made, `conv2d_7`, with batch norms `freezable_batch_norm_7`."""

    def __init__(self, first: int) -> None:
        self._next = first

    def layers(self, block: _Block) -> Iterator[Tracked]:
        """The layers of a block: of each row the convolutions, batch norms, activations."""
        for row in block.rows:
            yield from (conv(_numbered("conv2d", self._next + n), block.kernels[n]) for n in row)
            norms = [(_numbered("freezable_batch_norm", self._next + n), block.kernels[n][-1]) for n in row]
            yield from (batch_norm(name, channels, gamma=False) for name, channels in norms)
            yield from (plain() for _ in row)
        self._next += len(block.kernels)

    def residual(self, name: str, count: int, block: _Block, projection: Shape) -> list[Tracked]:
        """Blocks, each joined, projected, scaled and added, with an activation."""
        layers: list[Tracked] = []
        for number in range(1, count + 1):
            projected = conv(f"{name}_{number}_conv", projection, bias=True)
            layers += [*self.layers(block), plain(), projected, plain(), plain()]
        return layers


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
