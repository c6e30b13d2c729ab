"""From the name of an inner kind to the module."""

import logging

from ttt_config import InnerConfig
from ttt_config.mix import LayerSpec
from ttt_core.inner import InnerModel
from ttt_core.linear import TTTLinear, TTTLinearAdam
from ttt_core.mlp import TTTMLP
from ttt_kernels import choose_kernel

_HIDDEN_LAYERS = {"mlp": 1, "mlp2": 2, "mlp3": 3, "mlp4": 4}
_log = logging.getLogger(__name__)


def build_inner(spec: LayerSpec, head_dim: int, num_heads: int, config: InnerConfig) -> InnerModel:
    """Make the inner model of one layer, parameters not yet initialised.

    A kernel named in `config` must be available. One named by the layer type (`fused-tile-multi`)
    is a preference: where it cannot run, the fastest available kernel takes over and a log line
    says so.

    Raises:
        KernelUnavailableError: `config.kernel` cannot run here.
    """
    choice = choose_kernel(config.kernel, preferred=spec.kernel)
    if config.kernel == "auto" and spec.kernel not in (None, choice.kernel):
        _log.warning("kernel `%s` runs instead: %s", choice.kernel, choice.reason)
    if spec.kind == "linear":
        return TTTLinear(head_dim, num_heads, config, choice.kernel)
    if spec.kind == "linear-adam":
        return TTTLinearAdam(head_dim, num_heads, config, choice.kernel)
    hidden_layers = _HIDDEN_LAYERS[spec.kind]
    return TTTMLP(head_dim, num_heads, config, choice.kernel, hidden_layers=hidden_layers)
