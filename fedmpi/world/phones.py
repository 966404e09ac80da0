"""The profile `phones`: compute rates, links and memory sizes measured on real phones.

All figures, except those with a source of their own, are from the data of FLASH by Yang et al.
("Characterizing Impacts of Heterogeneity in Federated Learning upon Large-Scale Smartphone Data",
WWW 2021, arXiv:2006.06983; github.com/PKU-Chengxu/FLASH, BSD 2-Clause).
tests/world/test_phones.py computes them again.
"""

import numpy as np

from fedmpi.arrays import Integers, Reals

NAMES = ("nexus6", "redmi_note8", "note10")
# FLOPs of FLASH's LSTM layers divided by their seconds, over all 20,000 layers in a phone's
# table; each takes 6 x 4 x batch x length x out x (in + out) operations.
GFLOP_S = (1.783, 3.024, 5.506)
# Numbers of phones that FLASH classifies as slow, middle and fast. We assume that these classes
# are as fast as the three phones above.
COUNTS = (18820, 16428, 159)
# Mean WiFi rates of 19 phones, down and up, in Mbit/s. FLASH states kb/s but does not use that
# unit everywhere, so the rates are uncertain by a factor of 8.
DOWN_MBIT_S = (7.491, 4.055, 2.370, 9.913, 4.209, 3.778, 3.473, 4.668, 3.298, 4.284, 3.658,
               7.214, 8.885, 5.125, 7.271, 4.318, 6.708, 17.333, 3.177)  # fmt: skip
UP_MBIT_S = (4.935, 3.006, 2.774, 6.635, 2.974, 2.632, 5.141, 3.205, 2.337, 3.642, 2.547, 4.040,
             6.279, 3.730, 5.742, 3.286, 0.665, 5.641, 0.431)  # fmt: skip
LATENCY_S = 0.028  # median of mobile tests (Ookla, Speedtest Global Index, first quarter of 2023)
# Memory of the 333 phones in the AI-Benchmark ranking: sizes in GB and numbers of phones.
MEMORY_GB = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 10, 12)
MEMORY_COUNTS = (10, 4, 40, 7, 18, 13, 96, 78, 57, 1, 9)
APP_SHARE = 0.25  # fraction of the memory that training may use, our own assumption


def deal(clients: int, rng: np.random.Generator) -> tuple[Integers, dict[str, Reals]]:
    """Return each client's phone, int64[K] index of NAMES, and its columns float64[K] by name.

    Phone, link and memory are drawn independently, since no source has them together.
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
