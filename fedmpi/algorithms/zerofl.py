"""The upload of ZeroFL: clients send their largest weights, or those that changed most.

Qiu, Fernandez-Marques, Gusmao, Gao, Parcollet and Lane, "ZeroFL: Efficient On-Device Training for
Federated Learning with Local Sparsity", ICLR 2022, arXiv:2208.02507. A client that trains with
the sparsity s sends the share 1 - s + `more` of its weights, chosen by magnitude (by = "weights")
or by the magnitude of their change (by = "difference"), over all layers together.
Deviations: training is dense, since the sparse forward and backward passes of the paper (SWAT)
are not implemented; weights that a client did not send count as unchanged. No code of its authors
was found. The code of SparsyFed's authors (arXiv:2504.05153) sends the largest weights at sparsity
s - `more` and counts the others as 0, which is `sparsyfed` with beta = 1 and that sparsity.
"""

from typing import Literal

from pydantic import Field

from fedmpi import sparsity
from fedmpi.algorithms.sparse_upload import SparseUpload
from fedmpi.exchange import Job, Part, Report
from fedmpi.layout import Support
from fedmpi.section import Section
from fedmpi.setting import Setting


class ZeroFL(SparseUpload, name="zerofl"):
    """Sparse uploads; sparsity = 0 is FedAvg."""

    fill = "old"

    class Keys(Section):
        """The [algorithm] keys of ZeroFL."""

        sparsity: float = Field(0.9, ge=0, lt=1)  # s: clients send the share 1 - s + `more`
        more: float = Field(0.1, ge=0, le=1)  # share of the weights sent beyond 1 - sparsity
        by: Literal["weights", "difference"] = "difference"  # how weights are ranked

    def __init__(self, keys: Keys, setting: Setting) -> None:
        super().__init__(keys, setting)
        self.tensors = sparsity.prunable(self.layout)

    def message(self, job: Job, report: Report) -> dict[str, Part]:
        """Return the weights of largest magnitude, or of largest change."""
        ranked = report.weights
        if self.keys.by == "difference":
            ranked = ranked - job.state["weights"]
        left = max(self.keys.sparsity - self.keys.more, 0.0)
        mask = sparsity.mask_of_largest(self.layout, ranked, self.tensors, left)
        return {"weights": Part(report.weights, Support(self.layout, "coordinate", mask))}
