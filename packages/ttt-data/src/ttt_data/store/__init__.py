"""Tokens on disk: one folder per corpus, readable by other programs as it is.

    corpus/
    |-- manifest.json       every file with its size and hashes; written last
    |-- tokenizer.json      the tokenizer the ids belong to
    |-- train-00000.bin     1,024 bytes of header, then tokens: an llm.c file
    |-- train-00000.idx     where each document lies in the .bin: a Megatron index
    `-- val-00000.bin ...

Tokens are u16 if the vocabulary has up to 65,536 entries, else u32. Every number is little-endian.
A shard holds whole documents. While a store is being written its folder also holds `journal.jsonl`
and `writer.lock`, and files under way end in `.tmp`; without `manifest.json` nothing opens it.

The header of a `.bin`. llm.c and modded-nanogpt read its first three numbers and skip the rest:

| byte | type   | content                                                    |
|------|--------|------------------------------------------------------------|
| 0    | i32    | magic: 20240520 for u16 tokens, 20240801 for u32           |
| 4    | i32    | version: 1 for u16, 7 for u32                              |
| 8    | i32    | tokens in the shard                                        |
| 12   |        | zeros                                                      |
| 64   | `TTTD` | magic of our part                                          |
| 68   | u32    | its version, 1                                             |
| 72   | u32    | bytes per token, 2 or 4                                    |
| 76   | u32    | entries of the vocabulary                                  |
| 80   | u64    | tokens in the shard                                        |
| 88   | u64    | documents in the shard                                     |
| 96   | i64    | id that ends a document                                    |
| 104  | i64    | id that begins a document, -1 for none                     |
| 112  | i64    | id of padding, -1 for none                                 |
| 120  | u8[32] | SHA-256 of tokenizer.json                                  |
| 152  | u32    | CRC-32 of the tokens                                       |
| 156  |        | zeros                                                      |
| 1024 | u16/32 | the tokens                                                 |

The `.idx`, with n documents; Megatron calls each a sequence and every one a document of its own:

| byte     | type     | content                                                            |
|----------|----------|--------------------------------------------------------------------|
| 0        | char[9]  | `MMIDIDX` and two zero bytes                                       |
| 9        | u64      | version, 1                                                         |
| 17       | u8       | 8 for u16 tokens; 4, which is i32, for u32: ids stay below 2**31   |
| 18       | u64      | n                                                                  |
| 26       | u64      | n + 1                                                              |
| 34       | i32[n]   | tokens of each document                                            |
| 34 + 4n  | i64[n]   | byte of the `.bin` where it begins, 1024 for the first             |
| 34 + 12n | i64[n+1] | first sequence of each document, then their number: 0, 1, ... n    |

nanoGPT would take the header for tokens: skip it with `offset=1024`, or use `export_split`.

In `manifest.json`, `crc32` has eight hex digits for each MiB of a file, so that damage can be
located; `sha256` is of the whole file. Its own hash, `fingerprint`, is the SHA-256 of the manifest
with that field empty. Nothing in a store depends on the time, the machine or the path: the same
documents, tokenizer and options make the same bytes.
"""

from ttt_data.store.export import Exported, ExportFormat, export_split
from ttt_data.store.foreign import Format, detect_format, open_foreign, token_files
from ttt_data.store.manifest import Manifest, Provenance
from ttt_data.store.reader import TokenStore
from ttt_data.store.split import TokenSplit
from ttt_data.store.verify import Problem, verify_store
from ttt_data.store.writer import TokenStoreWriter

__all__ = [
    "ExportFormat",
    "Exported",
    "Format",
    "Manifest",
    "Problem",
    "Provenance",
    "TokenSplit",
    "TokenStore",
    "TokenStoreWriter",
    "detect_format",
    "export_split",
    "open_foreign",
    "token_files",
    "verify_store",
]
