"""The processors of the nodes, and a check that they are of one kind.

The same program may give different last bits on another kind of processor, since libraries choose
their instructions by the processor.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from fedmpi.doctor import NOTE, OK, Finding
from fedmpi.errors import listed

CPUINFO = Path("/proc/cpuinfo")

# The flags that each level of x86-64 adds to the level before (System V ABI, x86-64 supplement),
# by their names in /proc/cpuinfo, where they have one.
LEVELS = (
    ("x86-64-v2", ("cx16", "lahf_lm", "popcnt", "pni", "sse4_1", "sse4_2", "ssse3")),
    ("x86-64-v3", ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave")),
    ("x86-64-v4", ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")),
)
# Flags beyond the levels for which libraries choose other code.
MORE = ("avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile", "amx_bf16", "sve",
        "sve2", "asimd", "bf16")


def described(path: Path = CPUINFO) -> str:
    """Return the system's description of this processor, "" if there is no /proc/cpuinfo."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def model(cpuinfo: str) -> str:
    """Return the processor's name in the text of /proc/cpuinfo, or ""."""
    found = re.search(r"^(?:model name|cpu|CPU implementer)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else ""


def instructions(cpuinfo: str) -> str:
    """Return the instruction set in the text of /proc/cpuinfo: a level, and flags beyond it."""
    held = flags(cpuinfo)
    level = ["x86-64"] if "sse2" in held else []
    for name, needed in LEVELS:
        if not level or not held.issuperset(needed):
            break
        level = [name]
    return " ".join([*level, *(flag for flag in MORE if flag in held)]) or "unknown"


def flags(cpuinfo: str) -> set[str]:
    """Return the flags of the first processor in the text of /proc/cpuinfo."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return set(found[1].split()) if found else set()


def lines_for_code(cpuinfo: str) -> list[str]:
    """Return the lines of /proc/cpuinfo that compiled code depends on: names and features."""
    wanted = ("model name", "flags", "Features", "CPU part")
    return sorted({line for line in cpuinfo.splitlines() if line.startswith(wanted)})


def differ(hosts: Sequence[str], kinds: Sequence[str]) -> str:
    """Return one line that names the nodes of each kind of processor, "" if there is one kind.

    `hosts` and `kinds` hold a text for each rank.
    """
    nodes = dict(zip(hosts, kinds, strict=True))
    groups: dict[str, list[str]] = {}
    for host, kind in nodes.items():
        groups.setdefault(kind, []).append(host)
    if len(groups) < 2:
        return ""
    return "; ".join(f"{kind} on {listed(names, 3)}" for kind, names in groups.items())


def processors(hosts: Sequence[str], kinds: Sequence[str]) -> Finding:
    """Check that all nodes have the same kind of processor; see `differ`."""
    if text := differ(hosts, kinds):
        return Finding(NOTE, "processor", f"{text}: the last bits of weights may differ from "
                       "those of a run on one kind",
                       "in Slurm: --constraint, in PBS: -l select=...:FEATURE")
    return Finding(OK, "processor", kinds[0])
