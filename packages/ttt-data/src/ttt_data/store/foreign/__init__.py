"""Opens token files of other programs as they are, read-only.

| format     | documents                      | written by                          |
|------------|--------------------------------|-------------------------------------|
| `ptok`     | one per row, padding left out  | ttt-rs                              |
| `llmc`     | none                           | llm.c, modded-nanogpt               |
| `nanogpt`  | none                           | nanoGPT (`train.bin`)               |
| `megatron` | in the `.idx` beside the `.bin`| Megatron-LM, and the shards of ours |
| `npy`      | none                           | numpy, ttt-lm-jax                   |

Where a format knows of no documents, the token that ends or begins one can be given.
"""

from ttt_data.store.foreign.detect import Format, detect_format
from ttt_data.store.foreign.folder import token_files
from ttt_data.store.foreign.opener import open_foreign

__all__ = ["Format", "detect_format", "open_foreign", "token_files"]
