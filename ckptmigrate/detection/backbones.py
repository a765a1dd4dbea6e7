"""The Keras backbones of the TF2 Object Detection API: their layers in the order of the functional models.

Facts: object_detection/models/keras_models/{mobilenet_v1,mobilenet_v2,resnet_v1,inception_resnet_v2}.py and the
Keras applications that those wrap; each is compared with graphs of the real models, edge for edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptmigrate.detection.tracked import Tracked, batch_norm, conv, depthwise, functional, plain, shaped_input

_V2_FILTERS = (16, 24, 24, 32, 32, 32, *(64,) * 4, *(96,) * 3, *(160,) * 3, 320)
_V2_STRIDED = frozenset({1, 3, 6, 13})  # blocks that halve the resolution
_RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def mobilenet_v1() -> Tracked:
    """MobileNet V1 up to its last pointwise convolution."""
    layers = [shaped_input(), conv("conv1"), batch_norm("conv1_bn"), plain()]
    for k in range(1, 14):
        layers += [depthwise(f"conv_dw_{k}"), batch_norm(f"conv_dw_{k}_bn"), plain()]
        layers += [conv(f"conv_pw_{k}"), batch_norm(f"conv_pw_{k}_bn"), plain()]
    return functional(layers)


def mobilenet_v2(width: float = 1.0, min_depth: int = 0) -> Tracked:
    """MobileNet V2 up to `Conv_1`.

    Args:
        width: The depth multiplier.
        min_depth: Layers have at least that many channels; additions are decided by the channels before that.
    """
    layers = [shaped_input(), conv("Conv1"), batch_norm("bn_Conv1"), plain()]
    channels = max(divisible(32 * width), min_depth)
    for block, filters in enumerate(_V2_FILTERS):
        name = f"block_{block}" if block else "expanded_conv"
        if block:
            layers += [conv(f"{name}_expand"), batch_norm(f"{name}_expand_BN"), plain()]
        layers += [depthwise(f"{name}_depthwise"), batch_norm(f"{name}_depthwise_BN"), plain()]
        layers += [conv(f"{name}_project"), batch_norm(f"{name}_project_BN")]
        wanted = divisible(int(filters * width))
        if channels == wanted and block not in _V2_STRIDED:
            layers.append(plain())  # the residual addition
        channels = max(wanted, min_depth)
    return functional([*layers, conv("Conv_1"), batch_norm("Conv_1_bn"), plain()])


def divisible(channels: float) -> int:
    """The multiple of 8 that MobileNets round a number of channels to; never less than nine tenths of it.

    >>> divisible(24 * 0.75), divisible(4)
    (24, 8)
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def resnet(depth: int, stages: Sequence[int] = (2, 3, 4, 5)) -> Tracked:
    """ResNet V1: of 50, 101 or 152 layers, these stages of it; the second brings the stem along."""
    stem = [shaped_input(), plain(), conv("conv1_conv"), batch_norm("conv1_bn"), plain(), plain()]
    layers = stem if 2 in stages else [plain()]
    for stage in stages:
        for block in range(1, _RESNET_BLOCKS[depth][stage - 2] + 1):
            layers += _bottleneck(f"conv{stage}_block{block}", is_first=block == 1)
    return functional(layers)


def _bottleneck(name: str, *, is_first: bool) -> list[Tracked]:
    """Three convolutions, an addition; the first of a stage has a fourth, for the shortcut, between them."""
    inner = [part for j in (1, 2) for part in (conv(f"{name}_{j}_conv"), batch_norm(f"{name}_{j}_bn"), plain())]
    last = [0, 3] if is_first else [3]
    outer = [conv(f"{name}_{j}_conv") for j in last] + [batch_norm(f"{name}_{j}_bn") for j in last]
    return [*inner, *outer, plain(), plain()]


class _Numbers:
    """Convolutions that Keras numbered as they were made, `conv2d_7`, with batch norms `freezable_batch_norm_7`."""

    def __init__(self, first: int) -> None:
        self.next = first

    def layers(self, rows: Sequence[Sequence[int]], count: int) -> Iterator[Tracked]:
        """The layers of parallel branches in rows of equal depth: convolutions, batch norms, activations of each.

        Args:
            rows: Numbers within the block, in the order of the model.
            count: Convolutions of the block.
        """
        for row in rows:
            numbers = [self.next + number for number in row]
            yield from (conv(_numbered("conv2d", n)) for n in numbers)
            yield from (batch_norm(_numbered("freezable_batch_norm", n), gamma=False) for n in numbers)
            yield from (plain() for _ in numbers)
        self.next += count


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


_MIXED_5B = ((3,), (1, 4), (0, 2, 5, 6))
_BLOCK_35 = ((3,), (1, 4), (0, 2, 5))
_MIXED_6A = ((1,), (2,), (0, 3))
_BLOCK_17 = ((1,), (2,), (0, 3))
_MIXED_7A = ((4,), (0, 2, 5), (1, 3, 6))


def inception_resnet_v2_proposals() -> Tracked:
    """Inception-ResNet V2 up to the last block of 17."""
    numbers = _Numbers(0)
    layers = [plain(), *numbers.layers(((0,),), 1), *numbers.layers(((0,),), 1), *numbers.layers(((0,),), 1), plain()]
    layers += [*numbers.layers(((0,),), 1), *numbers.layers(((0,),), 1), plain()]
    mixed = list(numbers.layers(_MIXED_5B, 7))
    layers += [*mixed[:9], plain(), *mixed[9:], plain()]  # the pool of the last branch stands before its row
    layers += _residual(numbers, "block35", _BLOCK_35, 10, 6)
    layers += [*numbers.layers(_MIXED_6A, 4), plain(), plain()]
    return functional([*layers, *_residual(numbers, "block17", _BLOCK_17, 20, 4)])


def inception_resnet_v2_box_classifier() -> Tracked:
    """Inception-ResNet V2 from Mixed_7a on; its numbers go on behind the 156 of the first stage."""
    numbers = _Numbers(156)
    layers = [plain(), *numbers.layers(_MIXED_7A, 7), plain(), plain()]
    layers += _residual(numbers, "block8", _BLOCK_17, 10, 4, last_is_linear=True)
    return functional([*layers, conv("conv_7b"), batch_norm("conv_7b_bn", gamma=False), plain()])


def _residual(
    numbers: _Numbers, name: str, rows: Sequence[Sequence[int]], count: int, convs: int, *, last_is_linear: bool = False
) -> list[Tracked]:
    """Blocks of branches, joined, projected, scaled and added; an activation follows all but a linear one."""
    layers: list[Tracked] = []
    for block in range(1, count + 1):
        layers += [*numbers.layers(rows, convs), plain(), conv(f"{name}_{block}_conv", bias=True), plain(), plain()]
        if last_is_linear and block == count:
            layers.pop()
    return layers
