"""run.portable: the same bits, although libraries could use more of the processor."""

import os
import sys

import pytest

from fedmpi.doctor import processors
from fedmpi.errors import ConfigError
from fedmpi.experiment import portable

# Digests of a gradient by torch with oneDNN's convolutions, and of sums that the compiler of numba
# may vectorise as it likes; each as a process computes them that starts with these variables.
CHILD = """
import os, sys
from fedmpi.experiment.portable import hold_to_level
if sys.argv[1] == "portable":
    hold_to_level(os.environ)
import hashlib
import numba, numpy as np, torch
torch.manual_seed(1)
torch.set_num_threads(1)
x = torch.randn(32, 3, 24, 24)
net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 5), torch.nn.Tanh(), torch.nn.Conv2d(16, 8, 5),
                          torch.nn.Flatten(), torch.nn.Linear(2048, 10), torch.nn.LogSoftmax(1))
net(x).square().sum().backward()
grads = b"".join(p.grad.numpy().tobytes() for p in net.parameters())
@numba.njit(fastmath=True)
def total(a, b):
    s = np.float32(0)
    for i in range(a.size):
        s += a[i] * b[i]
    return s
a = np.random.default_rng(1).random(100_001).astype(np.float32)
print(hashlib.sha256(grads).hexdigest()[:16], total(a, a[::-1].copy()),
      torch.backends.cpu.get_cpu_capability())
"""
# As older processors would have it; numba's names are LLVM's.
OLDER = {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2",
         "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}


def test_the_same_bits_under_any_setting_of_the_instruction_set(run_python):
    v3 = {"NUMBA_CPU_NAME": "haswell", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    found = [run_python("-c", CHILD, how, **env).stdout.split()
             for how, env in (("portable", {}), ("portable", OLDER), ("portable", v3),
                              ("free", OLDER))]
    assert found[0] == found[1] == found[2] and found[0][2] == "AVX2"
    assert found[3][0] != found[0][0] and found[3][1] != found[0][1]  # the variables matter


def test_a_processor_without_the_level_and_a_loaded_numba_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "CPUINFO", tmp_path / "cpuinfo")
    with pytest.raises(ConfigError, match="needs a processor with x86-64-v3; this one has unknown"):
        portable.hold_to_level({})
    flags = " ".join(["sse2", *(flag for _, more in processors.LEVELS[:2] for flag in more)])
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setitem(sys.modules, "numba", os)
    with pytest.raises(ConfigError, match="set NUMBA_CPU_NAME=x86-64-v3 before Python starts"):
        portable.hold_to_level({})
    held = {"NUMBA_CPU_NAME": "x86-64-v3", "ATEN_CPU_CAPABILITY": "default"}
    portable.hold_to_level(held)
    assert held == portable.VARIABLES
