"""The stages, one file each. Importing this folder registers all of them."""

from importlib import import_module
from pkgutil import iter_modules

from fedmpi.stage import STAGES, Stage, StageSetting, applied, restored, without_stages

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["STAGES", "Stage", "StageSetting", "applied", "restored", "without_stages"]
