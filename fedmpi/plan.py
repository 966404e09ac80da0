"""The plan of a client's work in one round, and the mechanisms that it uses, as plain data."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from fedmpi.arrays import Bools, Flags, Reals, Vector
from fedmpi.layout import DIGEST, Support


@dataclass(frozen=True, eq=False)
class Backward:
    """The part of the gradient that is computed.

    `rows`: for each layer None (all) or bool[rows]. The gradient at the output of a dropped row is
    taken as zero, so the row vanishes from the weight gradient and from all gradients below
    (FedSkel, Luo et al. 2021).
    `lowest`: index of the lowest trained layer; nothing below it is differentiated.
    `mask`, `update`: uint8[P], let the engine save work. Weights are 0 where `mask` is 0, also in
    the forward pass. Gradients of weights may have any value where `update` is 0.
    """

    rows: tuple[Bools | None, ...] | None = None
    lowest: int = 0
    mask: Flags | None = None
    update: Flags | None = None

    @property
    def whole(self) -> bool:
        """True if the gradient of all rows of all layers is computed."""
        return self.rows is None and self.lowest == 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Backward):
            return NotImplemented
        return self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @cached_property
    def digest(self) -> bytes:
        """16 bytes: BLAKE2b hash of all attributes, the same for equal values."""
        rows = () if self.rows is None else self.rows
        hashed = blake2b(f"{self.lowest} {len(rows)}".encode(), digest_size=DIGEST)
        for number, array in enumerate((self.mask, self.update, *rows)):
            if array is not None:
                hashed.update(f" {number} {array.size} ".encode())
                hashed.update(np.packbits(array != 0).tobytes())
        return hashed.digest()


FULL = Backward()


@dataclass(frozen=True)
class Submodel:
    """A network smaller than the model, which a client trains in place of the model.

    It is one of two kinds. The first has the rows `rows` of each layer (a tuple of bytes objects, a
    byte per row, 1 where kept); inputs from dropped rows are removed too. The second is the model
    built with other `options` (a tuple of (key, value)); its first `shared` coordinates are the
    model's first coordinates, and the rest is private. In training, the outputs of all convolutions
    and linear layers except the last are divided by `divisor` (HeteroFL's scaler). A Submodel is
    hashable, so each network is built only once.
    """

    rows: tuple[bytes, ...] | None = None
    options: tuple[tuple[str, object], ...] = ()
    shared: int = 0
    divisor: float = 1.0

    @classmethod
    def of_rows(cls, rows: Iterable[Bools]) -> "Submodel":
        """Return the network with the rows of each layer, bool[rows], that are True."""
        return cls(rows=tuple(np.asarray(keep, bool).tobytes() for keep in rows))


GATES = "gates.ratio"


@dataclass(frozen=True)
class Gates:
    """Channel gates with which a model is built; they keep a share `ratio` of the channels.

    The kept channels may differ between samples. `squash` applies a sigmoid to the pooled input;
    `stem` gates the first convolution too. A Submodel with the option GATES has another ratio, and
    all coordinates of the model.
    """

    ratio: float
    squash: bool = False
    stem: bool = True


@dataclass(frozen=True, eq=False)
class Plan:
    """The supports that one client receives and sends, and the mechanisms of its training.

    Flat vectors are in the coordinates of the whole model.

    Attributes
    ----------
    down, up : Support
        Supports of the weights that the client receives and sends.
    known, known_up : bool
        True if the client knows `down` beforehand, as the shape of its own network, or the server
        `up`, for example because it draws the same numbers.
    more_down : dict of str to Support
        Other vectors that the client receives, such as entries of the state, and their supports.
    bits_down : dict of str to Support
        Sets of coordinates that the client also receives, in a bit for each coordinate or less.
        Here and in `more_down` names are free: only the bytes follow from the supports.
    backward : Backward
        The part of the gradient that is computed.
    start : float32[P], optional
        The weights to start from, if they hold personal parts and so are not those received.
    private : float32[n], optional
        The private end of a Submodel; by default that of a new network.
    submodel : Submodel, optional
        The smaller network that is trained.
    error : str, optional
        The loss to minimise if it is not the run's: one of fedmpi.learn.losses.OF_CLASSES.
    proximal : float
        FedProx's mu, the pull towards the start.
    mask : uint8[P], optional
        The gradient is taken at weights * mask, but applied to the weights themselves.
    update : uint8[P], optional
        1 where the optimiser may move a weight.
    scores : float32[P], optional
        Weights f that are not trained. Each weight that `update` lets move is instead a score s. In
        every step the gradient g is taken at f with probability p = sigmoid(s), otherwise at 0. The
        score's gradient is g f p (1 - p), as if the mask were p. Weight decay applies to scores.
    power : float
        The trained parameters are v; in `tensors` the weights are sign(v) |v|^power. It must be 1
        if `scores` are given.
    importance : float
        A threshold t of magnitudes. Gradients of `tensors` are multiplied by
        1 + 2 t |w| / (|w| + t)^2, as if a mask of |w| >= t had a slope (FIARSE); 0 for none.
    dense_norm : bool
        With a mask: running statistics follow a second pass, which includes the masked weights.
    control : float32[P], optional
        Added to every gradient (SCAFFOLD).
    tensors : tuple of int
        The tensors to which `power`, `importance`, all attributes from `penalty` to `salient`, and
        the statistic "curvature" apply.
    penalty : float
        Adds penalty * sum over tensors, or over their rows if `by_row`, of the L2 norm.
    penalised : uint8[P], optional
        1 where a weight counts in these norms.
    threshold : float
        After each local epoch, entries of at most this magnitude are set to 0.
    readjust : tuple of (int, float)
        Pairs of a step, from 1, and a share. At this step the share of each tensor's kept entries
        is replaced in `mask` and `update`: the smallest are pruned, and the pruned entries with
        the largest gradients are grown. Grown entries start at 0, without momentum.
    grow : float32[P], optional
        Ranks the entries to grow in `readjust`, in place of the gradient.
    reallocate : bool
        In `readjust`, as many entries are grown as pruned over all tensors together. Each tensor
        gets a part in proportion to the mean magnitude of the entries that it had kept.
    signs : float32[P], optional
        -1, 0 or 1 for each weight, the direction in which the server moved it. In `readjust`, a
        share `portions[0]` of the pruned entries are ones that the client moved the other way. A
        share `portions[1]` of the grown entries are ones that a step against the gradient moves the
        same way. If there are too few such entries, other entries fill the number.
    salient : float
        Share of the entries that a step may move, chosen by the largest |w dL/dw|.
    labels : bool[classes], optional
        Outputs of classes that are False are set to 0 before the error.
    clip : float
        Gradients with a larger L2 norm are scaled to this norm, after the penalty and `control`;
        0 for no clipping.
    gates : float64[L], optional
        Share of each layer's multiply-adds that remains with channel gates; only for the cost.
    probes : int
        Number of batches on which the statistics "gradient" and "curvature" are measured.
    steps : int, optional
        Number of local steps, if it is not the run's; with 0 the client only measures.
    statistics : tuple of str
        Statistics for the report: "activations", "relevance", "squares", "summed",
        "gradient", "curvature", "columns", "moved", "mask".
    """

    down: Support
    up: Support
    known: bool = False
    known_up: bool = False
    more_down: Mapping[str, Support] = field(default_factory=dict)
    bits_down: Mapping[str, Support] = field(default_factory=dict)
    backward: Backward = FULL
    start: Vector | None = None
    private: Vector | None = None
    submodel: Submodel | None = None
    error: str | None = None
    proximal: float = 0.0
    mask: Flags | None = None
    update: Flags | None = None
    scores: Vector | None = None
    power: float = 1.0
    importance: float = 0.0
    dense_norm: bool = False
    control: Vector | None = None
    tensors: tuple[int, ...] = ()
    penalty: float = 0.0
    by_row: bool = False
    penalised: Flags | None = None
    threshold: float = 0.0
    readjust: tuple[tuple[int, float], ...] = ()
    grow: Vector | None = None
    reallocate: bool = False
    signs: Vector | None = None
    portions: tuple[float, float] = (0.0, 0.0)
    salient: float = 1.0
    labels: Bools | None = None
    clip: float = 0.0
    gates: Reals | None = None
    probes: int = 1
    steps: int | None = None
    statistics: tuple[str, ...] = ()

    @cached_property
    def fixed(self) -> bool:
        """True if pruned weights never move, that is, if `update` equals `mask`."""
        if self.mask is None or self.update is None:
            return False
        return np.array_equal(self.mask, self.update)

    @cached_property
    def mechanisms(self) -> frozenset[str]:
        """Names of the mechanisms that the Plan needs, each in MECHANISMS or "error.<name>"."""
        found = {name for name, asked in _ASKED.items() if asked(self)}
        found |= set() if self.error is None else {f"error.{self.error}"}
        return frozenset(found | {f"statistics.{name}" for name in self.statistics})

    def minimising(self, loss: str) -> "Plan":
        """Return this Plan, with the run's `loss` as its error if it has none."""
        return self if self.error is not None else replace(self, error=loss)

    @property
    def needs_whole_gradient(self) -> bool:
        """True if every step needs the gradient of weights that may not move."""
        looked_at = "squares" in self.statistics or "summed" in self.statistics
        return looked_at or self.clip != 0


STATISTICS = ("activations", "relevance", "columns", "squares", "summed", "mask", "moved",
              "gradient", "curvature")  # fmt: skip
"""The statistics that a plan may ask for."""
PROBED = ("gradient", "curvature")
"""The statistics that are measured after the last step; the second needs the first."""

_ASKED: dict[str, Callable[[Plan], bool]] = {
    "backward.rows": lambda plan: plan.backward.rows is not None,
    "backward.lowest": lambda plan: plan.backward.lowest > 0,
    "start": lambda plan: plan.start is not None,
    "private": lambda plan: plan.private is not None,
    "submodel.rows": lambda plan: plan.submodel is not None and plan.submodel.rows is not None,
    "submodel.options": lambda plan: plan.submodel is not None and plan.submodel.rows is None,
    "submodel.divisor": lambda plan: plan.submodel is not None and plan.submodel.divisor != 1,
    "proximal": lambda plan: plan.proximal != 0,
    "mask": lambda plan: plan.mask is not None,
    "update": lambda plan: plan.update is not None,
    "scores": lambda plan: plan.scores is not None,
    "power": lambda plan: plan.power != 1,
    "importance": lambda plan: plan.importance != 0,
    "dense_norm": lambda plan: plan.dense_norm,
    "control": lambda plan: plan.control is not None,
    "penalty": lambda plan: plan.penalty != 0,
    "penalised": lambda plan: plan.penalised is not None,
    "threshold": lambda plan: plan.threshold != 0,
    "readjust": lambda plan: bool(plan.readjust),
    "grow": lambda plan: plan.grow is not None,
    "reallocate": lambda plan: plan.reallocate,
    "signs": lambda plan: plan.signs is not None,
    "salient": lambda plan: plan.salient < 1,
    "labels": lambda plan: plan.labels is not None,
    "clip": lambda plan: plan.clip != 0,
    "gates": lambda plan: plan.gates is not None,
    "probes": lambda plan: plan.probes > 1,
    "steps": lambda plan: plan.steps is not None,
}
MECHANISMS = frozenset((*_ASKED, *(f"statistics.{name}" for name in STATISTICS)))
"""All mechanisms that a Plan may ask of an engine, besides the error that is minimised."""


@dataclass(frozen=True, eq=False)
class Own:
    """The model that one client has between rounds, if it differs from the global model.

    `weights` is float32[P] in the coordinates of the whole model. `submodel` and `private` are
    as in a Plan.
    """

    weights: Vector
    submodel: Submodel | None = None
    private: Vector | None = None
