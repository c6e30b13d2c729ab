"""Source `stdlib`: the documentation of the running Python, real English on every machine.

One document per help topic and one per module of the standard library, which holds the docstrings
of the module, its classes and its functions in the order of the source, each under its full name.
What stood in an earlier document is left out. The modules are parsed, never imported.
"""

import ast
import hashlib
import inspect
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from msgspec import Struct

from ttt_config.errors import DataError
from ttt_data.readers.document import SourceDocument

_TOPICS = Path("pydoc_data", "topics.py")
_TESTS = frozenset({"test", "tests", "idle_test"})


class InterpreterTexts(Struct, frozen=True):
    """What was found.

    Attributes:
        documents: help topics by name, then modules by name.
        unread: what is missing or could not be parsed, each with the reason.
    """

    documents: tuple[SourceDocument, ...]
    unread: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        """Hash of all the texts in order."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(f"{document.origin}\n{document.text}\0".encode())
        return digest.hexdigest()


@cache
def interpreter_texts(library: Path | None = None) -> InterpreterTexts:
    """Collect the documentation; kept in memory, it is a few megabytes.

    Args:
        library: folder of the standard library; None: that of the running interpreter.

    Raises:
        DataError: the interpreter comes without the sources of its library.
    """
    library = library or Path(sysconfig.get_path("stdlib"))
    unread: list[tuple[str, str]] = []
    documents = [*_topics(library, unread), *_modules(library, unread)]
    if not documents:
        raise DataError(
            f"this Python has no library sources in `{library}`, so there is no `stdlib` text; "
            "use `chronicles` or a text file"
        )
    return InterpreterTexts(tuple(documents), tuple(unread))


def _topics(library: Path, unread: list[tuple[str, str]]) -> Iterator[SourceDocument]:
    tree = _parse(library / _TOPICS, _TOPICS.as_posix(), unread)
    if tree is None:
        return
    texts = {
        str(key.value): value.value.strip()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
    }
    seen = {""}
    for name, text in sorted(texts.items()):
        if text not in seen:
            seen.add(text)
            yield SourceDocument(f"{text}\n", f"stdlib:help({name!r})")


def _modules(library: Path, unread: list[tuple[str, str]]) -> Iterator[SourceDocument]:
    seen: set[str] = set()
    for module, path in _module_files(library):
        tree = _parse(path, path.relative_to(library).as_posix(), unread)
        if tree is None:
            continue
        sections: list[str] = []
        for name, docstring in _docstrings(tree, module):
            if docstring not in seen:
                seen.add(docstring)
                sections.append(f"{name}\n\n{docstring}\n")
        if sections:
            yield SourceDocument("\n".join(sections), f"stdlib:{module}")


def _module_files(library: Path) -> list[tuple[str, Path]]:
    """Dotted name and file of every module of the standard library, tests left out, by name."""
    found: list[tuple[str, Path]] = []
    for top in sys.stdlib_module_names:
        paths = [library / f"{top}.py", *(library / top).rglob("*.py")]
        for path in paths:
            parts = path.relative_to(library).with_suffix("").parts
            if path.is_file() and not _TESTS.intersection(parts):
                found.append((".".join(parts).removesuffix(".__init__"), path))
    return sorted(found)


def _parse(path: Path, name: str, unread: list[tuple[str, str]]) -> ast.Module | None:
    try:
        with warnings.catch_warnings():  # of the library's authors, about their code
            warnings.simplefilter("ignore")
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        unread.append((name, reason or str(error)))
        return None


def _docstrings(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """Full name and docstring of a module, class or function, then of all that is defined in it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        docstring = inspect.cleandoc(ast.get_docstring(node, clean=False) or "").strip()
        if docstring:
            yield name, docstring
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _docstrings(child, f"{name}.{child.name}")
        elif isinstance(child, ast.stmt | ast.ExceptHandler):  # definitions under `if` and `try`
            yield from _docstrings(child, name)
