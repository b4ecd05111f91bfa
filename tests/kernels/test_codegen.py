"""The generated code: full-width FMAs, accumulators that stay in registers, no call to libm."""

import math
import re

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba import types
from numba.core.registry import cpu_target

from fastbp.kernels import limits, losses
from fastbp.kernels.compile import functions as compiling
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.losses import entries
from fastbp.kernels.ops import dense
from fastbp.kernels.run import train as network
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.microkernel import TAKE, TILE_ROWS, TILE_VECTORS, tile

LIBM = re.compile(
    r"\b(?:exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|fma|erf|erfc|tanh|sinh|cosh|sin|cos|tan|sqrt|cbrt|hypot"
    r"|ldexp|fmod|fmax|fmin|round|floor|ceil)[fl]?\b(?!\()"
)
# What a call names: an address loaded into a register, or the target itself
CALLED = re.compile(r"\b(?:movabsq\s+\$|callq?\s+|jmp\s+|leaq\s+)([\w.@$]+)")

ENTRIES = {
    "dense_forward": dense.dense_forward,
    "dense_backward": dense.dense_backward,
    "activation_backward": dense.activation_backward,
    "first_wrong_label": entries.first_wrong_label,
    "loss_and_gradient": entries.loss_and_gradient,
    "gaussian_nll": entries.gaussian_nll,
    "predict": network.predict,
    "train_on_labels": network.train_on_labels,
    "train_on_targets": network.train_on_targets,
    "train_steps": network.train_steps,
    "fma_peak": limits.fma_peak,
    "copy": limits.copy,
}
OUTLINED = {part.function.__name__: part for part in compiling.outlined_functions}

needs_fma = pytest.mark.skipif(not isa().fma, reason="this CPU has no fused multiply-add")


def cached_assembly(cache, signature):
    """Return the assembly of the bitcode that stands in the cache beside a function's machine code, or None."""
    codegen = cpu_target.target_context.codegen()
    data = cache._cache_file.load(cache._index_key(signature, codegen))
    if data is None:  # another process wrote the cache at the same time
        return None
    _, _, (_, bitcode) = data[0]
    return codegen._tm.emit_assembly(llvm.parse_bitcode(bitcode))


def outlined_assembly(name, dtype):
    part = OUTLINED[name]
    element = numba.from_dtype(np.dtype(dtype))
    part.compile(element)
    compiled = part.compiled[element]
    return cached_assembly(compiled._cache, compiled._sig) or compiled._compile_uncached().library.get_asm_str()


def entry_assembly(name):
    dispatcher = ENTRIES[name]
    signature = dispatcher.signatures[0]
    text = cached_assembly(dispatcher._cache, signature)
    if text is None:
        uncached = compiling.kernel(dispatcher.py_func)
        uncached.compile(signature)
        text = uncached.inspect_asm(signature)
    return text


def libm_calls(text):
    return sorted({name for name in CALLED.findall(text) if LIBM.fullmatch(name.removesuffix("@PLT"))})


def inner_loops(text):
    """Return the instructions of each innermost loop: from a label to a jump back to it, with no label between."""
    loops, label, body = [], None, []
    for line in (line.split("#")[0].strip() for line in text.splitlines()):
        if line.endswith(":"):
            label, body = line[:-1], []
        elif re.fullmatch(rf"j\w+\s+{re.escape(str(label))}", line):
            loops.append(body)
            label, body = None, []
        elif line and not line.startswith("."):
            body.append(line)
    return loops


FMA = re.compile(r"vfn?madd\d+[ps][sd]\b.*%([xyz]mm\d+)$")


def accumulators(loop):
    """Return the registers that FMAs of a loop add to."""
    return {m[1] for line in loop if (m := FMA.match(line))}


# What formulas of activations are made of besides, and the micro-kernel is not
OTHER_ARITHMETIC = re.compile(r"v?(mul|add|sub|div|max|min|round|cmp|cvt)\w*[ps][sd]\b")


def tile_loops(text):
    """Return the loops over k of the micro-kernel's whole tile: so many accumulators, and no other arithmetic."""
    return [
        loop
        for loop in inner_loops(text)
        if len(accumulators(loop)) >= TILE_ROWS * TILE_VECTORS and not any(map(OTHER_ARITHMETIC.match, loop))
    ]


def vector_spills(loop):
    """Return the instructions that move a vector between a register and the stack."""
    return [line for line in loop if re.search(r"\(%r[sb]p[,)]", line) and re.search(r"%[xyz]mm", line)]


@needs_fma
@pytest.mark.parametrize("name", ["float32", "float64"])
def test_the_tile_is_full_width_fmas_without_spills(name):
    loops = tile_loops(outlined_assembly("product", name))
    assert loops, "no loop holds the whole tile in registers"
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[isa().vector_bytes]
    suffix = "ps" if name == "float32" else "pd"
    for loop in loops:
        fmas = [line for line in loop if FMA.match(line)]
        assert len(fmas) % (TILE_ROWS * TILE_VECTORS) == 0  # LLVM may unroll
        assert all(re.match(rf"vfmadd\d+{suffix}\b.*%{register}\d+$", line) for line in fmas)
        assert vector_spills(loop) == []


@needs_fma
def test_the_peak_is_full_width_fmas_and_nothing_else(compiled_entries):
    loops = [
        loop
        for loop in inner_loops(outlined_assembly("peak_part", "float32"))
        if len(accumulators(loop)) == limits.CHAINS
    ]
    assert loops, "no loop holds all chains in registers"
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[isa().vector_bytes]
    for loop in loops:
        fmas = [line for line in loop if FMA.match(line)]
        assert all(re.match(rf"vfmadd\d+ps\b.*%{register}\d+$", line) for line in fmas)
        assert len(loop) - len(fmas) <= 3  # the count and the jump


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OUTLINED)
def test_no_outlined_function_calls_libm(name, dtype):
    text = outlined_assembly(name, dtype)
    assert name in text
    # Older LLVMs leave the root of a number below zero to libm. It is exact, and there is one a call, in `update`.
    assert set(libm_calls(text)) <= {"sqrt"}


@pytest.fixture(scope="module")
def compiled_entries(training):
    """Call every entry once with float32."""
    z, none = np.ones((3, 2), np.float32), np.zeros(0, np.float32)
    labels, square = np.zeros(3, np.int64), np.ones((2, 2), np.float32)
    real = np.float32
    options = np.array([losses.MEAN, -100, 0, 1e-6, 0])
    dense.dense_forward(z, square, none, 0, False, 1, z.copy(), z.copy())
    dense.dense_backward(z, square, z, 0, z, z, True, none, 1, z.copy(), square.copy(), none)
    dense.activation_backward(z, 0, z, z, z.copy())
    entries.first_wrong_label(labels, 2, -100)
    entries.loss_and_gradient(0, z, labels, z[:0], none, options, none, np.zeros((3, 3)), 1, z.copy())
    entries.gaussian_nll(z, z, z, real(1), real(1e-6), real(0), np.zeros(3), z.copy(), z.copy())
    limits.fma_peak(np.ones((1, limits.CHAINS * isa().lanes(4)), real), real(0.5), real(1), 1, 1)
    limits.copy(np.ones(3, real), np.ones(3, real), 1)
    problem = training([(2, 2, 0, True)], np.float32)
    problem.run(network).predict(network)
    table = problem.frame().addresses()
    network.train_on_labels(table, problem.x[:1], problem.labels[:1])
    network.train_on_targets(table, problem.x[:1], problem.x[:1])


@pytest.mark.parametrize("name", ENTRIES)
def test_no_entry_calls_libm(name, compiled_entries):
    text = entry_assembly(name)
    assert name in text
    assert libm_calls(text) == []


# The detectors detect


def test_every_entry_and_outlined_function_is_looked_at():
    modules = [dense, limits, entries, network]
    found = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(getattr(value, "_cache", None), compiling.KernelCache)
    }
    assert found == set(ENTRIES)
    assert {"product", "forward_part", "loss_part", "update"} <= set(OUTLINED)


@pytest.mark.parametrize("function", [math.exp, math.tanh, math.erf, math.log])
def test_a_call_to_libm_is_found(function):
    compiled = numba.njit(types.float64(types.float64))(lambda x: function(x))
    text = compiled.inspect_asm(compiled.signatures[0])
    assert libm_calls(text) == [function.__name__]


def test_a_power_in_a_loop_is_found():
    @numba.njit(types.void(types.float32[::1], types.float32))
    def powers(x, y):
        for i in range(x.size):
            x[i] = x[i] ** y

    assert libm_calls(powers.inspect_asm(powers.signatures[0])) == ["powf"]


LOOP = """
.LBB0_1:
	vmovups	(%rsi), %zmm30
.LBB0_2:
	vbroadcastss	(%rdi), %zmm31
	vfmadd231ps	%zmm31, %zmm30, %zmm0
	vfmadd231ps	(%rdi){1to16}, %zmm30, %zmm1 # comment
	SPILL
	jne	.LBB0_2
	vfmadd231ps	%zmm31, %zmm30, %zmm2
	jne	.LBB0_1
"""


def test_a_loop_is_told_from_the_code_around_it():
    (loop,) = inner_loops(LOOP)
    assert accumulators(loop) == {"zmm0", "zmm1"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("vmovups\t%zmm0, 64(%rsp)", True),
        ("vmovaps\t-128(%rbp), %ymm3", True),
        ("vfmadd231ps\t(%rsp,%rax,4), %zmm30, %zmm1", True),
        ("movq\t%rax, 8(%rsp)", False),
        ("vmovups\t(%rdi), %zmm3", False),
    ],
)
def test_a_spill_is_found(line, found):
    (loop,) = inner_loops(LOOP.replace("SPILL", line))
    assert bool(vector_spills(loop)) == found


@pytest.mark.skipif(not isa().name.startswith(("avx", "sse")), reason="looks for instructions of x86")
def test_what_is_taken_is_stored_once_a_line():
    """It changes no number, so that nothing but the instructions, and the clock, shows it."""
    width = isa().lanes(4)

    def stores(mode):
        @numba.njit
        def one_tile(a, b, c, below):
            cols = TILE_VECTORS * width
            tile(
                TILE_ROWS, TILE_ROWS, at(a, 0), 8, 1, at(b, 0), cols, 0, at(c, 0), cols, 8, cols, at(b, 0),
                at(below, 0), mode,
            )  # fmt: skip

        one_tile.compile((types.float32[::1],) * 4)
        (text,) = one_tile.inspect_asm().values()
        return len(re.findall(r"\bmovl\s+%\w+, .*\(", text))

    assert stores(TAKE) - stores(0) == TILE_ROWS * TILE_VECTORS
