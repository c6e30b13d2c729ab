"""The rows of the launch table, found by compiling: nothing needs a GPU, or is timed.

Of all candidates the compiler says how many instructions a mini-batch takes and what does not fit
into registers. A form for latency gives a scheduler the least to issue, one for throughput has the
fewest instructions in all its warps. What is chosen has to be right before it is written down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ttt_kernels.errors import KernelError
from ttt_kernels.gpu.launch import Form, Forms, Shape, launched_as, read_table, write_table
from ttt_kernels.gpu.report import SIMULATED, Row, figures, require_triton
from ttt_kernels.gpu.trial import TOLERANCES, Trial

WARPS = (1, 2, 4, 8)
STAGES = (1, 2, 3)

SCHEDULERS = 4
"""Of a multiprocessor, or SIMD units of a compute unit: a fifth warp waits for one of the others."""

NEGLIGIBLE_STACK = 64
"""Bytes of a thread's stack that count as none: a few registers, which stay in the first cache."""


class WrongKernelError(KernelError):
    """A kernel does not compute what the reference does."""


@dataclass(frozen=True)
class Choice:
    """What was found for one kernel.

    Attributes:
        target: it was compiled for.
        shape: of the kernel.
        forms: the two chosen ones.
        rows: of the report, by form, of all candidates that compile.
        proven: how the chosen forms were found right: `simulated` or `interpreted`.
        error: largest relative error of any result.
    """

    target: str
    shape: Shape
    forms: Forms
    rows: dict[Form, Row]
    proven: str
    error: float


def tune(
    trial: Trial, target: str, on_progress: Callable[[str], None] | None = None
) -> list[Choice]:
    """Find the forms of both directions of a kernel for one target.

    Warps are chosen first, with two stages, then the stages.

    Args:
        trial: the kernel and its shape.
        target: of `ttt_kernels.verify.TARGETS`.
        on_progress: told what is about to be compiled.

    Raises:
        KernelError: no candidate compiles.
        WrongKernelError: what is chosen computes something else than the reference.
        KernelUnavailableError: Triton is not installed.
    """
    require_triton()
    found: dict[str, dict[Form, Row]] = {}
    for direction, launch in trial.launches(target).items():
        rows: dict[Form, Row] = {}

        def compile_form(form: Form, direction: str = direction, launch: Any = launch) -> Row:
            if on_progress is not None:
                on_progress(
                    f"{launch.name} for {target}: {form.num_warps} warps, D = {trial.head_dim}"
                )
            return figures(trial, direction, replace(launch, options=form.options()), target)

        for warps in WARPS:
            if plausible(warps, trial, direction):
                rows[Form(warps, 2)] = compile_form(Form(warps, 2))
        for warps in {form.num_warps for form in choose(_compiled(rows, launch.name, target))}:
            for stages in STAGES:
                form = Form(warps, stages)
                rows[form] = rows.get(form) or compile_form(form)
        found[launch.name] = _compiled(rows, launch.name, target)
    chosen = {name: choose(rows) for name, rows in found.items()}
    proofs = [prove(trial, target, {n: f[i] for n, f in chosen.items()}) for i in range(2)]
    shape = (trial.head_dim, trial.mini_batch_size, trial.dtype)
    return [
        Choice(target, Shape.of(name, *shape), forms, found[name], *max(proofs))
        for name, forms in chosen.items()
    ]


def plausible(warps: int, trial: Trial, direction: str) -> bool:
    """Whether a form is worth compiling.

    The state, and in the backward pass its gradient, stay in registers: they should leave half of
    them. And a warp should have columns of its own: 8, the width of a matrix instruction.
    """
    dim = Shape.of("", trial.head_dim, 1, trial.dtype).dim
    states = 1 if direction == "forward" else 2
    return states * dim**2 <= 128 * 32 * warps and 8 * warps <= dim


def choose(rows: dict[Form, Row]) -> Forms:
    """The best forms of those that compile."""

    def spilled(form: Form) -> int:
        stack = rows[form]["stack_bytes"]
        return 0 if stack <= NEGLIGIBLE_STACK else stack

    def best(schedulers: int) -> Form:
        def issued(form: Form) -> int:
            return rows[form]["loop_instructions"] * max(1, form.num_warps // schedulers)

        return min(rows, key=lambda form: (spilled(form), issued(form), form))

    return Forms(latency=best(SCHEDULERS), throughput=best(1))


def prove(trial: Trial, target: str, forms: dict[str, Form]) -> tuple[str, float]:
    """Run both directions and compare every result with the reference.

    Returns:
        How it was done, `simulated` or `interpreted`, and the largest relative error.

    Raises:
        WrongKernelError: it is larger than rounding explains.
    """
    from ttt_kernels.verify import hardened, poisoned, simulated

    how = simulated(target) if target == SIMULATED else hardened(target=target)
    with launched_as(forms), poisoned(), how:
        error, name = trial.error(trial.run())
    if not error <= TOLERANCES[trial.dtype]:
        raise WrongKernelError(
            f"kernel `{trial.family}` for {target} with {forms}: `{name}` is off by {error:.1e}, "
            f"expected at most {TOLERANCES[trial.dtype]:.0e}; no row was written"
        )
    return "simulated" if target == SIMULATED else "interpreted", error


def write(choices: Sequence[Choice]) -> None:
    """Put what was found into the launch table."""
    write_table(read_table() | {(each.target, each.shape): each.forms for each in choices})


def _compiled(rows: dict[Form, Row], kernel: str, target: str) -> dict[Form, Row]:
    """Those that the compiler did not refuse."""
    compiled = {form: row for form, row in rows.items() if "error" not in row}
    if not compiled:
        reason = next((row["error"] for row in rows.values()), "no form is plausible")
        raise KernelError(f"`{kernel}` has no form for {target}: {reason}")
    return compiled
