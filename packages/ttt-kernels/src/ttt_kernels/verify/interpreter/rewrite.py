"""The Python function of a kernel, rewritten so that Python can run it."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from types import CellType, CodeType, FunctionType
from typing import Any

from triton.runtime import interpreter as stock

_SEMANTIC = "interpreter_semantic"  # the name that Triton's own transformer writes
_rewritten: dict[Any, Callable[..., Any]] = {}


def python_function(kernel: Any) -> Callable[..., Any]:
    """Return what runs a kernel, or a function that a kernel calls, under `interpreted_language`.

    Assignments turn plain numbers into Triton's scalars, as the compiler does. The function keeps
    its globals, its closure, its defaults and its line numbers.
    """
    function = kernel.fn
    if function not in _rewritten:
        _rewritten[function] = _rewrite(function)
    return _rewritten[function]


def _rewrite(function: FunctionType) -> Callable[..., Any]:
    lines, first = inspect.getsourcelines(function)
    definition = ast.parse(textwrap.dedent("".join(lines))).body[0]
    if not isinstance(definition, ast.FunctionDef):
        raise TypeError(f"`{function.__qualname__}` is not a function")
    definition.decorator_list = []
    stock.FunctionRewriter.ast_transformer.visit(definition)
    ast.increment_lineno(definition, first - 1)

    # Compiled inside a function whose parameters are what it closes over, and Triton's semantics
    # with it: nothing is added to the globals of its module.
    cells = dict(
        zip(function.__code__.co_freevars, function.__closure__ or (), strict=True),
        **{_SEMANTIC: CellType(_CurrentSemantic())},
    )
    module = ast.parse(f"def around({', '.join(cells)}): pass")
    module.body[0].body = [definition]  # pyrefly: ignore[missing-attribute]
    ast.fix_missing_locations(module)
    around = _code_in(compile(module, function.__code__.co_filename, "exec"))
    code = _code_in(around)
    rewritten = FunctionType(
        code,
        function.__globals__,
        function.__name__,
        function.__defaults__,
        tuple(cells[name] for name in code.co_freevars),
    )
    rewritten.__kwdefaults__ = function.__kwdefaults__
    rewritten.__annotations__ = function.__annotations__
    return rewritten


def _code_in(code: CodeType) -> CodeType:
    """The code of the one function that is defined in a piece of code."""
    return next(each for each in code.co_consts if isinstance(each, CodeType))


class _CurrentSemantic:
    """Triton's semantics as they are when the function runs, not when it was rewritten."""

    def __getattr__(self, name: str) -> Any:
        return getattr(stock.interpreter_semantic, name)
