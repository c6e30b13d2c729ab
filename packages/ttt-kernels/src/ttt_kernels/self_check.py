"""Every kernel of this machine against the float64 reference: outputs, states and gradients.

The oracle is `reference.scan` in float64 under autograd, which shares no line of a gradient with
any kernel. It is enough to find a kernel that a compiler, a driver or a change has broken; the
tests of the package are more thorough.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ttt_kernels import dispatch
from ttt_kernels.capability import CAPABILITIES, Problem, dtype_name
from ttt_kernels.errors import KernelError, KernelUnavailableError
from ttt_kernels.operators import OperatorArguments, run
from ttt_kernels.reference.scan import scan
from ttt_kernels.reference.update import SGDUpdate

LAYERS = {"linear": 1, "linear-adam": 1, "mlp": 2, "mlp2": 3}
"""Inner models that are checked, with their layers; deeper ones are more of the same."""

_FAMILIES = {"linear": "linear", "linear-adam": "linear_adam"}


class KernelCheckError(KernelError):
    """A kernel computes something else than the reference."""


@dataclass(frozen=True)
class Case:
    """Shapes and layouts of one call.

    Attributes:
        name: what it is there for.
        tokens: T.
        mini_batch_size: M.
        head_dim: D.
        heads: H.
        shared: whether the initial state is shared by the batch.
        sliced: whether q, k and v are slices of one projection, as layers hand them over.
        interval: the checkpoint interval.
        gamma_spread: standard deviation of the inner layer norm's weight around 1.
    """

    name: str
    tokens: int
    mini_batch_size: int
    head_dim: int
    heads: int = 2
    shared: bool = True
    sliced: bool = False
    interval: int | None = None
    gamma_spread: float = 0.3


CASES = (
    Case("remainder", tokens=37, mini_batch_size=16, head_dim=16),
    Case("strided", tokens=24, mini_batch_size=8, head_dim=20, shared=False, sliced=True),
    Case("many mini-batches", tokens=50, mini_batch_size=4, head_dim=8, heads=3, interval=5),
    Case("gamma near 1", tokens=48, mini_batch_size=16, head_dim=64, gamma_spread=0.02),
    Case("open mini-batch alone", tokens=5, mini_batch_size=16, head_dim=24, shared=False),
    Case("mini-batches of one", tokens=7, mini_batch_size=1, head_dim=12, sliced=True),
)


@dataclass(frozen=True)
class Deviation:
    """How far one result of a kernel is from the reference, in the worst case.

    Attributes:
        kernel: its name.
        kind: the inner model.
        dtype: of the state.
        tensor: which result.
        case: in which it was worst.
        error: largest difference, relative to the largest number; infinite if there is a NaN.
        tolerance: largest error that rounding explains.
    """

    kernel: str
    kind: str
    dtype: str
    tensor: str
    case: str
    error: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether rounding explains it."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        return (
            f"kernel `{self.kernel}`, {self.kind}, {self.dtype}: `{self.tensor}` is off by "
            f"{self.error:.1e} in the case `{self.case}`, expected at most {self.tolerance:.0e}"
        )


ONE_TILE = Case("one tile", tokens=16, mini_batch_size=16, head_dim=16)
"""The least that shows whether a kernel works at all."""


def checkable_kernels() -> tuple[str, ...]:
    """Names of the available kernels for which this machine has a device, the fastest first."""
    return tuple(name for name in dispatch.INSTALLED if _devices_of(name))


def check_kernels(
    names: Sequence[str] = (),
    on_progress: Callable[[str], None] | None = None,
    *,
    kinds: Sequence[str] | None = None,
    cases: Sequence[Case] = CASES,
    dtypes: Sequence[torch.dtype] | None = None,
) -> list[Deviation]:
    """Compare kernels with the reference: each result of each inner model, by name.

    Args:
        names: of the kernels; none: `checkable_kernels()`.
        on_progress: told what is about to be checked; a kernel may have to be compiled first.
        kinds: inner models; None: all that are checked.
        cases: shapes.
        dtypes: of the state; None: all that a kernel has.

    Raises:
        KernelUnavailableError: one of them cannot run here, or has no device here.
    """
    kernels = [dispatch.choose_kernel(name).kernel for name in names or checkable_kernels()]
    for name in kernels:
        if not _devices_of(name):
            devices = " or ".join(CAPABILITIES[name].devices or ())
            raise KernelUnavailableError(
                f"kernel `{name}` cannot be checked here: it runs on {devices}, and there is none"
            )
    worst: dict[tuple[str, ...], Deviation] = {}
    for kind, case in itertools.product(kinds or LAYERS, cases):
        if on_progress is not None:
            on_progress(f"{', '.join(kernels)}: {kind}, {case.name}")
        for found in _check_case(kernels, kind, case, dtypes):
            key = (found.kernel, found.dtype, found.kind, found.tensor)
            if key not in worst or found.error > worst[key].error:
                worst[key] = found
    return list(worst.values())


def require_passed(found: Sequence[Deviation]) -> None:
    """Raise if a tolerance is passed.

    Raises:
        KernelCheckError: naming the deviation that is furthest beyond its tolerance.
    """
    failed = [each for each in found if not each.passed]
    if failed:
        worst = max(failed, key=lambda each: each.error / each.tolerance)
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise KernelCheckError(f"{worst}{more}")


def _check_case(
    kernels: Sequence[str], kind: str, case: Case, dtypes: Sequence[torch.dtype] | None
) -> Iterator[Deviation]:
    arguments = _random_arguments(kind, case)
    expected = _results(kind, _converted(arguments, torch.float64, "cpu"), oracle=True)
    for name in kernels:
        for device, dtype in itertools.product(_devices_of(name), CAPABILITIES[name].dtypes):
            given = _converted(arguments, dtype, device)._replace(kernel=name)
            if dtypes is not None and dtype not in dtypes:
                continue
            if CAPABILITIES[name].refusal(Problem(kind, device, dtype)) is not None:
                continue
            if dispatch.INSTALLED[name].refusal(given.loop()) is not None:
                continue
            for tensor, value in _results(kind, given).items():
                yield Deviation(
                    *(name, kind, dtype_name(dtype), tensor, case.name),
                    error=_relative_error(value, expected[tensor]),
                    tolerance=_tolerance(tensor, dtype),
                )


def _random_arguments(kind: str, case: Case) -> OperatorArguments:
    """Arguments of which every one matters: all rates differ, moments are not those of a start."""
    rng = torch.Generator().manual_seed(0)

    def normal(*shape: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
        return torch.randn(*shape, generator=rng) * scale + shift

    batch, heads, dim, adam = 2, case.heads, case.head_dim, kind == "linear-adam"
    widths = [dim, *[3 * dim] * (LAYERS[kind] - 1), dim]
    lead = (heads,) if case.shared else (batch, heads)
    projection = normal(batch, case.tokens, 3, heads, dim)
    q, k, v = projection.unbind(2)
    if not case.sliced:
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
    state = ((batch, heads, dim, dim), (batch, heads, dim))
    moments = [normal(*s, scale=0.1) for s in state] + [normal(*s).abs() + 0.1 for s in state]
    return OperatorArguments(
        *(q, k, v),
        token_eta=normal(case.mini_batch_size, scale=0.1).abs() + 0.05,
        lr=normal(batch, case.tokens, heads, scale=0.1).abs(),
        weights=[normal(*lead, i, o, scale=i**-0.5) for i, o in itertools.pairwise(widths)],
        biases=[normal(*lead, o, scale=0.2) for o in widths[1:]],
        ln_w=normal(heads, dim, scale=case.gamma_spread, shift=1.0),
        ln_b=normal(heads, dim, scale=0.3),
        moments=moments if adam else [],
        step=3 if adam else 0,
        adam=[0.05, 0.9, 0.99] if adam else [],
        mini_batch_size=case.mini_batch_size,
        eps=1e-6,
        checkpoint_interval=case.interval,
        kernel="reference",
    )


def _converted(given: OperatorArguments, dtype: torch.dtype, device: str) -> OperatorArguments:
    """Copy into a dtype with the same strides; what has a gradient is a leaf."""

    def leaf(x: Tensor) -> Tensor:
        copy = torch.empty_strided(x.shape, x.stride(), dtype=dtype, device=device).copy_(x)
        return copy.requires_grad_()

    return OperatorArguments(
        *(leaf(given.q), leaf(given.k), leaf(given.v), leaf(given.token_eta), leaf(given.lr)),
        *([leaf(x) for x in given.weights], [leaf(x) for x in given.biases]),
        *(leaf(given.ln_w), leaf(given.ln_b), [leaf(x).detach() for x in given.moments]),
        *(given.step, given.adam, given.mini_batch_size, given.eps, given.checkpoint_interval),
        given.kernel,
    )


def _leaves(given: OperatorArguments) -> dict[str, Tensor]:
    """What has a gradient, by name."""
    names = ("q", "k", "v", "token_eta", "lr", "ln_w", "ln_b")
    return {
        **{name: getattr(given, name) for name in names},
        **{f"weights[{i}]": x for i, x in enumerate(given.weights)},
        **{f"biases[{i}]": x for i, x in enumerate(given.biases)},
    }


def _results(kind: str, given: OperatorArguments, *, oracle: bool = False) -> dict[str, Tensor]:
    """Output, final state and, under random weights of both, every gradient."""
    if oracle:
        output, weights, biases, moments = _oracle(given)
    else:
        output, weights, biases, moments, _ = run(_FAMILIES.get(kind, "mlp"), given, save=True)
    reached = {"output": output}
    reached |= {f"final weights[{i}]": each for i, each in enumerate(weights)}
    reached |= {f"final biases[{i}]": each for i, each in enumerate(biases)}
    rng = torch.Generator().manual_seed(1)
    upstream = [torch.randn(x.shape, generator=rng).to(x) for x in reached.values()]
    leaves = _leaves(given)
    gradients = torch.autograd.grad(list(reached.values()), list(leaves.values()), upstream)
    reached |= {f"final moments[{i}]": each for i, each in enumerate(moments)}
    return reached | {
        f"gradient of {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)
    }


def _oracle(given: OperatorArguments) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Output, weights, biases and moments by the reference under autograd."""
    loop = given.loop()
    output, end = scan(
        *(loop.q, loop.k, loop.v, loop.token_eta, loop.lr, loop.parameters, loop.ln_w, loop.ln_b),
        update=loop.adam or SGDUpdate(),
        mini_batch_size=loop.mini_batch_size,
        eps=loop.eps,
    )
    ended = [] if end.moments is None else [*end.moments.first, *end.moments.second]
    return output, list(end.weights), list(end.biases), ended


def _devices_of(kernel: str) -> list[str]:
    """Where a kernel can be tried on this machine."""
    here = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    return [each for each in here if CAPABILITIES[kernel].runs_on(each)]


def _relative_error(value: Tensor, expected: Tensor) -> float:
    difference = (value.detach().double().cpu() - expected).abs().max() / expected.abs().max()
    return difference.nan_to_num(nan=torch.inf, posinf=torch.inf).item()


def _tolerance(tensor: str, dtype: torch.dtype) -> float:
    if dtype == torch.float64:
        return 1e-9
    return 1e-4 if tensor.startswith("gradient") else 1e-5
