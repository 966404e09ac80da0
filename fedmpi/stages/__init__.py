"""The stages, one file each. A stage is imported at its first use."""

from fedmpi.stage import STAGES, Stage, StageSetting, applied, restored, without_stages

STAGES.fill_from(__name__, __path__)

__all__ = ["STAGES", "Stage", "StageSetting", "applied", "restored", "without_stages"]
