"""The base class of metrics: numbers added up over blocks of test samples, and a value from them.

    class Zeros(Metric, name="zeros"):
        def parts(self, outputs, targets):
            return np.array([(outputs == 0).sum(), outputs.size])

        def value(self, parts):
            return parts[0] / parts[1]

is a complete metric. Each rank evaluates some blocks. The parts are added in the order of the
blocks, so the value is the same for any number of ranks.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from fedmpi.arrays import AnyArray
from fedmpi.registry import Registry

METRICS = Registry("metric", "model.metrics", "a subclass of fedmpi.Metric")


class Metric(ABC):
    """A number that measures the quality of the outputs on the test samples.

    Attributes
    ----------
    targets : tuple of str
        The kinds of targets that the metric supports (learn/losses.py). It receives "tokens" as
        classes, one for each token.
    whole : bool
        True if `parts` returns a row of numbers for each sample and `value` takes all rows, for
        metrics that rank the samples. The memory of a rank then grows with the test samples.
    """

    name: ClassVar[str] = ""
    targets: tuple[str, ...] = ("class", "tokens")
    whole: bool = False

    def __init_subclass__(cls, name: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        METRICS.admit(cls, name)

    @abstractmethod
    def parts(self, outputs: AnyArray, targets: AnyArray) -> AnyArray:
        """Return float64[m], to be added up over blocks, or float64[n, m] if `whole`.

        `outputs` are float64[n, C], `targets` int64[n], or float32[n, C] of labels or numbers.
        """

    @abstractmethod
    def value(self, parts: AnyArray) -> float:
        """Return the metric, given the sum of all parts, or all rows float64[N, m] if `whole`."""
