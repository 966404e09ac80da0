"""Top-k: clients send only the largest entries of every change, and keep the rest for later.

Aji and Heafield, EMNLP 2017, arXiv:1704.05021; Stich, Cordonnier and Jaggi, NeurIPS 2018,
arXiv:1809.07599, like the method "topk", but for the messages of any method that sends whole
models. Each part of a message is cut separately (SCAFFOLD's control variates too). Running
statistics always travel.
"""

import numpy as np
from pydantic import Field

from fedmpi.arrays import AnyArray, Memory
from fedmpi.exchange import Job, Part, Parts
from fedmpi.layout import Support
from fedmpi.section import Section
from fedmpi.sparsity import largest
from fedmpi.stage import Stage


class Sparsify(Stage, name="topk"):
    """Sends a share of the entries of each part."""

    sparse = resizes = True

    class Keys(Section):
        """The keys of a topk stage."""

        share: float = Field(0.01, gt=0, le=1)  # share of the change that is sent
        feedback: bool = True  # keep the residual

    def client(self, job: Job, parts: Parts, memory: Memory) -> tuple[Parts, Memory]:
        """Cut every part that is sent whole, and keep the residual."""
        cut: dict[str, Part] = {}
        kept: dict[str, AnyArray] = {**memory} if self.keys.feedback else {}
        trained = self.layout.trained
        for name, part in parts.items():
            if not part.support.whole:
                cut[name] = part
                continue
            change = part.values + memory[name] if name in memory else part.values
            keep, magnitude = np.ones(self.layout.size, np.uint8), np.abs(change[trained])
            count = max(1, round(self.keys.share * magnitude.size))
            keep[trained] = largest(magnitude, count)
            sent = np.where(keep != 0, change, np.float32(0))
            cut[name] = part._replace(
                values=sent, support=Support(self.layout, "coordinate", keep)
            )
            if self.keys.feedback:
                kept[name] = change - sent
        return cut, kept
