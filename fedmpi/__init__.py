"""fedmpi: federated learning with sparse, pruned clients, simulated on many MPI ranks."""

from pathlib import Path

__version__ = "0.1.0"

# A wheel holds kernels/ inside this package; a checkout holds it beside.
_here = Path(__file__).resolve().parent
if not (_here / "kernels").is_dir():
    __path__.append(str(_here.parent))
