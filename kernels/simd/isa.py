"""What the CPU that kernels are compiled for can do: vector width, registers, fused multiply-add.

Prebuilt kernels are for a level of x86-64 or of AArch64, which tells it. Else LLVM itself is asked: three operations
are compiled for the CPU name and features that Numba will use (``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` included),
and the assembly is read. So the answer is right for the code that will be generated, also when that is not the
machine's own instruction set.
"""

import functools
import re
from typing import Any, NamedTuple

from ..compile.late import late_import
from ..compile.prebuilt import prebuilt

# Elements in the widest vector there is: float32 in AVX-512
WIDEST_LANES = 16


class Isa(NamedTuple):
    """An instruction set as the kernels see it."""

    name: str
    vector_bytes: int
    registers: int
    fma: bool

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector register."""
        return self.vector_bytes // itemsize

    @property
    def tile(self) -> tuple[int, int]:
        """Rows and vectors of the micro-kernel's tile.

        The accumulators, one row of B and one broadcast element of A fill the register file:
        8*3 + 3 + 1 = 28 of 32 registers, 6*2 + 2 + 1 = 15 of 16. With two FMA units of four cycles each, eight
        independent accumulators are the least that keeps them busy.
        """
        return (8, 3) if self.registers >= 32 else (6, 2)

    @property
    def accumulators(self) -> int:
        """Registers of the tile: so many chains can grow side by side."""
        rows, vectors = self.tile
        return rows * vectors


AVX512 = Isa("avx512", 64, 32, fma=True)
AVX2 = Isa("avx2", 32, 16, fma=True)
# Baseline x86-64: 128-bit vectors, products and sums rounded apart, because an `fma` that the hardware lacks would
# become a call to libm for each element.
SSE = Isa("sse", 16, 16, fma=False)
# What every 64-bit ARM CPU has
NEON = Isa("neon", 16, 32, fma=True)
# Levels for which kernels come prebuilt, of x86-64 and of AArch64
LEVELS = {"x86-64": SSE, "x86-64-v3": AVX2, "x86-64-v4": AVX512, "aarch64": NEON}

_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define void @probe(ptr %p, ptr %q) {
  %a = load <16 x float>, ptr %p, align 4
  %b = load <16 x float>, ptr %q, align 4
  %c = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %b)
  store <16 x float> %c, ptr %p, align 4
  ret void
}
"""


def _llvm() -> tuple[Any, Any, Any]:
    """Import what is asked; late, because plans and tables need no Numba before a kernel does."""
    with late_import():
        import llvmlite.binding as llvm

        from .._numba import config, get_host_cpu_features

    return llvm, config, get_host_cpu_features


def cpu_name() -> str:
    """Return LLVM's name of the CPU that the kernels are compiled for."""
    return prebuilt().level or _llvm_cpu()


def _llvm_cpu() -> str:
    llvm, config, _ = _llvm()
    return str(config.CPU_NAME or llvm.get_host_cpu_name())


def target_machine() -> Any:
    """Return an LLVM target machine with the CPU name and features that Numba compiles for."""
    llvm, config, get_host_cpu_features = _llvm()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = config.CPU_FEATURES
    return llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
        cpu=_llvm_cpu(), features=get_host_cpu_features() if features is None else features, opt=2
    )


@functools.cache
def isa() -> Isa:
    """Return the instruction set that the kernels use, prebuilt or compiled; users' own kernels use the same."""
    if prebuilt().level:
        return LEVELS[prebuilt().level]
    llvm, _, _ = _llvm()
    machine = target_machine()
    text = machine.emit_assembly(llvm.parse_assembly(_PROBE))
    if re.search(r"vfmadd\w*ps.*%zmm", text):
        return AVX512
    if re.search(r"vfmadd\w*ps.*%ymm", text):
        return AVX2
    if re.search(r"fmla\s+v\d+\.4s", text):
        return NEON
    return SSE if machine.triple.startswith("x86") else Isa("generic", 16, 16, fma=False)
