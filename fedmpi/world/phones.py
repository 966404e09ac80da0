"""The profile `phones`: compute rates, links and memories that were measured on real phones.

All figures are from what Yang et al. ("Characterizing Impacts of Heterogeneity in Federated
Learning upon Large-Scale Smartphone Data", WWW 2021, arXiv:2006.06983) published with FLASH
(github.com/PKU-Chengxu/FLASH, BSD 2-Clause); tests/world/test_phones.py computes them again.
"""

import numpy as np

from fedmpi.arrays import Integers, Reals

NAMES = ("nexus6", "redmi_note8", "note10")
# FLOPs through FLASH's LSTM layers over the seconds that they took, all 20,000 layers of a
# phone's table together: 6 x 4 x batch x length x out x (in + out) operations each.
GFLOP_S = (1.783, 3.024, 5.506)
# How many of its phones FLASH takes for slow, middle and fast. That its classes are as fast
# as the phones of the table is ours.
COUNTS = (18820, 16428, 159)
# Mean WiFi rates of 19 phones, down and up, in Mbit/s. FLASH says kb/s and does not use them so
# everywhere: the unit is uncertain by a factor of 8.
DOWN_MBIT_S = (7.491, 4.055, 2.370, 9.913, 4.209, 3.778, 3.473, 4.668, 3.298, 4.284, 3.658,
               7.214, 8.885, 5.125, 7.271, 4.318, 6.708, 17.333, 3.177)  # fmt: skip
UP_MBIT_S = (4.935, 3.006, 2.774, 6.635, 2.974, 2.632, 5.141, 3.205, 2.337, 3.642, 2.547, 4.040,
             6.279, 3.730, 5.742, 3.286, 0.665, 5.641, 0.431)  # fmt: skip
LATENCY_S = 0.028  # median of mobile tests (Ookla, Speedtest Global Index, first quarter of 2023)
# Memory of the 333 phones of the AI-Benchmark ranking: GB and how many phones. An app gets a part.
MEMORY_GB = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 10, 12)
MEMORY_COUNTS = (10, 4, 40, 7, 18, 13, 96, 78, 57, 1, 9)
APP_SHARE = 0.25  # of the memory, for training; ours


def deal(clients: int, rng: np.random.Generator) -> tuple[Integers, dict[str, Reals]]:
    """Return each client's phone, int64[K] in NAMES, and its columns float64[K] by name.

    Phone, link and memory are drawn apart from each other: no source has them together.
    """
    phone = rng.choice(len(NAMES), clients, p=_shares(COUNTS))
    link = rng.integers(len(UP_MBIT_S), size=clients)
    memory = rng.choice(len(MEMORY_GB), clients, p=_shares(MEMORY_COUNTS))
    return phone, {
        "gflop_s": np.array(GFLOP_S)[phone],
        "up_mbit_s": np.array(UP_MBIT_S)[link],
        "down_mbit_s": np.array(DOWN_MBIT_S)[link],
        "latency_s": np.full(clients, LATENCY_S),
        "memory_mb": 1000 * APP_SHARE * np.array(MEMORY_GB)[memory],
    }


def _shares(counts: tuple[int, ...]) -> Reals:
    return np.array(counts) / float(sum(counts))
