"""Names for the kinds of arrays that the parts of fedmpi pass to each other.

P is the number of coordinates of a model, U the number of units of a level (layout.py),
K the number of clients, and n the number of clients in a cohort.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""float32[P]: weights, a gradient or a change of a whole model."""
Flags: TypeAlias = NDArray[np.uint8]
"""uint8[U] or uint8[P]: 1 where a unit or coordinate is kept, 0 elsewhere."""
Bools: TypeAlias = NDArray[np.bool_]
"""bool[...]: flags with which numpy can index."""
Integers: TypeAlias = NDArray[np.int64]
"""int64[...]: indices, counts, client ids, exact sums."""
Reals: TypeAlias = NDArray[np.float64]
"""float64[...]: shares, seconds, FLOPs, statistics."""
Octets: TypeAlias = NDArray[np.uint8]
"""uint8[...]: the bytes of a message, or of a part of it."""
AnyArray: TypeAlias = NDArray[Any]
State: TypeAlias = Mapping[str, AnyArray]
"""The state of an algorithm: arrays by name, "weights" (a Vector) among them."""
Memory: TypeAlias = Mapping[str, AnyArray]
"""The memory that a client keeps between rounds: arrays by name."""
