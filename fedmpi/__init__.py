"""fedmpi: federated learning with sparse, pruned clients, simulated on many MPI ranks."""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

# A wheel holds kernels/ inside this package; a checkout holds it beside.
_here = Path(__file__).resolve().parent
if not (_here / "kernels").is_dir():
    __path__.append(str(_here.parent))


def __getattr__(name):
    """Load the Python interface when it is first asked for (PEP 562)."""
    api = import_module("fedmpi.api")
    if name in api.__all__:
        return getattr(api, name)
    raise AttributeError(f"module 'fedmpi' has no attribute {name!r}")
