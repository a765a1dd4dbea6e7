"""Recognition of optimizer state in name-based files: which keys are slots, whose, and of which optimizer.

Names as TF1 gives them (tensorflow/python/training/{slot_creator,optimizer,moving_averages}.py): `<variable>/<title>`,
then `<title>_1`...; scalars by their own name in any scope. A key is a slot only if it has a variable of its shape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.catalog import FOREIGN, LOSS_SCALE, OPTIMIZERS, UNKNOWN
from ckptmigrate.optimizers.families import Family, states_of
from ckptmigrate.optimizers.keras_names import keras_guesses, keras_states
from ckptmigrate.optimizers.keys import split_number
from ckptmigrate.optimizers.owners import Claim, claim, readings
from ckptmigrate.optimizers.tf1_scalars import Powers, is_power, stored_powers, with_loss_scale, with_powers
from ckptmigrate.table import OptimizerState, Tensor

TITLES = dict.fromkeys(sorted(FOREIGN), UNKNOWN)
TITLES |= {o.dialects["tf1"].title: o.kind for o in OPTIMIZERS if "tf1" in o.dialects and o.dialects["tf1"].slots}

# Endings under a variable's name that are no optimizer's: zero-debiased averages, pruning, partitions.
NOT_SLOTS = frozenset({"biased", "local_step", "mask", "threshold", "part"})

HOME_MADE = "a home-made optimizer"
COUNTERS = frozenset({"global_step", "save_counter"})


class NamedState(NamedTuple):
    """What a name-based file holds.

    Attributes:
        optimizers: The optimizer states, and the averages.
        variables: Keys of everything else, in order.
        counters: Those of `variables` that count steps (global_step, powers that no optimizer has), in order.
        issues: What was guessed, and what looks like a slot but is none.
    """

    optimizers: tuple[OptimizerState, ...]
    variables: tuple[str, ...]
    counters: tuple[str, ...] = ()
    issues: tuple[Issue, ...] = ()


def recognise_names(tensors: Mapping[str, Tensor], *, slots: Mapping[str, str] | None = None) -> NamedState:
    """Parts a name-based file into variables and optimizer state. Only scalars are read.

    Args:
        tensors: Every key of the file.
        slots: Endings of home-made optimizers -> canonical slot (`{adam_m: m, adam_v: v}`).
    """
    home_made = dict(slots or {})
    issues: list[Issue] = []
    keras = keras_states(tensors)
    issues += keras_guesses(keras)
    taken = _keys(keras)
    titles = _by_title(tensors, taken, home_made)
    told = _told(titles, tensors, taken, issues)
    taken |= {c.key for family in told for c in family.claims}
    powers = stored_powers(tensors, frozenset(taken))
    families = [*told, *_untold(titles, tensors, taken, _kind_of_powers(powers, told), issues)]
    states = [s for f in families for s in states_of(f, tensors, issues, {} if f.title else home_made)]
    states = with_loss_scale(with_powers(states, powers, issues), tensors)
    optimizers = (*keras, *states)
    owned = _keys(optimizers)
    variables = tuple(key for key in tensors if key not in owned)
    return NamedState(optimizers, variables, tuple(k for k in variables if _is_counter(k, tensors[k])), tuple(issues))


def _keys(states: Sequence[OptimizerState]) -> set[str]:
    return {stored.key for state in states for stored in (*state.scalars.values(), *state.slots.values())}


def _is_counter(key: str, tensor: Tensor) -> bool:
    """True for steps, and for beta powers and loss scales that no optimizer has."""
    if tensor.shape:
        return False
    is_step = key.rpartition("/")[2] in COUNTERS and tensor.dtype.name in ("int64", "int32")
    return is_step or key in LOSS_SCALE or is_power(key)


def _by_title(tensors: Mapping[str, Tensor], taken: set[str], home_made: Mapping[str, str]) -> dict[str, list[str]]:
    """Keys by the title of their ending, those of home-made endings under ""."""
    endings: dict[str, list[str]] = {}
    for key in tensors:
        at = key.rfind("/")
        if at > 0:
            endings.setdefault(key[at + 1 :], []).append(key)
    titles: dict[str, list[str]] = {}
    for ending, keys in endings.items():
        title = "" if ending in home_made else split_number(ending)[0]
        titles.setdefault(title, []).extend(keys)
    if taken:
        titles = {title: [key for key in keys if key not in taken] for title, keys in titles.items()}
    return titles


def _told(
    titles: Mapping[str, list[str]], tensors: Mapping[str, Tensor], taken: set[str], issues: list[Issue]
) -> list[Family]:
    """The families whose title tells what they are: known optimizers, and home-made endings that a mapping names."""
    found: dict[str, list[Claim]] = {}
    for title in [t for t in titles if t in TITLES or not t]:
        claims = [c for key in titles[title] if (c := claim(key, tensors))]
        if len(claims) < len(titles[title]):
            issues.append(_orphans(title, sorted({*titles[title]} - {c.key for c in claims})))
        found[title] = claims
    slots = taken | {c.key for claims in found.values() for c in claims}
    families = []
    for title, claims in found.items():
        settled = _settled(title, [c for c in claims if c.owner not in slots], tensors, issues)
        families.append(Family(title, TITLES.get(title, UNKNOWN), settled))
    return [family for family in families if family.claims]


def _settled(
    title: str, claims: Sequence[Claim], tensors: Mapping[str, Tensor], issues: list[Issue]
) -> Sequence[Claim]:
    """The claims in their one reading; with several readings the longest names, with none nothing: both reported."""
    if not claims:
        return ()
    ways = readings(claims, tensors)
    if len(ways) == 1:
        return ways[0]
    what = f"{claims[0].key} and {len(claims) - 1} more end like slots of {title or HOME_MADE}"
    if not ways:
        text = f"{what}, but several would be the same slot of one variable: kept as variables."
        issues.append(Issue("ambiguous", "warning", claims[0].key, text))
        return ()
    owner = ways[0][0].owner
    text = f"{what}; they fit {owner} and {ways[1][0].owner} alike: the longest name is taken."
    issues.append(
        Issue("ambiguous", "warning", claims[0].key, text, f"check that {owner} is the variable that was trained")
    )
    return ways[0]


def _orphans(title: str, keys: Sequence[str]) -> Issue:
    what = f"{len(keys)} keys end like slots of {title or HOME_MADE}"
    text = f"{what}, but there is no variable of their name and shape: kept as variables."
    return Issue("orphan", "note", keys[0], text, ", ".join(keys[:20]))


def _untold(
    titles: Mapping[str, list[str]],
    tensors: Mapping[str, Tensor],
    taken: set[str],
    powered: str,
    issues: list[Issue],
) -> Iterator[Family]:
    """Optimizers with a name of their own: told by consistency alone, so nothing less than all of it will do."""
    for title, keys in titles.items():
        if len(keys) < 2 or title in TITLES or title in NOT_SLOTS or not title:
            continue
        claims = _consistent(keys, tensors, taken)
        endings = {c.ending for c in claims}
        kind = powered if endings == {title, f"{title}_1"} else UNKNOWN
        if not claims or (kind == UNKNOWN and len({c.owner for c in claims}) < 2):
            continue
        issues.append(_guess(title, kind, sorted(endings)))
        yield Family(title, kind, claims)


def _kind_of_powers(powers: Sequence[Powers], told: Sequence[Family]) -> str:
    """What created the powers that none of the known titles did: a pair an Adam, one alone an AdaMax."""
    kinds = dict.fromkeys("adam" if p.is_pair else "adamax" for p in sorted(powers, key=lambda p: not p.is_pair))
    return next((k for k in kinds if not any(family.kind == k for family in told)), UNKNOWN)


def _consistent(keys: Sequence[str], tensors: Mapping[str, Tensor], taken: set[str]) -> list[Claim]:
    """The keys as slots, if every one of them has an owner and all owners have the same slots; else none."""
    claims, group = [], set(keys)
    for key in keys:
        found = claim(key, tensors)
        if found is None or found.owner in taken or found.owner in group:
            return []
        claims.append(found)
    variables, endings = {c.owner for c in claims}, {c.ending for c in claims}
    is_full = len(claims) == len(variables) * len(endings) == len({(c.owner, c.ending) for c in claims})
    is_counted = sorted(split_number(e)[1] for e in endings) == list(range(len(endings)))
    has_weights = any(tensors[name].shape for name in variables)
    return claims if is_full and is_counted and has_weights else []


def _guess(title: str, kind: str, endings: Sequence[str]) -> Issue:
    if kind != UNKNOWN:
        slots = ", ".join(endings)
        text = f"{slots} are taken for the slots of an {kind} called {title}: two a variable, and beta powers."
        return Issue("guess", "note", title, text)
    text = f"{', '.join(endings)} are taken for slots of an optimizer called {title}, whose kind names can't tell."
    hint = "name them in the mapping: source: {slots: {" + ", ".join(f"{e}: SLOT" for e in endings) + "}}"
    return Issue("guess", "warning", title, text, hint)
