"""The kinds of arrays that travel between the parts of fedmpi, named once.

P is the number of coordinates of a model, U the number of units of a level (layout.py),
K the number of clients, n that of a cohort.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vector: TypeAlias = NDArray[np.float32]
"""float32[P]: weights, a gradient or a change of a whole model."""
Flags: TypeAlias = NDArray[np.uint8]
"""uint8[U] or uint8[P]: 1 where something is kept, 0 elsewhere."""
Bools: TypeAlias = NDArray[np.bool_]
"""bool[...]: the same, where numpy indexes with it."""
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
"""What a client keeps between rounds: arrays by name."""
