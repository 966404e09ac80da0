"""The steps of one client as Plan's docstring defines them, one method for each mechanism."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fedmpi.arrays import AnyArray, Vector
from fedmpi.layout import Layout
from fedmpi.layout import Tensor as Place
from fedmpi.learn.debug_masks import powered, readjusted, scores_point
from fedmpi.learn.debug_watch import Seen, gradient_of, summed, watched
from fedmpi.learn.kinds import kind_of, row_axis
from fedmpi.learn.layout_of import layer_modules
from fedmpi.learn.local import Local
from fedmpi.plan import FULL, Backward, Plan


def moving_rows(layout: Layout, backward: Backward) -> Tensor:
    """Return bool[P]: entries neither in a dropped row nor below the lowest trained layer."""
    moving = torch.ones(layout.size, dtype=torch.bool)
    for tensor in layout.tensors:
        block = moving[tensor.block].reshape(tensor.rows, -1)
        keep = None if backward.rows is None else backward.rows[tensor.layer]
        if tensor.layer < backward.lowest:
            block[:] = False
        elif keep is not None and tensor.rows == len(keep):
            block[torch.tensor(~keep)] = False
    return moving


class DebugSteps:
    """The steps of one client, on torch vectors.

    Parameters
    ----------
    reference : debug.Reference
    plan : Plan
    local : Local
    lr : float
    start : float32[P]
        The weights at which training begins.
    mask, update : uint8[P], optional
    control : float32[P], optional
        The vectors of the plan, in the coordinates of this network.
    draws : Draws
        The source of random numbers for masks that are drawn.

    Attributes
    ----------
    weights : float32[P]
    statistics : dict
        As in a Report.
    """

    def __init__(
        self,
        reference: Any,
        plan: Plan,
        local: Local,
        lr: float,
        start: Tensor,
        mask: Tensor | None,
        update: Tensor | None,
        control: Tensor | None,
        draws: Any,
    ) -> None:
        self.reference, self.layout = reference, reference.layout
        self.plan, self.local, self.lr, self.control = plan, local, lr, control
        modules = layer_modules(reference.module, self.layout)
        self.axes = [row_axis(parts[0]) for parts in modules]  # axis of rows in a layer's output
        self.kinds = [kind_of(parts[0]) for parts in modules]  # even if a weight is frozen
        size, self.draws = self.layout.size, draws
        self.start, self.weights = start.clone(), start.clone()
        self.mask = torch.ones(size) if mask is None else mask.float()
        self.running = torch.tensor(~self.layout.trained)
        self.may_move = ~self.running & moving_rows(self.layout, plan.backward)
        if update is not None:
            self.may_move &= update != 0
        self.first, self.second, self.count = torch.zeros(size), torch.zeros(size), 0
        self.probed: dict[str, list[tuple[Tensor, int]]] = {}
        late = ("gradient", "curvature", "mask")  # added when they are measured
        self.statistics = {n: self._nothing_of(n) for n in plan.statistics if n not in late}

    def take(self, x: AnyArray, y: AnyArray) -> float:
        """Take one step on a batch; return its loss."""
        self.count += 1
        (point, slope), dense = self._point(self.weights), None
        if self.plan.importance:
            size, most = point.abs(), self.plan.importance
            steep = 1 + 2 * most * size / (size + most) ** 2
            slope = slope * torch.where(self._inside(), steep, 1.0)
        if self.plan.dense_norm:
            with self.draws.ahead():
                _, _, dense = self._gradient(self.weights, x, y, self.plan.backward)
        with watched(self.reference.module, self.layout) as seen:
            loss, grad, after = self._gradient(point, x, y, self.plan.backward)
        after = after if dense is None else dense
        self.weights[self.running] = after[self.running]
        self._measure(seen, point, grad, len(y))
        for share in (share for step, share in self.plan.readjust if step == self.count):
            self._readjust(grad, share)
        direction = grad * slope + self._penalty(point)
        if self.control is not None:
            direction = direction + self.control
        if self.plan.clip:
            direction = direction * min(1.0, self.plan.clip / (direction.norm().item() + 1e-6))
        moving = self.may_move & self._salient(point, direction)
        if "moved" in self.statistics:
            self.statistics["moved"] |= moving.numpy()
        direction = direction + self.local.weight_decay * self.weights
        direction = direction + self.plan.proximal * (self.weights - self.start)
        self._move(direction, moving)
        return loss

    def end_epoch(self) -> None:
        """threshold: set entries of at most this magnitude to 0."""
        if self.plan.threshold:
            small = self.weights.abs() <= self.plan.threshold
            self.weights[small & self._inside()] = 0.0

    def measure(self, x: AnyArray, y: AnyArray) -> None:
        """columns: add -x dL/dx of a batch, where x are the inputs of a layer."""
        point = self._point(self.weights)[0]
        with watched(self.reference.module, self.layout) as seen:
            _, grad, _ = self._gradient(point, x, y, FULL)
        for number, layer in enumerate(self.layout.layers):
            weight = self._weight(number)
            if layer.kind in ("conv", "linear", "adapter"):
                found = torch.zeros(1, dtype=torch.float64)
                for read, _ in seen[number]:
                    axis = 1 if layer.kind == "conv" else read.dim() - 1
                    found = found + summed(-read.detach() * gradient_of(read), axis)
            else:
                inputs, product = len(self.statistics["columns"][number]), point * grad
                parts = product[weight.block].double().reshape(weight.rows, inputs, -1)
                found = -parts.sum((0, 2))
            self.statistics["columns"][number] += len(y) * found.numpy()

    def probe(self, look: str, x: AnyArray, y: AnyArray) -> int:
        """gradient, curvature: update the mean over all samples; return the count of gradients."""
        if look == "gradient":
            found, count = self._gradient(self._point(self.weights)[0], x, y, FULL)[1], 1
        else:
            along = torch.tensor(self.statistics["gradient"]) * ~self.running * self.mask
            along *= self._inside() if self.plan.tensors else 1
            point, error = self._point(self.weights)[0], self.plan.error
            found = self.reference.curvature(point, along, x, y, error, self.plan.labels)
            count = 2
        self.probed.setdefault(look, []).append((found, len(y)))
        every = self.probed[look]
        total = sum((values * samples for values, samples in every), torch.zeros(()))
        self.statistics[look] = (total / sum(samples for _, samples in every)).numpy()
        return count * len(y)

    def result(self) -> tuple[Vector, dict[str, Any]]:
        """Return the weights float32[P], a copy, and the statistics by name."""
        return self.weights.numpy().copy(), self.statistics

    def _point(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """mask, scores, power: return the point of the gradient, and the slopes of that point."""
        point, slope = weights * self.mask, torch.ones(())
        if self.plan.scores is not None:
            point, slope = scores_point(self.plan, point, self.may_move, self.draws)
        if self.plan.power != 1:
            point, steep = powered(self.plan, point, self._inside())
            slope = slope * steep
        return point, slope

    def _gradient(
        self, point: Tensor, x: AnyArray, y: AnyArray, backward: Backward
    ) -> tuple[float, Tensor, Tensor]:
        found: tuple[float, Tensor, Tensor] = self.reference.gradient(
            point, x, y, self.plan.error, backward, self.plan.labels
        )
        return found

    def _measure(self, seen: Seen, point: Tensor, grad: Tensor, samples: int) -> None:
        """activations, relevance, squares, summed: add the values of one step."""
        for number, calls in enumerate(seen):
            for _, raw in calls:
                axis = self.axes[number] % raw.dim()
                if "activations" in self.statistics and self.kinds[number] != "bilinear":
                    size = summed(raw.detach().abs(), axis).numpy()
                    self.statistics["activations"][number] += size
                if "relevance" in self.statistics and number >= self.plan.backward.lowest:
                    change = summed(raw.detach() * gradient_of(raw), axis).numpy()
                    self.statistics["relevance"][number] -= samples * change
        for tensor in self.layout.tensors if "relevance" in self.statistics else ():
            if self.kinds[tensor.layer] == "embedding":
                product = (point * grad)[tensor.block].double().reshape(tensor.rows, -1)
                self.statistics["relevance"][tensor.layer] -= samples * product.sum(1).numpy()
        if "squares" in self.statistics:
            self.statistics["squares"] += (grad * grad).numpy()
        if "summed" in self.statistics:
            self.statistics["summed"] += grad.numpy()

    def _readjust(self, grad: Tensor, share: float) -> None:
        """readjust, grow, reallocate, signs: drop the smallest kept entries, grow others."""
        old, moved = self.mask, self.weights - self.start
        new = readjusted(self.layout, self.plan, old, self.weights, grad, share, moved)
        self.mask = new
        for values in (self.weights, self.first, self.second):
            values[new != old] = 0.0
        self.may_move = (self.may_move | (new > old)) & (new >= old)
        if "mask" in self.plan.statistics:
            self.statistics["mask"] = new.numpy().astype(np.uint8)

    def _penalty(self, point: Tensor) -> Tensor:
        """penalty: return the gradient of the sum of L2 norms, by autograd."""
        free = point.clone().requires_grad_()
        counted = free if self.plan.penalised is None else free * torch.tensor(self.plan.penalised)
        total = torch.zeros(())
        for number in self.plan.tensors if self.plan.penalty else ():
            tensor = self.layout.tensors[number]
            rows = tensor.rows if self.plan.by_row else 1
            for group in counted[tensor.block].reshape(rows, -1):
                if group.detach().any():  # a group of zeros has no gradient
                    total = total + self.plan.penalty * group.norm()
        if not total.requires_grad:
            return torch.zeros_like(point)
        found: Tensor = torch.autograd.grad(total, free)[0]
        return found

    def _salient(self, point: Tensor, direction: Tensor) -> Tensor:
        """salient: return bool[P], the largest |w dL/dw|, and all entries of other tensors."""
        chosen = torch.ones(self.layout.size, dtype=torch.bool)
        if self.plan.salient < 1:
            places = self._inside().nonzero().reshape(-1)
            score = (point[places] * direction[places]).abs()
            order = score.argsort(descending=True, stable=True)
            chosen[places[order[round(self.plan.salient * len(places)) :]]] = False
        return chosen

    def _move(self, direction: Tensor, moving: Tensor) -> None:
        """Take the optimiser's step, as torch.optim does, for the entries marked in `moving`."""
        if self.local.optimizer == "adam":
            first = 0.9 * self.first + 0.1 * direction
            second = 0.999 * self.second + 0.001 * direction**2
            mean, spread = first / (1 - 0.9**self.count), second / (1 - 0.999**self.count)
            change = mean / (spread.sqrt() + 1e-8)
            self.second = torch.where(moving, second, self.second)
        else:
            first = change = self.local.momentum * self.first + direction
        self.first = torch.where(moving, first, self.first)
        self.weights = torch.where(moving, self.weights - self.lr * change, self.weights)

    def _inside(self) -> Tensor:
        """Return bool[P]: the entries of the tensors that the plan names."""
        inside = torch.zeros(self.layout.size, dtype=torch.bool)
        for tensor in (self.layout.tensors[number] for number in self.plan.tensors):
            inside[tensor.block] = True
        return inside

    def _weight(self, layer: int) -> Place:
        """Return the first tensor of a layer, its weight."""
        found: Place = next(tensor for tensor in self.layout.tensors if tensor.layer == layer)
        return found

    def _nothing_of(self, name: str) -> Any:
        """Return the value of a statistic before any step."""
        if name == "columns":
            shapes = [self._weight(n).shape for n in range(len(self.layout.layers))]
            return [np.zeros(shape[1] if len(shape) > 1 else 1) for shape in shapes]
        if name in ("activations", "relevance"):
            return [np.zeros(layer.rows) for layer in self.layout.layers]
        return np.zeros(self.layout.size, bool if name == "moved" else np.float32)
