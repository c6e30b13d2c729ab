"""From the name of an inner kind to the module and the kernel that computes it."""

import logging
from functools import cache

from ttt_config import InnerConfig, ModelConfig
from ttt_config.mix import LayerSpec
from ttt_core.inner import InnerModel
from ttt_core.linear import TTTLinear, TTTLinearAdam
from ttt_core.mlp import TTTMLP
from ttt_kernels import KernelChoice, Problem, choose_kernel

_HIDDEN_LAYERS = {"mlp": 1, "mlp2": 2, "mlp3": 3, "mlp4": 4}
_log = logging.getLogger(__name__)


def build_inner(spec: LayerSpec, head_dim: int, num_heads: int, config: InnerConfig) -> InnerModel:
    """Make the inner model of one layer, parameters not yet initialised.

    A kernel named in `config` must be available. One named by the layer type (`fused-tile-multi`)
    is a preference: where it cannot run, the fastest available kernel takes over and a log line
    says so. What no name decides is chosen at each call, where device and shapes are known.

    Raises:
        KernelUnavailableError: `config.kernel` cannot run here.
    """
    choice = choose_kernel(config.kernel, preferred=spec.kernel, problem=Problem(spec.kind))
    kernel = config.kernel
    if kernel == "auto" and spec.kernel not in (None, "auto"):
        kernel = f"auto:{spec.kernel}"
        if choice.kernel != spec.kernel:
            _tell(choice)
    if spec.kind == "linear":
        return TTTLinear(head_dim, num_heads, config, kernel)
    if spec.kind == "linear-adam":
        return TTTLinearAdam(head_dim, num_heads, config, kernel)
    hidden_layers = _HIDDEN_LAYERS[spec.kind]
    return TTTMLP(head_dim, num_heads, config, kernel, hidden_layers=hidden_layers)


@cache
def _tell(choice: KernelChoice) -> None:
    """Say once, not for each layer, that another kernel runs."""
    _log.warning("kernel `%s` runs instead: %s", choice.kernel, choice.reason)


def choose_kernels(config: ModelConfig, device_type: str) -> list[KernelChoice]:
    """Say which kernel will compute each layer of a model, and why, without building it.

    Args:
        config: of the model.
        device_type: where it will be, as `cpu`.

    Raises:
        KernelUnavailableError: `config.inner.kernel` cannot run there.
    """
    specs = [config.mix.layer(index) for index in range(config.num_layers)]
    return [
        choose_kernel(
            config.inner.kernel, preferred=spec.kernel, problem=Problem(spec.kind, device_type)
        )
        for spec in specs
    ]
