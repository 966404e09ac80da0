"""Rounds of the whole model, shortened for devices that would miss the deadline."""

from dataclasses import replace

from fedmpi.layout import Support
from fedmpi.plan import Plan
from fedmpi.setting import Setting


def shortened(setting: Setting, client: int, plan: Plan) -> Plan:
    """Return `plan` with as many of its local steps as the deadline allows.

    If the deadline does not allow even one step, the client sends nothing, and trains as many steps
    as then fit; it keeps its measurements. If no step fits even then, the plan keeps one step. Only
    the policy "fit-deadline" shortens plans.
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
