"""Reading a cubin with the tools that the Triton wheel brings."""

import re
import subprocess
from pathlib import Path

import triton

from ttt_kernels.verify.offline.listing import Dialect, Listing

SASS = Dialect(
    kinds={
        "mma": r"[HIDQ]G?MMA|WGMMA|UTC\w*MMA",
        "fma": r"FFMA",
        "arithmetic": r"FADD|FMUL",
        "special": r"MUFU",
        "spill_loads": r"LDL",
        "spill_stores": r"STL",
        "async_copies": r"LDGSTS|UTMALDG|UBLKCP",
        "ldmatrix": r"LDSM",
        "shared_loads": r"LDS\b",
        "shared_stores": r"STS\b|STSM",
        "global_loads": r"LDG|LD\b",
        "global_stores": r"STG|ST\b",
        "atomics": r"ATOM|RED\b|REDG",
        "barriers": r"BAR\.(?:SYNC|RED|ARV)|SYNCS",
        "shuffles": r"SHFL",
        "conversions": r"F2F|I2F|F2I|HADD2\.F32",
    },
    branch=r"(?:BRA|JMP)\b.*`\((\.L_x_\d+)\)",
)

_LABEL = re.compile(r"^\s*(\.L_x_\d+):")
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+\s+)?(.+?)\s*;")


def disassemble(cubin: Path) -> Listing:
    """The SASS of a kernel, without the padding at its end."""
    text = _tool("nvdisasm", "-c", str(cubin))
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif instruction := _INSTRUCTION.match(line):
            instructions.append(instruction[1])
    while instructions and instructions[-1].startswith("NOP"):
        instructions.pop()
    return Listing(instructions, labels)


def resources(cubin: Path, log: str) -> tuple[int, int, int]:
    """Registers, stack and spilled bytes of a thread.

    Args:
        cubin: the compiled kernel.
        log: what `ptxas -v` said; spills stand nowhere else.
    """
    usage = _tool("cuobjdump", "-res-usage", str(cubin))
    found = re.search(r"REG:(\d+) STACK:(\d+)", usage)
    spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    if found is None or spills is None:
        raise RuntimeError(f"no resource usage of {cubin} in {usage!r} and {log!r}")
    return int(found[1]), int(found[2]), max(int(spills[1]), int(spills[2]))


def _tool(name: str, *arguments: str) -> str:
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    done = subprocess.run(  # noqa: S603  (a tool of the Triton wheel on a file of ours)
        [str(path), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout
