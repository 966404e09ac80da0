"""A round of the whole model, made short enough for a device that a deadline would cut off."""

from dataclasses import replace

from fedmpi.algorithm import Setting
from fedmpi.layout import Support
from fedmpi.plan import Plan


def shortened(setting: Setting, client: int, plan: Plan) -> Plan:
    """Return `plan` with as many local steps as are in time, all of them if they are.

    If not even one is, the client sends nothing, and trains as many steps as are in time then;
    what it measured it keeps. A plan that is late all the same keeps one step. Only the policy
    "fit-deadline" shortens.
    """
    if setting.policy != "fit-deadline":
        return plan
    nothing = Support(plan.up.layout, plan.up.level, plan.up.keep * plan.up.keep.dtype.type(0))
    silent = replace(plan, up=nothing, steps=1)
    most = setting.steps(client)

    def sending(steps: float) -> Plan:
        return replace(plan, steps=int(steps)) if steps else silent

    steps = int(setting.fit(range(most + 1), client, sending))
    if steps:
        return plan if steps == most else sending(steps)
    fit = setting.fit(range(1, max(most, 1) + 1), client, lambda n: replace(silent, steps=int(n)))
    return replace(silent, steps=int(fit))
