"""Reading the assembly that LLVM writes for AMD."""

import re

from ttt_kernels.verify.offline.listing import Dialect, Listing

AMDGCN = Dialect(
    kinds={
        "mma": r"v_s?mfma|v_wmma|v_dot",
        "fma": r"v_(?:pk_|dual_)?(?:fma|fmac|mad|mac)\w*",
        "conversions": r"v_cvt",
        "arithmetic": r"v_(?:pk_|dual_)?(?:add|mul|sub)\w*_f32",
        "special": r"v_(?:exp|log|rcp|rsq|sqrt|sin|cos)_",
        # Before gfx11 and outside CDNA 3 the stack is a buffer, whose places are constants.
        "spill_loads": r"scratch_load|buffer_load\w* \S+ off, s\[0:3\]",
        "spill_stores": r"scratch_store|buffer_store\w* \S+ off, s\[0:3\]",
        "async_copies": r"(?:global|buffer)_load_lds|buffer_load\w* .*\blds$",
        "atomics": r"(?:global|buffer|flat)_atomic",
        "global_loads": r"(?:global|buffer|flat)_load",
        "global_stores": r"(?:global|buffer|flat)_store",
        "shuffles": r"ds_bpermute|ds_permute|ds_swizzle|v_permlane|\w+_dpp",
        "shared_loads": r"ds_(?:read|load)",
        "shared_stores": r"ds_(?:write|store)",
        "barriers": r"s_barrier(?!_signal)",
    },
    branch=r"s_c?branch\w*\s+(\.LBB\w+)",
)

_LABEL = re.compile(r"^(\.LBB\w+):")
_INSTRUCTION = re.compile(r"^\t([a-z]\w*_\w+[^;]*)")


def read_assembly(text: str) -> Listing:
    """The instructions of a kernel."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line):
            labels[label[1]] = len(instructions)
        elif instruction := _INSTRUCTION.match(line):
            instructions.append(instruction[1].strip())
    return Listing(instructions, labels)


def resources(text: str) -> tuple[int, int, int, int]:
    """Registers, stack and spilled bytes of a thread, and shared bytes of a program."""

    def field(name: str) -> int:
        found = re.search(rf"^\s*-?\s*\.{name}:\s+(\d+)", text, re.MULTILINE)
        return int(found[1]) if found else 0

    total = re.search(r"; TotalNumVgprs: (\d+)", text)  # accumulators included
    registers = max(int(total[1]) if total else 0, field("vgpr_count"))
    stack, shared = field("private_segment_fixed_size"), field("group_segment_fixed_size")
    return registers, stack, 4 * field("vgpr_spill_count"), shared
