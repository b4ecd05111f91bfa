"""How a kernel is compiled: into LLVM code that becomes part of whatever calls it, and no further.

Numba optimises every function that it compiles, and makes machine code of it. Nothing would run that of a kernel:
Python cannot call it, and its callers have copies, which are optimised together with them.
"""

from collections.abc import Callable
from typing import Any

from .._numba import Compiler, JITCodeLibrary, make_function


class InlinedCode(JITCodeLibrary):
    """Code that is linked into its callers' as it is: what makes machine code does not see it."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


class KernelCompiler(Compiler):
    """Numba's compiler, which stops before machine code."""

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Compile a function for its argument types."""
        context = self.state.targetctx
        self.state.library = library = InlinedCode(context.codegen(), func.__qualname__)
        self.state.flags.no_compile = True
        result = super().compile_extra(func)
        library.finalize()  # now, so that an error names the kernel
        # Callers find the code by the object that Python would call; there is nothing at its address.
        unused = make_function(result.fndesc.lookup_module(), func.__name__, "", 0, result.environment, (library,))
        context.insert_user_function(unused, result.fndesc, [library])
        return result._replace(entry_point=unused)


class ClosedCode(JITCodeLibrary):
    """Code that is called from outside by its own name alone: the kernels that are part of it are nobody else's.

    Numba leaves their names visible. They tell functions of one name apart by a number that counts in each process
    anew, and code from the cache was made in another: where two are loaded, one would call the other's kernels.
    LLVM finds a function by name even if it is internal, and may have changed its arguments: so it is renamed.
    """

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage.name == "linkonce_odr":
                function.linkage = "internal"
                function.name = f"closed.{function.name}"
        super()._optimize_final_module()


class ClosedCompiler(Compiler):
    """Numba's compiler, for what is called by its name or address."""

    def compile_extra(self, func: Callable[..., Any]) -> Any:
        """Compile a function for its argument types."""
        self.state.library = ClosedCode(self.state.targetctx.codegen(), func.__qualname__)
        self.state.library.enable_object_caching()
        return super().compile_extra(func)
