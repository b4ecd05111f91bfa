"""How many fused multiply-adds this CPU can do, by code that no commit of fastbp changes."""

import ctypes
import platform
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import llvmlite.binding as llvm
from asv_runner.benchmarks.mark import SkipNotImplemented

REPEATS = 2_000_000


def lanes():
    """Return how many numbers of float32 a register of this CPU holds."""
    features = llvm.get_host_cpu_features()
    return 16 if features.get("avx512f") else 8 if features.get("avx") else 4


def chains():
    """Return in how many registers it happens, which do not wait for each other; one more holds the factor.

    Two units of five cycles need ten; CPUs with 32 registers may have four.
    """
    wide = llvm.get_host_cpu_features().get("avx512f") or platform.machine() in ("aarch64", "arm64")
    return 24 if wide else 12


def source():
    """Return what runs, in LLVM's language: x = 0.5 x + 0.5 in each register, again and again."""
    v, fma = f"<{lanes()} x float>", f"@llvm.fma.v{lanes()}f32"
    halves = f"<{', '.join(['float 0.5'] * lanes())}>"
    each = range(chains())
    phis = "\n".join(f"  %x{i} = phi {v} [{halves}, %entry], [%y{i}, %loop]" for i in each)
    fmas = "\n".join(f"  %y{i} = call {v} {fma}({v} %x{i}, {v} {halves}, {v} {halves})" for i in each)
    sums = "\n".join(f"  %s{i} = fadd {v} %y{i}, {f'%s{i - 1}' if i else 'zeroinitializer'}" for i in each)
    return f"""
declare {v} {fma}({v}, {v}, {v})
define void @peak(ptr %out, i64 %n) {{
entry:
  br label %loop
loop:
  %k = phi i64 [0, %entry], [%next, %loop]
{phis}
{fmas}
  %next = add i64 %k, 1
  %done = icmp eq i64 %next, %n
  br i1 %done, label %end, label %loop
end:
{sums}
  store {v} %s{chains() - 1}, ptr %out, align 4
  ret void
}}"""


def compiler():
    """Return LLVM's compiler for this CPU."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features, opt=3)


@cache
def _engine():
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(source()), compiler())
    engine.finalize_object()
    return engine


def fma_peak(threads):
    """Return a call that is nothing but fused multiply-adds on so many threads, and its floating-point operations."""
    if platform.machine() == "x86_64" and not llvm.get_host_cpu_features().get("fma"):
        raise SkipNotImplemented("this CPU has no fused multiply-add")
    peak = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(_engine().get_function_address("peak"))
    outs = [(ctypes.c_float * lanes())() for _ in range(threads)]
    pool = ThreadPoolExecutor(threads)

    def call():
        # ctypes lets go of the GIL, so they run side by side.
        list(pool.map(lambda out: peak(ctypes.addressof(out), REPEATS), outs))

    return call, 2 * lanes() * chains() * REPEATS * threads
