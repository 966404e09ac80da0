"""fedmpi: federated learning with sparse, pruned clients, simulated on many MPI ranks.

From Python, `run` and `resume` run experiments, and `open`, `open_many` and `state` read results.
Your own code is made of these; help describes each, as in help(fedmpi.Plan):

    a method      Algorithm, Keys, Plan (with Backward, Own, Submodel), Support, Job, Report, Part,
                  Coding, Arrival, Total; check_method tests it
    a model       @model
    a data set    @dataset, Dataset
    a partition   @partition
    a loss        @loss
    a metric      Metric
    a stage       Stage
    a selection   Selector

Errors are fedmpi.errors.FedmpiError. `fedmpi list keys` prints the keys of a configuration.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the Python interface again, for type checkers and editors
    from fedmpi.algorithm import Algorithm as Algorithm
    from fedmpi.algorithm import Keys as Keys
    from fedmpi.api import check_method as check_method
    from fedmpi.api import open as open
    from fedmpi.api import open_many as open_many
    from fedmpi.api import resume as resume
    from fedmpi.api import run as run
    from fedmpi.api import state as state
    from fedmpi.exchange import Arrival as Arrival
    from fedmpi.exchange import Coding as Coding
    from fedmpi.exchange import Job as Job
    from fedmpi.exchange import Part as Part
    from fedmpi.exchange import Report as Report
    from fedmpi.layout import Support as Support
    from fedmpi.learn.data import Dataset as Dataset
    from fedmpi.learn.decorators import dataset as dataset
    from fedmpi.learn.decorators import loss as loss
    from fedmpi.learn.decorators import model as model
    from fedmpi.learn.decorators import partition as partition
    from fedmpi.metric import Metric as Metric
    from fedmpi.plan import Backward as Backward
    from fedmpi.plan import Own as Own
    from fedmpi.plan import Plan as Plan
    from fedmpi.plan import Submodel as Submodel
    from fedmpi.selector import Selector as Selector
    from fedmpi.stage import Stage as Stage
    from fedmpi.totals import Total as Total

__version__ = "0.2.0"

# A wheel has kernels/ and examples/ inside this package, while a checkout has them beside it.
_here = Path(__file__).resolve().parent
if not (_here / "kernels").is_dir():
    __path__.append(str(_here.parent))


# The Python interface, loaded on first use, so that reading results needs only numpy and h5py.
_INTERFACE = {
    "check_method": "fedmpi.api",
    "open": "fedmpi.api",
    "open_many": "fedmpi.api",
    "resume": "fedmpi.api",
    "run": "fedmpi.api",
    "state": "fedmpi.api",
    "Algorithm": "fedmpi.algorithm",
    "Keys": "fedmpi.algorithm",
    "Arrival": "fedmpi.exchange",
    "Coding": "fedmpi.exchange",
    "Job": "fedmpi.exchange",
    "Part": "fedmpi.exchange",
    "Report": "fedmpi.exchange",
    "Metric": "fedmpi.metric",
    "Backward": "fedmpi.plan",
    "Own": "fedmpi.plan",
    "Plan": "fedmpi.plan",
    "Submodel": "fedmpi.plan",
    "Selector": "fedmpi.selector",
    "Stage": "fedmpi.stage",
    "Support": "fedmpi.layout",
    "Total": "fedmpi.totals",
    "Dataset": "fedmpi.learn.data",
    "dataset": "fedmpi.learn.decorators",
    "loss": "fedmpi.learn.decorators",
    "model": "fedmpi.learn.decorators",
    "partition": "fedmpi.learn.decorators",
}

# Names that users may take for decorators, and the class of fedmpi to extend instead.
_SUBCLASSED = {
    "method": "Algorithm",
    "algorithm": "Algorithm",
    "stage": "Stage",
    "selection": "Selector",
    "selector": "Selector",
    "metric": "Metric",
}


def __dir__() -> list[str]:
    """List the names of the Python interface too, even before they are loaded."""
    return sorted([*globals(), *_INTERFACE])


if not TYPE_CHECKING:  # otherwise every name of fedmpi would have the type Any

    def __getattr__(name: str) -> Any:
        """Load a name of the Python interface (PEP 562)."""
        if name in _INTERFACE:
            return getattr(import_module(_INTERFACE[name]), name)
        hint = _SUBCLASSED.get(name.lower(), "")
        hint = f"; write a class Mine(fedmpi.{hint})" if hint else ""
        raise AttributeError(f"module 'fedmpi' has no attribute {name!r}{hint}")
