"""Python, torch and Triton: whether they are there, and of versions that fit together."""

import importlib
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ttt_training.doctor.finding import Finding, ok, problem, warning

_MAKE_ENVIRONMENT = "make the environment anew: scripts/setup_env.sh"


def check_python() -> Iterator[Finding]:
    """Compare the interpreter with what the package was declared for."""
    required = metadata.metadata("ttt-training")["Requires-Python"]
    found = f"{platform.python_version()} in {sys.prefix}"
    if in_range(platform.python_version(), required):
        yield ok("python", found)
    else:
        yield problem("python", f"{found}, expected {required}", _MAKE_ENVIRONMENT)


def check_torch() -> Iterator[Finding]:
    """Import torch and compare its version with what the package was declared for."""
    required = required_versions("ttt-training", "torch")
    try:
        import torch
    except (ImportError, OSError) as error:
        yield problem("torch", f"cannot be imported: {error}", _MAKE_ENVIRONMENT)
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    build = f"ROCm {torch.version.hip}" if torch.version.hip else build
    found = f"{torch.__version__} for {build}"
    if in_range(torch.__version__, required):
        yield ok("torch", found)
    else:
        yield problem("torch", f"{found}, expected {required}", _MAKE_ENVIRONMENT)


def check_triton() -> Iterator[Finding]:
    """Compare Triton with what the kernels are written for and what torch was built with."""
    import torch

    try:
        found = importlib.import_module("triton").__version__
    except (ImportError, OSError) as error:
        if torch.cuda.is_available():
            fix = "install the Triton of this torch: uv pip install 'ttt-kernels[triton]'"
            yield problem("triton", f"cannot be imported: {error}", fix)
        else:
            yield ok("triton", "not installed: only kernels for GPUs need it")
        return
    required = required_versions("ttt-kernels", "triton")
    if not in_range(found, required):
        yield problem("triton", f"{found}, expected {required}", _MAKE_ENVIRONMENT)
        return
    of_torch = required_versions("torch", "triton")
    if of_torch and not in_range(found, of_torch):
        fix = f"install the one torch was built with: uv pip install 'triton{of_torch}'"
        yield problem("triton", f"{found}, but torch {torch.__version__} needs {of_torch}", fix)
        return
    yield ok("triton", found)


def check_compiler() -> Iterator[Finding]:
    """Look for the C compiler and the headers with which Triton builds what launches a kernel."""
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    headers = Path(sysconfig.get_path("include"), "Python.h")
    missing = [] if compiler else ["no C compiler on the path"]
    missing += [] if headers.exists() else [f"no {headers}"]
    if not missing:
        yield ok("compiler", f"{compiler}, {headers}")
        return
    fix = "install them (Debian and Ubuntu: apt-get install gcc python3-dev)"
    text = f"{'; '.join(missing)}: Triton kernels and --compile need them"
    yield _worse_with_a_gpu("compiler", text, fix)


def _worse_with_a_gpu(check: str, found: str, fix: str) -> Finding:
    import torch

    return (problem if torch.cuda.is_available() else warning)(check, found, fix)


def required_versions(package: str, requirement: str) -> str:
    """Read off an installed package which versions it asks of another; empty: it does not ask."""
    for line in metadata.requires(package) or ():
        matched = re.match(rf"{re.escape(requirement)}\s*([^;\[]*)", line)
        if matched and re.fullmatch(r"[\d.,\s<>=!~*]+", matched[1].strip()):
            return matched[1].strip()
    return ""


def in_range(version: str, required: str) -> bool:
    """Whether a version is within bounds like `>=3.6,<3.10` or `==3.7.1`."""
    found = _numbers(version)
    for operator, bound in re.findall(r"(>=|<=|==|~=|<|>)\s*([\d.]+)", required):
        limit = _numbers(bound)
        start = found[: len(limit)]
        holds = {
            ">=": found >= limit,
            "<=": start <= limit,
            "==": start == limit,
            "~=": found >= limit and start[:-1] == limit[:-1],
            "<": start < limit,
            ">": start > limit,
        }
        if not holds[operator]:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version, as numbers; of 2.13.0+cpu that is 2, 13, 0."""
    return tuple(map(int, re.findall(r"\d+", re.split(r"[+a-zA-Z]", version)[0])))
