"""The rows of the launch table, found by compiling, and by timing where there is the GPU for it.

Without one, the compiler says of all candidates how many instructions a mini-batch takes and what
does not fit into registers. A form for latency gives a scheduler the least to issue, one for
throughput has the fewest instructions in all its warps. That knows nothing of what is waited for: a
GPU of the target has the last word. What is chosen has to be right before it is written down.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ttt_kernels.errors import KernelError
from ttt_kernels.gpu.budgets import budgets_of, write_budgets
from ttt_kernels.gpu.launch import Form, Forms, Shape, launched_as, read_table, write_table
from ttt_kernels.gpu.report import SIMULATED, Row, figures, require_compiler
from ttt_kernels.gpu.timing import LOADS, can_time, time_forms
from ttt_kernels.gpu.trial import TOLERANCES, Trial

if TYPE_CHECKING:
    from ttt_kernels.verify.launch import Launch

WARPS = (1, 2, 4, 8)
STAGES = (1, 2, 3)
STAGES_AT_FIRST = 2

SCHEDULERS = 4
"""Of a multiprocessor (SIMD units of a compute unit): a fifth warp waits for one of the others."""

NEGLIGIBLE_STACK = 256
"""Bytes of a thread's stack that count as none, since they stay in the first cache.

On an H100 128 bytes in four warps took less time than none in eight, and 860 in two took 1.8 times
as long (docs/kernels.md).
"""


class WrongKernelError(KernelError):
    """A kernel does not compute what the reference does."""


@dataclass(frozen=True)
class Choice:
    """What was found for one kernel.

    Attributes:
        trial: what it was compiled for.
        target: it was compiled for.
        kernel: name of the function.
        forms: the two chosen ones.
        rows: of the report, by form, of all candidates that compile; `ms` by load if timed.
        proven: how the chosen forms were found right: `simulated` or `interpreted`.
        error: largest relative error of any result.
    """

    trial: Trial
    target: str
    kernel: str
    forms: Forms
    rows: dict[Form, Row]
    proven: str
    error: float

    @property
    def shape(self) -> Shape:
        """Its row in the launch table."""
        trial = self.trial
        return Shape.of(self.kernel, trial.head_dim, trial.mini_batch_size, trial.dtype)


def tune(
    trial: Trial, target: str, on_progress: Callable[[str], None] | None = None
) -> list[Choice]:
    """Find the forms of both directions of a kernel for one target.

    All of them are timed on a GPU of the target. Without one warps are chosen first, with two
    stages, then the stages.

    Args:
        trial: the kernel and its shape.
        target: of `ttt_kernels.verify.TARGETS`.
        on_progress: told what is about to be compiled.

    Raises:
        KernelError: no candidate compiles.
        WrongKernelError: what is chosen computes something else than the reference.
        KernelUnavailableError: Triton is not installed, or knows no such target or kernel.
    """
    require_compiler([target], [trial.family])
    found = {
        launch.name: _candidates(trial, target, direction, launch, on_progress)
        for direction, launch in trial.launches(target).items()
    }
    chosen = {name: choose(rows) for name, rows in found.items()}
    proofs = [prove(trial, target, {n: f[i] for n, f in chosen.items()}) for i in range(2)]
    return [
        Choice(trial, target, name, forms, found[name], *max(proofs))
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
    """The best forms of those that compile: the fastest if they were timed."""
    if all("ms" in row for row in rows.values()):
        return Forms(*(min(rows, key=lambda form: rows[form]["ms"][name]) for name in LOADS))

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
    """Put what was found into the launch table and the budgets."""
    write_table(read_table() | {(each.target, each.shape): each.forms for each in choices})
    write_budgets(
        budget
        for each in choices
        for budget in budgets_of(each.trial, each.target, each.kernel, each.forms, each.rows)
    )


def _candidates(
    trial: Trial,
    target: str,
    direction: str,
    launch: "Launch",
    on_progress: Callable[[str], None] | None,
) -> dict[Form, Row]:
    """Rows of the report of all forms of one kernel that compile."""
    rows: dict[Form, Row] = {}

    def compile_form(form: Form) -> None:
        if form in rows:
            return
        if on_progress is not None:
            on_progress(
                f"compiling {launch.name} for {target}, D = {trial.head_dim}, "
                f"{form.num_warps} warps, {form.num_stages} stages"
            )
        rows[form] = figures(trial, direction, replace(launch, options=form.options()), target)

    timed = can_time(target)
    for warps in WARPS:
        if plausible(warps, trial, direction):
            compile_form(Form(warps, STAGES_AT_FIRST))
    compiled = _compiled(rows, launch.name, target)
    promising = compiled if timed else choose(compiled)
    for warps in {form.num_warps for form in promising}:
        for stages in STAGES:
            compile_form(Form(warps, stages))
    compiled = _compiled(rows, launch.name, target)
    if timed:
        if on_progress is not None:
            on_progress(f"timing {launch.name}, D = {trial.head_dim}, in {len(compiled)} forms")
        for form, times in time_forms(trial, direction, compiled).items():
            compiled[form]["ms"] = times
    return compiled


def _compiled(rows: dict[Form, Row], kernel: str, target: str) -> dict[Form, Row]:
    """Those that the compiler did not refuse."""
    compiled = {form: row for form, row in rows.items() if "error" not in row}
    if not compiled:
        reason = next((row["error"] for row in rows.values()), "no form is plausible")
        raise KernelError(f"`{kernel}` has no form for {target}: {reason}")
    return compiled
