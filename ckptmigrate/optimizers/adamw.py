"""AdamW: Adam whose weights also decay on their own.

Keras decays by `learning_rate * weight_decay` before each step, TF1's contrib optimizer by `weight_decay` alone, and
after it: a setting, in no file. The state is Adam's.
"""

from __future__ import annotations

from ckptmigrate.issues import Issue
from ckptmigrate.optimizers.adam import by_keras2, by_keras3, by_tf1, change_adam
from ckptmigrate.optimizers.record import Case, Change, Optimizer

_DECAY = (
    "approximate: TF1 takes weight_decay itself off the weights, Keras learning_rate * weight_decay; build the target "
    "with the decay that this makes. Then weights differed by 2e-3 after 10 steps."
)


def change_adamw(case: Case) -> Change:
    """As Adam's; between TF1 and Keras the decay differs."""
    change = change_adam(case)
    if "tf1" not in (case.dialect, case.state.dialect):
        return change
    return change._replace(issues=(*change.issues, Issue("approximate", "warning", case.state.name, _DECAY)))


ADAMW = Optimizer(
    "adamw",
    {"tf1": by_tf1("AdamW"), "keras2": by_keras2("AdamW"), "keras3": by_keras3("AdamW")},
    change_adamw,
)
