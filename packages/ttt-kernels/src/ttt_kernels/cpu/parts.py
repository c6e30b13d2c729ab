"""Functions that only compiled code calls: optimized and assembled with their callers, once.

Numba optimizes and assembles each function with all that it calls, and then that again with each of
its callers, level by level. Of a function that Python never calls all but the last is thrown away;
without it, compiling takes half the time.
"""

from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler


class PartCompiler(Compiler):
    """Numba's compiler, but for what becomes of the code: it waits to be linked."""

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing_context, target_context, library, *rest)
        self.state.library = _PartLibrary(self.state.targetctx.codegen(), "part")
        self.state.library.enable_object_caching()


class _PartLibrary(JITCodeLibrary):
    """Code of a function and of all it calls, as it was emitted."""

    def _optimize_final_module(self) -> None:
        """Leave it to the caller's library."""

    def _finalize_final_module(self) -> None:
        """Link it, and do not assemble it."""
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Say that there is nothing Python could call."""
        del name
        return 0

    @property
    def codegen(self) -> Any:
        """Where Numba leaves the Python objects that the code uses, which it does by `set_env`."""
        return self

    def set_env(self, env_name: str, env: Any) -> None:
        """Leave nothing: a part uses no Python objects."""
