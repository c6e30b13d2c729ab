"""Lowers one kernel from Triton IR to machine code, in a process of its own.

LLVM may end the process that it runs in, so nobody else should be in there. It imports Triton
alone, which takes half a second. Run as `python worker.py FOLDER`: reads `request.json` and
`kernel.source`, writes `kernel.<stage>` for each stage, and `metadata.json` last.
"""

import json
import sys
from pathlib import Path
from typing import Any

import triton
from triton._C.libtriton import ir
from triton.backends.compiler import GPUTarget, Language
from triton.compiler.compiler import make_backend


def main(folder: Path) -> None:
    """Lower the kernel of a folder."""
    request = json.loads((folder / "request.json").read_text())
    triton.knobs.nvidia.dump_ptxas_log = True
    backend = make_backend(GPUTarget(**request["target"]))
    options = backend.parse_options(request["options"])
    context = ir.context()
    ir.load_dialects(context)
    backend.load_dialects(context)
    module: Any = ir.parse_mlir_module(str(folder / "kernel.source"), context)
    module.context = context
    metadata: dict[str, Any] = {**vars(options)}
    stages: dict[str, Any] = {}
    backend.add_stages(stages, options, Language.TRITON)
    for stage, lower in stages.items():
        module = lower(module, metadata)
        path = folder / f"kernel.{stage}"
        if isinstance(module, bytes):
            path.write_bytes(module)
        else:
            path.write_text(str(module))
    kept = {
        name: metadata[name] for name in ("name", "shared", "num_warps", "num_stages", "num_ctas")
    }
    (folder / "metadata.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
