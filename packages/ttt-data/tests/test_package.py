"""What importing the package gives, and what it must not cost."""

import subprocess
import sys

import ttt_data


def test_public_names() -> None:
    assert ttt_data.__all__ == sorted(ttt_data.__all__)
    assert set(ttt_data.__all__) >= {"Batch", "Loader", "LoaderState", "Tokenizer"}
    assert all(hasattr(ttt_data, name) for name in ttt_data.__all__)


def test_importing_loads_neither_torch_nor_tokenizers() -> None:
    program = "import sys, ttt_data; print(sorted({'torch', 'tokenizers'} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert result.stdout.strip() == "[]"
