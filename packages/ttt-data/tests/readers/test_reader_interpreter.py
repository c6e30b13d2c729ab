import hashlib
import platform
import re
from pathlib import Path

import pytest

from ttt_config.errors import DataError
from ttt_data.readers import interpreter, open_source
from ttt_data.readers.interpreter import interpreter_texts

MODULE = '''"""About the module."""
import os
if os.name:
    def outer(x):
        r"""Outer \\d.

            Indented.
        """
        def inner():
            """Inner."""
class C:
    """About the module."""
    async def method(self): """Method."""
print("never run")
'''


def library(folder: Path) -> Path:
    (folder / "pydoc_data").mkdir()
    (folder / "pydoc_data/topics.py").write_text(
        "topics = {'b': 'Two\\n' 'lines', 'c': 'Two\\nlines', 'a': ' '}\n"
    )
    (folder / "ast.py").write_text(MODULE)
    (folder / "json/test").mkdir(parents=True)
    (folder / "json/__init__.py").write_text('"""About json."""')
    (folder / "json/tool.py").write_text('"""Inner."""')
    (folder / "json/test/a.py").write_text('"""A test."""')
    (folder / "unknown.py").write_text('"""Not of the library."""')
    return folder


def test_topics_then_modules_with_their_docstrings(tmp_path: Path) -> None:
    found = interpreter_texts(library(tmp_path))
    assert [(document.origin, document.text) for document in found.documents] == [
        ("stdlib:help('b')", "Two\nlines\n"),
        (
            "stdlib:ast",
            "ast\n\nAbout the module.\n\n"
            "ast.outer\n\nOuter \\d.\n\nIndented.\n\n"
            "ast.outer.inner\n\nInner.\n\n"
            "ast.C.method\n\nMethod.\n",
        ),
        ("stdlib:json", "json\n\nAbout json.\n"),
    ]
    assert found.unread == ()


def test_what_is_stripped_or_broken_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library(tmp_path) / "pydoc_data/topics.py").unlink()
    (tmp_path / "glob.py").write_text("def")
    (tmp_path / "abc.py").write_bytes(b"\0")
    found = interpreter_texts(tmp_path)
    monkeypatch.setattr(interpreter.sysconfig, "get_path", lambda _: str(tmp_path))
    interpreter_texts.cache_clear()
    source = open_source("stdlib")
    assert len(list(source)) == len(found.documents) == 2
    assert source.problems.count("file not read") == 3
    assert "pydoc_data/topics.py: No such file or directory" in str(source.problems)
    interpreter_texts.cache_clear()


def test_an_interpreter_without_sources_is_named(tmp_path: Path) -> None:
    message = (
        f"this Python has no library sources in `{tmp_path}`, so there is no `stdlib` text; use "
        "`chronicles` or a text file"
    )
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        interpreter_texts(tmp_path)


def test_the_running_interpreter_is_documented() -> None:
    source = open_source("stdlib")
    train, val, test = (list(source.documents(split)) for split in ("train", "val", "test"))
    documents = list(source)
    assert len(train) + len(val) + len(test) == len(documents) > 300
    assert sum(len(document.text) for document in documents) > 1_000_000
    hashes = {hashlib.sha256(document.text.encode()).digest() for document in documents}
    assert len(hashes) == len(documents)
    assert source.problems.total == 0
    assert str(source.provenance.facts["python"]).endswith(platform.python_version())
    assert source.fingerprint() == open_source("stdlib").fingerprint()
