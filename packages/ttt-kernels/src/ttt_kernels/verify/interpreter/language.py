"""Triton's language on NumPy arrays, for as long as a launch lasts."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter as stock
from triton.runtime.jit import JITCallable, JITFunction

from ttt_kernels.verify.interpreter.bfloat16 import numpy_dtype
from ttt_kernels.verify.interpreter.rewrite import python_function


@contextmanager
def interpreted_language(builder: Any) -> Iterator[None]:
    """Make the functions of `triton.language` run on `builder` when Python calls them.

    So do functions under `@triton.jit`, Triton's own among them. What is changed are attributes of
    Triton's modules, process-wide; all are restored at the end, so that kernels can be compiled
    in the same process.
    """
    scope = stock._LangPatchScope()
    try:
        scope.set_attr(stock, "interpreter_builder", builder)
        scope.set_attr(stock, "interpreter_semantic", TritonSemantic(builder))
        scope.set_attr(stock, "_get_np_dtype", numpy_dtype)
        for language in (tl, tl.core):
            stock._patch_builtin(language, builder, scope)
            stock._patch_builtin(language.tensor, builder, scope)
            stock._patch_lang_tensor(language.tensor, scope)
            stock._patch_lang_core(language, scope)
        stock._patch_builtin(tl.math, builder, scope)
        stock._patch_builtin(tl.core.tensor_descriptor_base, builder, scope)
        for kind in (JITFunction, stock.InterpretedFunction):
            scope.set_attr(kind, "__call__", _call)
        for name, member in list(vars(tl.tensor).items()):
            if isinstance(member, JITCallable):  # `x.sum()`: the compiler binds it, Python does not
                scope.set_attr(tl.tensor, name, _method(member))
        with np.errstate(all="ignore"):
            yield
    finally:
        scope.restore()


def _call(self: Any, *args: Any, **keywords: Any) -> Any:
    return python_function(self)(*args, **keywords)


def _method(function: Any) -> Any:
    def method(self: Any, *args: Any, **keywords: Any) -> Any:
        return _call(function, self, *args, **keywords)

    return method
