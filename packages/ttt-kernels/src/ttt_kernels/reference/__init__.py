"""The inner loop in plain torch: the oracle every faster kernel is held against.

Read in this order: `activation`, `normalization`, `mini_batch` (one mini-batch in the dual form),
`update` (how the state is carried over), `scan` (the whole sequence), `trace` (what was learned).
All of that can be differentiated by autograd, which is how the tests use it. What runs is the same
without autograd: `layout`, `batched`, `forward`, then `mini_batch_backward` and `backward` for the
gradient by hand, `kernel` for both behind the protocol of kernels.

Notation, one (batch, head) at a time: x_1 = k, z_l = x_l W_l + b_l, x_{l+1} = gelu(z_l) for the L
layers of the inner model, g_l = d loss / d z_l. Letters: B batch, T tokens, H heads, D head dim,
M mini-batch size, N complete mini-batches, L inner layers.
"""

from ttt_kernels.reference.scan import scan
from ttt_kernels.reference.trace import InnerTrace, trace_scan
from ttt_kernels.reference.update import AdamMoments, AdamUpdate, InnerParameters, SGDUpdate

__all__ = [
    "AdamMoments",
    "AdamUpdate",
    "InnerParameters",
    "InnerTrace",
    "SGDUpdate",
    "scan",
    "trace_scan",
]
