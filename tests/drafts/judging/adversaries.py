"""Pairs that invite a wrong guess: equal shapes, shifted numbers, permuted layers, squares, strangers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from ckptmigrate.mapping.assignment import Move
from ckptmigrate.mapping.operations import parse
from judging.case import MODES, Case, checkpoint, plain, shuffled, variable

Shapes = Mapping[str, Sequence[int]]
ALL, VALUES = MODES, MODES[3:]
LARGE = (MODES[1], MODES[3])
MANY = 5000


def adversaries() -> Iterator[Case]:
    """Every one of them."""
    for make in (_shifted, _swapped, _constants, _permuted, _squares, _depths, _strangers):
        yield from make()


def case(
    name: str, source: Shapes, pairs: Mapping[str, str], modes: Sequence[str], extra: Shapes | None = None
) -> Case:
    """A case of renames, source -> target; `extra` are target variables of no source, in front."""
    shapes = {**(extra or {}), **{target: source[name] for name, target in pairs.items()}}
    near, far = (checkpoint((variable(n, s) for n, s in side.items()), "npz") for side in (source, shapes))
    return Case("adversaries", name, near, far, {to: plain(name, to) for name, to in pairs.items()}, modes)


def blocks(form: str, numbers: Sequence[int], leaves: Shapes) -> dict[str, Sequence[int]]:
    """The variables of equal blocks."""
    return {f"{form.format(i)}/{leaf}": shape for i in numbers for leaf, shape in leaves.items()}


_BLOCK = {"a/kernel": (4, 4), "a/bias": (4,), "b/kernel": (4, 4), "b/bias": (4,)}


def _renamed(source: Shapes, by: Callable[[str], str]) -> dict[str, str]:
    return {name: by(name) for name in source}


def _shifted() -> Iterator[Case]:
    """Numbers that start elsewhere: most names are there on both sides, and mean another layer."""
    later = {f"dense{f'_{i}' if i else ''}": f"dense_{i + 3}" for i in range(6)}
    dense = blocks("{}", list(later), {"kernel": (8, 8), "bias": (8,)})  # type: ignore[arg-type]
    moved = _renamed(dense, lambda n: f"{later[n.partition('/')[0]]}/{n.partition('/')[2]}")
    yield case("a second model of the same session", dense, moved, ALL)
    one = blocks("block_{}", range(1, 7), _BLOCK)
    yield case("counted from one, and from zero", one, _renamed(one, lambda n: _at(n, -1)), ALL)
    other = {"dense": "mixer", "right": "dense_1"}
    named = {f"enc/h/{i}/{part}/{leaf}": (8,) for i in range(4) for part in other for leaf in ("gamma", "beta")}
    counted = _renamed(named, lambda n: "/".join(other.get(part, part) for part in n.replace("enc", "x").split("/")))
    yield case("a name that is a counter's elsewhere", named, counted, ALL)
    ten = blocks("c{}", range(12), {"w": (3, 3)})
    yield case("ten after nine", ten, _renamed(ten, lambda n: f"conv_{n[1:].partition('/')[0]}/kernel"), ALL)


def _at(name: str, by: int) -> str:
    head, _, rest = name.partition("/")
    return f"{head.rpartition('_')[0]}_{int(head.rpartition('_')[2]) + by}/{rest}"


def _swapped() -> Iterator[Case]:
    """Twins that nothing but values tells apart."""
    towers = blocks("{}", ["left", "right"], _BLOCK)  # type: ignore[arg-type]
    other = {"left": "q", "right": "p"}
    yield case(
        "two towers",
        towers,
        _renamed(towers, lambda n: n.replace(n.partition("/")[0], other[n.partition("/")[0]])),
        ALL,
    )
    heads = {f"layer_{i}/{part}/kernel": (8, 8) for i in range(3) for part in ("query", "key", "value")}
    names = {"query": "x2", "key": "x0", "value": "x1"}
    yield case(
        "query, key and value", heads, _renamed(heads, lambda n: "/".join(names.get(p, p) for p in n.split("/"))), ALL
    )
    scale = {f"norm_{i}/{leaf}": (8,) for i in range(3) for leaf in ("gamma", "beta")}
    turned = {"gamma": "w1", "beta": "w0"}
    yield case(
        "gamma and beta", scale, _renamed(scale, lambda n: "/".join(turned.get(p, p) for p in n.split("/"))), ALL
    )
    order = {"kernel": (4, 4), "recurrent_kernel": (4, 4), "bias": (4,)}
    cells = blocks("cell_{}", range(3), order)
    flat = {"kernel": "vars/1", "recurrent_kernel": "vars/0", "bias": "vars/2"}
    yield case(
        "vars by number", cells, _renamed(cells, lambda n: f"{n.partition('/')[0]}/{flat[n.partition('/')[2]]}"), ALL
    )


def _constants() -> Iterator[Case]:
    """Values that many variables have."""
    leaves = {"conv/kernel": (3, 3, 4, 4), "bn/gamma": (4,), "bn/beta": (4,), "bn/moving_mean": (4,)}
    source = blocks("block_{}", range(4), leaves)
    moved = _renamed(source, lambda n: f"stage/{[2, 0, 3, 1][int(n[6])]}{n[7:]}")
    for untrained in (("gamma", "beta"), ("gamma", "beta", "moving_mean")):
        title = f"blocks by other numbers, {', '.join(untrained)} untrained"
        yield replace(case(title, source, moved, VALUES), untrained=untrained)
    bare = {f"scale_{i}/gamma": (4,) for i in range(4)}
    other = _renamed(bare, lambda n: f"s{3 - int(n[6])}/g")
    yield replace(case("scales by other numbers, all ones", bare, other, VALUES), untrained=("gamma",))


def _permuted() -> Iterator[Case]:
    """Layers under each other's names: only values tell."""
    source = blocks("layer_{}", range(6), _BLOCK)
    order = [3, 0, 5, 1, 4, 2]
    moved = _renamed(source, lambda n: f"layer_{order[int(n[6])]}{n[7:]}")
    yield case("layers under each other's names", source, moved, VALUES)
    unnamed = _renamed(source, lambda n: f"h/{order[int(n[6])]}{n[7:]}")
    yield case("layers by other numbers", source, unnamed, VALUES)
    some = dict(list(moved.items())[:8])
    left = {name: shape for name, shape in source.items() if name not in some.values()}
    yield case("layers of which some are new", source, some, VALUES, left)


def _squares() -> Iterator[Case]:
    """Kernels as long as wide, between others that are turned."""
    shapes: dict[str, Sequence[int]] = {f"layer_{i}/in/kernel": (4, 8) for i in range(3)}
    shapes |= {f"layer_{i}/{part}/kernel": (8, 8) for i in range(3) for part in ("mid", "out")}
    for title, turns in (
        ("squares turned", ("in", "mid", "out")),
        ("squares kept", ("in",)),
        ("some turned", ("in", "out")),
    ):
        truth = {}
        for name in shapes:
            to = name.replace("kernel", "weight").replace("/", ".")
            truth[to] = _turned(name, to) if name.split("/")[1] in turns else plain(name, to)
        target = {to: tuple(reversed(shapes[move.sources[0]])) for to, move in truth.items()}
        near, far = (checkpoint((variable(n, s) for n, s in side.items()), "npz") for side in (shapes, target))
        yield Case("adversaries", title, near, far, truth, ALL)
    cube = {"conv/weights": (3, 3, 3, 3)}
    far = checkpoint([variable("conv.weight", (3, 3, 3, 3))], "safetensors")
    near = checkpoint((variable(n, s) for n, s in cube.items()), "tf1")
    move = Move(("conv/weights",), ("conv.weight",), (parse("transpose", [3, 2, 0, 1], "truth"),))
    yield Case("adversaries", "three by three by three by three", near, far, {"conv.weight": move}, ALL)


def _turned(source: str, target: str) -> Move:
    return Move((source,), (target,), (parse("transpose", [1, 0], "truth"),))


def _depths() -> Iterator[Case]:
    """Another number of blocks."""
    source = blocks("layer_{}", range(12), _BLOCK)
    third = {
        n: to
        for n, to in ((n, f"h/{int(_number(n)) // 2}/{n.partition('/')[2]}") for n in source)
        if _number(n) % 2 == 0
    }
    yield case("every other layer", source, third, ALL)
    same = {n: f"layer_{_number(n) // 2}/{n.partition('/')[2]}" for n in source if _number(n) % 2 == 0}
    yield case("every other layer, under the first ones' names", source, same, VALUES)
    deeper = blocks("layer_{}", range(6, 12), _BLOCK)
    first = blocks("layer_{}", range(6), _BLOCK)
    yield case(
        "a deeper model", first, _renamed(first, lambda n: f"net/{n}"), ALL, {f"net/{n}": s for n, s in deeper.items()}
    )


def _number(name: str) -> int:
    return int(name.partition("/")[0].rpartition("_")[2])


def _strangers() -> Iterator[Case]:
    """Nothing in common; thousands of one shape."""
    near = blocks("encoder/{}", range(4), _BLOCK)
    yield case("nothing in common", near, {}, ALL, blocks("stage{}", range(4), {"x/weights": (4, 4), "x/offset": (4,)}))
    yield case("an empty target", near, {}, ALL)
    yield case("two empty files", {}, {}, ALL)
    many = {f"alpha/{_word(i)}/w": (4,) for i in range(MANY)}
    strange = {f"omega/{_word(i + 7 * MANY)}/k": (4,) for i in range(MANY)}
    yield case("5,000 strangers of one shape", many, {}, LARGE, strange)
    moved = {name: name.replace("alpha", "model/beta").replace("/w", "/kernel") for name in many}
    again = {name: moved[name] for name in shuffled(moved)}
    yield case("5,000 of one shape, named alike", many, again, LARGE)
    scopes = {f"net/block_{i}/{part}/kernel": (4, 4) for i in range(MANY // 4) for part in ("a", "b", "c", "d")}
    yield case(
        "5,000 in blocks",
        scopes,
        _renamed(scopes, lambda n: n.replace("net/block_", "m/blocks/").replace("kernel", "w")),
        LARGE,
    )


def _word(number: int) -> str:
    """A word without digits, another for every number."""
    return "".join("bcdfghklmn"[int(d)] + "aeiou"[int(d) % 5] for d in str(number))
