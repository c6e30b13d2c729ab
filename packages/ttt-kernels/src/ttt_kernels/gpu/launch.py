"""How the kernels are launched: warps and pipeline stages, from a table that is data.

`launch.toml` has a row for each kernel, target, padded shape and width of a token, with two forms:
`latency` for a launch that leaves processors idle, `throughput` for one that has enough programs to
fill them. Nothing is measured at run time, where two processes would choose differently.

A target without a row takes those of the newest older architecture of its kind. A shape without a
row is launched by a rule: a warp for every 16 features, two where products are of float32.
"""

import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from triton.runtime.driver import driver

TABLE = Path(__file__).with_name("launch.toml")

FULL = 4
"""Programs for each multiprocessor from which on a launch is about throughput: one for each of its
schedulers."""

FIXED = {"enable_fp_fusion": False}
"""Options of every launch.

Contraction of a product and a sum into one rounding is off: where lanes hold copies of a sum, each
adds another's product to its own, and the copies would differ in the last bit.
"""


class Form(NamedTuple):
    """How a program is laid out.

    Attributes:
        num_warps: of a program.
        num_stages: loads in flight ahead of the loop.
    """

    num_warps: int
    num_stages: int

    def options(self) -> dict[str, Any]:
        """Keywords of a launch."""
        return {**self._asdict(), **FIXED}


class Forms(NamedTuple):
    """The two ways to launch a kernel.

    Attributes:
        latency: shortest loop, for few programs.
        throughput: fewest instructions in all warps, for many.
    """

    latency: Form
    throughput: Form


class Shape(NamedTuple):
    """What a kernel is compiled for, as far as the table is concerned.

    Attributes:
        kernel: name of the function.
        dim: features of a head, padded.
        mini_batch: tokens of a mini-batch, padded to 16 and to a power of two.
        bits: of a number of a token.
    """

    kernel: str
    dim: int
    mini_batch: int
    bits: int

    @classmethod
    def of(cls, kernel: str, dim: int, mini_batch_size: int, dtype: torch.dtype) -> "Shape":
        """Pad a shape as tiles do."""
        dim, size = (max(16, next_power_of_2(n)) for n in (dim, mini_batch_size))
        return cls(kernel, dim, size, 8 * dtype.itemsize)


def next_power_of_2(n: int) -> int:
    """The least power of two that is not less; Triton's own takes a launch's time."""
    return 1 << (n - 1).bit_length()


Table = dict[tuple[str, Shape], Forms]
"""Rows by target and shape."""


def launch_options(shape: Shape, programs: int, device: torch.device) -> dict[str, Any]:
    """Options of a launch.

    Args:
        shape: which kernel, for what.
        programs: that are launched, B * H.
        device: of the tensors. For those in main memory, which are being verified, it is the
            device Triton speaks of, with processors enough for all programs.
    """
    forms = _overriding.get(shape.kernel) or find_forms(shape, target_of(device))
    full = device.type == "cuda" and programs >= FULL * _processors(device.index or 0)
    return (forms.throughput if full else forms.latency).options()


def target_of(device: torch.device) -> str | None:
    """Name of a device's instruction set, as `sm_80` or `gfx942`; None if there is no GPU."""
    return _target(device.index or 0) if device.type == "cuda" else _current_target()


@cache
def find_forms(shape: Shape, target: str | None) -> Forms:
    """The forms of a shape on a target: its row, that of an older target, or the rule."""
    table = read_table()
    if target is not None:
        kind, age = generation(target)
        ages = [
            (generation(other)[1], other)
            for other, known in table
            if known == shape and generation(other)[0] == kind
        ]
        older = [each for each in ages if each[0] <= age]
        if older:
            return table[max(older)[1], shape]
    return by_rule(shape)


def by_rule(shape: Shape) -> Forms:
    """Forms of a shape without a row."""
    parts = 2 if shape.bits == 32 and shape.kernel.startswith("tile") else 1
    form = Form(num_warps=min(8, max(1, shape.dim // 16) * parts), num_stages=2)
    return Forms(form, form)


def generation(target: str) -> tuple[str, tuple[int, ...]]:
    """Kind of a target, `cuda`, `cdna` or `rdna`, and a number that grows with its age.

    `gfx90a` is 9, 0, 10: all but the last two digits are decimal, these are hexadecimal.
    """
    if target.startswith("sm_"):
        return "cuda", (int(target.removeprefix("sm_")),)
    digits = target.removeprefix("gfx")
    major, minor, step = int(digits[:-2]), int(digits[-2], 16), int(digits[-1], 16)
    return "cdna" if major == 9 else "rdna", (major, minor, step)


@cache
def read_table() -> Table:
    """The rows of `launch.toml`."""
    table: Table = {}
    for row in tomllib.loads(TABLE.read_text())["rows"]:
        forms = Forms(Form(*row.pop("latency")), Form(*row.pop("throughput")))
        table[row.pop("target"), Shape(**row)] = forms
    return table


def write_table(table: Table) -> None:
    """Replace the rows of `launch.toml`; what stands above them stays."""
    lines = [
        f'  {{ target = "{target}", kernel = "{shape.kernel}", dim = {shape.dim}, '
        f"mini_batch = {shape.mini_batch}, bits = {shape.bits}, "
        f"latency = {[*forms.latency]}, throughput = {[*forms.throughput]} }},\n"
        for (target, shape), forms in sorted(table.items())
    ]
    above, _, _ = TABLE.read_text().partition("rows = [")
    TABLE.write_text(f"{above}rows = [\n{''.join(lines)}]\n")
    read_table.cache_clear()
    find_forms.cache_clear()


_overriding: dict[str, Forms] = {}


@contextmanager
def launched_as(forms: Mapping[str, Form]) -> Iterator[None]:
    """Launch kernels in forms of one's own in the context, by the names of the kernels."""
    before = dict(_overriding)
    _overriding.update({name: Forms(form, form) for name, form in forms.items()})
    try:
        yield
    finally:
        _overriding.clear()
        _overriding.update(before)


@cache
def _target(index: int) -> str | None:
    with torch.cuda.device(index):
        return _current_target()


@cache
def _processors(index: int) -> int:
    return torch.cuda.get_device_properties(index).multi_processor_count


def _current_target() -> str | None:
    try:
        gpu = driver.active.get_current_target()
    except RuntimeError:  # no driver: Triton's own interpreter
        return None
    return f"sm_{gpu.arch}" if gpu.backend == "cuda" else str(gpu.arch)
