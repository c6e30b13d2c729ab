"""What the kernels may cost, as data: a change that makes one heavier has to say so.

The stack of a thread is what a limit on spills has to look at: where ptxas gives up it reports few
registers and kilobytes of stack.
"""

import math
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from ttt_kernels.gpu.launch import Form, Forms
from ttt_kernels.gpu.report import Row, form_row
from ttt_kernels.gpu.trial import Trial

BUDGETS = Path(__file__).with_name("budgets.toml")

SLACK = 1.05
"""Instructions of a loop that a new budget allows, over those it has."""


class Budget(NamedTuple):
    """Limits of one form of a kernel.

    Attributes:
        target: it is compiled for.
        kernel: name of the function.
        dim: features of a head.
        mini_batch: tokens of a mini-batch.
        bits: of a number of a token: 16 is bfloat16, 32 float32.
        form: of the launch table, `latency` or `throughput`.
        stack_bytes: of a thread.
        shared_bytes: of a program.
        loop_instructions: of the loop over mini-batches, for each warp.
    """

    target: str
    kernel: str
    dim: int
    mini_batch: int
    bits: int
    form: str
    stack_bytes: int
    shared_bytes: int
    loop_instructions: int

    def compile(self) -> Row:
        """The row of the report that the limits are for."""
        family, direction = self.kernel.rsplit("_", 1)
        dtype = torch.float32 if self.bits == 32 else torch.bfloat16
        return form_row(
            Trial(family, self.dim, self.mini_batch, dtype), direction, self.target, self.form
        )

    def excess(self, row: Row) -> list[str]:
        """What a compiled kernel has too much of, a line for each limit."""
        what = (
            f"{self.kernel} for {self.target}, D = {self.dim}, M = {self.mini_batch}, {self.form}"
        )
        if "error" in row:
            return [f"{what}: {row['error']}"]
        return [
            f"{what}: {row[name]} {name}, the budget is {limit}"
            for name in ("stack_bytes", "shared_bytes", "loop_instructions")
            if row[name] > (limit := getattr(self, name))
        ]


def read_budgets() -> list[Budget]:
    """The rows of `budgets.toml`."""
    return [Budget(**row) for row in tomllib.loads(BUDGETS.read_text())["rows"]]


def budgets_of(
    trial: Trial, target: str, kernel: str, forms: Forms, rows: dict[Form, Row]
) -> list[Budget]:
    """Limits that what was chosen keeps just so."""
    bits = 8 * trial.dtype.itemsize
    point = (target, kernel, trial.head_dim, trial.mini_batch_size, bits)
    return [
        Budget(
            *(*point, name, rows[form]["stack_bytes"], rows[form]["shared_bytes"]),
            loop_instructions=math.ceil(SLACK * rows[form]["loop_instructions"]),
        )
        for name, form in forms._asdict().items()
    ]


def write_budgets(budgets: Iterable[Budget]) -> None:
    """Replace the rows of `budgets.toml` that are for the same forms, and add the others."""
    rows = {each[:6]: each for each in (*read_budgets(), *budgets)}
    lines = [
        "  { "
        + ", ".join(
            f'{name} = "{value}"' if isinstance(value, str) else f"{name} = {value}"
            for name, value in each._asdict().items()
        )
        + " },\n"
        for _, each in sorted(rows.items())
    ]
    above, _, _ = BUDGETS.read_text().partition("rows = [")
    BUDGETS.write_text(f"{above}rows = [\n{''.join(lines)}]\n")
