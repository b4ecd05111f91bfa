"""The generated code: full-width FMAs, accumulators that stay in registers, no call to libm."""

import functools
import gc
import importlib
import inspect
import math
import pkgutil
import re

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from numba import types
from numba.core.registry import cpu_target

from fastbp import kernels
from fastbp.kernels import entries, limits, losses
from fastbp.kernels.compile import functions as compiling
from fastbp.kernels.compile.outlined import Outlined
from fastbp.kernels.compile.parts import behind
from fastbp.kernels.compile.pointers import at
from fastbp.kernels.inputs import ELEMENTS, READ, numbers_table, reader
from fastbp.kernels.linalg.matrix import Matrix
from fastbp.kernels.losses.by_hand import loss_and_gradient
from fastbp.kernels.losses.functions import op_of_loss
from fastbp.kernels.ops import by_hand
from fastbp.kernels.ops.fill import all_codes
from fastbp.kernels.ops.kinds.embedding import embedding_table
from fastbp.kernels.run import chain_plan, penalty
from fastbp.kernels.run.plan import Layer
from fastbp.kernels.simd.isa import isa
from fastbp.kernels.simd.microkernel import TILE_ROWS, TILE_VECTORS, tile
from fastbp.kernels.simd.modes import TAKE
from tests.kernels.calls import layers_of
from tests.kernels.sparse import SparseNetwork

pytestmark = pytest.mark.jit

LIBM = re.compile(
    r"\b(?:exp|exp2|exp10|expm1|log|log2|log10|log1p|pow|fma|erf|erfc|tanh|sinh|cosh|sin|cos|tan|sqrt|cbrt|hypot"
    r"|ldexp|fmod|fmax|fmin|round|floor|ceil)[fl]?\b(?!\()"
)
# What a call names: an address loaded into a register, or the target itself
CALLED = re.compile(r"\b(?:movabsq\s+\$|callq?\s+|jmp\s+|leaq\s+)([\w.@$]+)")

MODULES = [
    importlib.import_module(module.name) for module in pkgutil.walk_packages(kernels.__path__, "fastbp.kernels.")
]


def of_kernels(function):
    return function.__module__.startswith("fastbp.kernels.")


def name_of(part):
    return f"{part.function.__module__.removeprefix('fastbp.kernels.')}.{part.function.__name__}"


ENTRIES = {
    value.py_func.__name__: value
    for module in MODULES
    for value in vars(module).values()
    if isinstance(getattr(value, "_cache", None), compiling.KernelCache) and of_kernels(value.py_func)
}
# Passes and ops of losses are made where they are in use: here all of them.
IN_USE = [code.outlined() for code in all_codes()]
PARTS = [o for o in gc.get_objects() if issubclass(type(o), Outlined) and of_kernels(o.function)]
OUTLINED = {name_of(part): part for part in sorted(PARTS, key=name_of)}

needs_fma = pytest.mark.skipif(not isa().fma, reason="this CPU has no fused multiply-add")


def cached_assembly(cache, signature):
    """Return the assembly of the bitcode that stands in the cache beside a function's machine code, or None."""
    codegen = cpu_target.target_context.codegen()
    data = cache._cache_file.load(cache._index_key(signature, codegen))
    if data is None:  # another process wrote the cache at the same time
        return None
    _, _, (_, bitcode) = data[0]
    return codegen._tm.emit_assembly(llvm.parse_bitcode(bitcode))


@functools.cache
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
    loops = tile_loops(outlined_assembly("linalg.product.product", name))
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
        for loop in inner_loops(outlined_assembly("limits.peak_part", "float32"))
        if len(accumulators(loop)) == limits.CHAINS
    ]
    assert loops, "no loop holds all chains in registers"
    register = {64: "zmm", 32: "ymm", 16: "xmm"}[isa().vector_bytes]
    for loop in loops:
        fmas = [line for line in loop if FMA.match(line)]
        assert all(re.match(rf"vfmadd\d+ps\b.*%{register}\d+$", line) for line in fmas)
        assert len(loop) - len(fmas) <= 3  # the count and the jump


@pytest.fixture(scope="module")
def compiled_entries(training):
    """Call every entry once with float32."""
    z, none = np.ones((3, 2), np.float32), np.zeros(0, np.float32)
    labels, square = np.zeros(3, np.int64), np.ones((2, 2), np.float32)
    real = np.float32
    options = np.array([losses.MEAN, -100, 0, 1e-6, 0])
    by_hand.dense_forward(z, square, none, 0, False, 1, z.copy(), z.copy())
    by_hand.dense_backward(z, square, z, 0, z, z, True, none, 1, z.copy(), square.copy(), none)
    by_hand.activation_backward(z, 0, z, z, z.copy())
    entries.first_wrong_label(labels, 2, -100)
    loss_and_gradient(0, z, labels, z[:0], none, options, none, np.zeros((3, 3)), 1, z.copy())
    rows, at_z, at_options = np.zeros((3, 3)), z.ctypes.data, options.ctypes.data
    value, op = z.copy(), op_of_loss(losses.BY_CODE[losses.SOFTMAX_LABELS]).address(z.dtype)
    entries.loss_at(
        op, z, at_z, 3, 2, 2, labels.ctypes.data, -100, 0, 0, at_options, rows, z.copy().ctypes.data,
        value.ctypes.data, 1,
    )  # fmt: skip
    entries.gaussian_nll(z, z, z, real(1), real(1e-6), real(0), np.zeros(3), z.copy(), z.copy())
    entries.fma_peak(np.ones((1, limits.CHAINS * isa().lanes(4)), real), real(0.5), real(1), 1, 1)
    entries.copy(np.ones(3, real), np.ones(3, real), 1)
    table = numbers_table(z)
    table[READ] = reader(ELEMENTS["f4"]).address(z.dtype)
    entries.read_rows(table, labels, 0, z.copy(), 1)
    entries.first_wrong_code(embedding_table(2, [3], [1], [0]), z)
    network = SparseNetwork([Layer(2, 2, bias=True)], np.float32, z)
    network.predict()
    entries.first_wrong_row(network.table, 3, 2, network.stored.data.size)
    problem = training([(2, 2, 0, True)], np.float32)
    problem.run(entries).predict(entries)
    table = problem.frame().addresses()
    entries.train_on_labels(table, problem.x[:1], problem.labels[:1])
    entries.train_on_targets(table, problem.x[:1], problem.x[:1])
    entries.train_penalized(
        table, problem.x, problem.labels, problem.targets, problem.sample_weight, problem.order, problem.record,
        np.zeros((penalty.NUMBERS, 1)), np.zeros((0, 2), np.int64),
    )  # fmt: skip
    entries.forward_batch(table, z, z.copy(), 1)
    entries.backward_batch(table, z, z, 1)
    entries.update_parameters(table, problem.params, 1)
    entries.input_gradients(table, z, z, z.copy(), 1)
    kept, passing, places, size, turns = chain_plan.make_chain(layers_of([(2, 2, 0, True)]), 4)
    chain_plan.fill_chain(kept, passing, np.dtype(real))
    work = np.zeros(chain_plan.chain_room(1, 4) + 3 * (size + turns), real)
    at_x, at_params, at_work = z.ctypes.data, problem.params.ctypes.data, work.ctypes.data
    out, grads = z.copy(), problem.grads.ctypes.data
    entries.chain_forward(kept, z, at_params, places, at_x, 3, at_work, out.ctypes.data, 1)
    entries.chain_backward(
        kept, z, at_params, places, at_x, 3, at_work, out.ctypes.data, at_x, grads, places, 0, at_work, at_work, 1
    )


@pytest.mark.parametrize("name", ENTRIES)
def test_no_entry_calls_libm(name, compiled_entries):
    text = entry_assembly(name)
    assert name in text
    assert libm_calls(text) == []


# The detectors detect


def test_every_entry_and_outlined_function_is_looked_at():
    assert {
        "layer_forward", "layer_backward", "layer_slope", "first_wrong_label", "loss_of_rows", "read_rows", "loss_at",
        "gaussian_nll", "predict", "train_on_labels", "train_on_targets", "train_steps", "train_penalized",
        "chain_forward", "chain_backward", "fma_peak", "copy",
    } <= set(ENTRIES)  # fmt: skip
    assert {
        "linalg.product.product", "linalg.few_columns.few_columns", "ops.dense.dense_forward",
        "ops.dense.dense_input_gradient", "ops.dense.dense_weight_gradient", "run.train.train",
        "run.clipping.clip",
        "limits.peak_part", "limits.copy_part",
    } <= set(OUTLINED)  # fmt: skip
    assert set(IN_USE) <= set(OUTLINED.values())
    assert len(OUTLINED) == len(PARTS)  # none hides another of its name


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
                TILE_ROWS, Matrix(at(a, 0), 8, TILE_ROWS, 8, 0), Matrix(at(b, 0), cols, 8, cols, 0), 0,
                Matrix(at(c, 0), cols, TILE_ROWS, cols, 0), at(b, 0), at(below, 0), mode,
            )  # fmt: skip

        one_tile.compile((types.float32[::1],) * 4)
        (text,) = one_tile.inspect_asm().values()
        return len(re.findall(r"\bmovl\s+%\w+, .*\(", text))

    assert stores(TAKE) - stores(0) == TILE_ROWS * TILE_VECTORS


def stack_frames(text):
    """Return how many bytes of stack the functions of an assembly text take at once."""
    return [int(number) for number in re.findall(r"sub[ql]?\s+\$(\d+), %[re]sp", text)]


def own_stack(text):
    """Return how many bytes of stack the functions of an assembly text take, as if each were in one call."""
    return sum(stack_frames(text)) + 8 * text.count("pushq") + 64 * len(re.findall(r"and[ql]?\s+\$-\d+, %[re]sp", text))


def deepest(name, own, named):
    """Return the most stack that an outlined function takes, with those that it names."""
    return own[name] + max((deepest(other, own, named) for other in named[name]), default=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_outlined_function_calls_libm_and_no_path_of_calls_takes_40_kib_of_stack(dtype):
    """What a table names is called by its address: an op, a loss or an update, and in that a formula's pass.

    Both claims in one test: all functions are compiled for it, and written as assembly once.
    """
    symbols = {part.symbol(numba.from_dtype(np.dtype(dtype))): name for name, part in OUTLINED.items()}
    own, named, libm, most = {}, {}, {}, {}
    for name, part in OUTLINED.items():
        text = outlined_assembly(name, dtype)
        assert part.function.__name__ in text
        own[name] = own_stack(text)
        named[name] = {symbols[symbol] for symbol in symbols if symbol in text} - {name}
        # Older LLVMs leave the root of a number below zero to libm. It is exact, and there is one a call, in an update.
        libm[name] = set(libm_calls(text)) - {"sqrt"}
    assert {name: calls for name, calls in libm.items() if calls} == {}
    for name in OUTLINED:
        room = name.partition(".")[0]
        level = {"activations": 2, "ops": 1, "losses": 1, "optimizers": 1}.get(room, 0)
        most[level] = max(most.get(level, 0), deepest(name, own, named))
    assert len(most) == 3
    assert 4 << 10 < sum(most.values()) < 40 << 10, most


@pytest.mark.parametrize("name", OUTLINED)
def test_numba_finds_a_text_of_what_it_keeps(name):
    """It reads one for each function; newer Pythons raise where that begins inside a string."""
    text = inspect.getsource(OUTLINED[name].function)
    assert text.lstrip().startswith(("def ", "@"))


def outlined_behind(value):
    try:
        return behind(value)
    except (KeyError, TypeError):
        return None


def test_an_entry_hands_its_arrays_to_one_outlined_body():
    """So other code than Numba's can call that. An entry of integers alone has no element type: it is the body."""
    of_integers = ("first_wrong_label", "first_wrong_row")
    for name, dispatcher in ENTRIES.items():
        function = dispatcher.py_func.__wrapped__
        named = [outlined_behind(function.__globals__.get(each)) for each in function.__code__.co_names]
        bodies = [part for part in named if part is not None]
        assert len(bodies) == (name not in of_integers), name


# The region is the one parallel kernel, whose loop Numba compiles by itself.
@pytest.mark.parametrize("name", [name for name in OUTLINED if name != "compile.region.region"])
def test_kernels_inside_machine_code_are_its_own(name):
    """A weak symbol would be that of whatever was loaded first; those of the function and its constants stay."""
    weak = re.findall(r"\.weak\s+(\S+)", outlined_assembly(name, "float32"))
    own = OUTLINED[name].function.__name__
    assert [symbol for symbol in weak if own not in symbol and "NumbaEnv" not in symbol] == []
