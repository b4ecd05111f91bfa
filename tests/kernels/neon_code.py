"""Generate code for a 64-bit ARM CPU, which need not be at hand: the micro-kernel, and what sets the control word.

test_isa.py reads what this prints.
"""

import json
import re
import sys
from pathlib import Path

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

sys.path.insert(0, str(Path(__file__).parents[2]))
import kernels.simd.isa

NEON = kernels.simd.isa.Isa("neon", 16, 32, fma=True)
kernels.simd.isa.isa = lambda: NEON  # before the kernels ask
from kernels.compile import control  # noqa: E402
from kernels.linalg.matrix import Matrix  # noqa: E402
from kernels.simd import microkernel  # noqa: E402


class Context:
    def get_dummy_value(self):
        return None


MATRIX = Matrix.of(types.float32)


class Signature:
    args = microkernel._signature(types.int64, MATRIX, MATRIX, types.int64, MATRIX, types.CPointer(types.float32)).args


def assembly(arguments, write):
    """Return the code of a function that ``write(builder, arguments)`` writes, optimized as Numba does."""
    pointer, integer = ir.FloatType().as_pointer(), ir.IntType(64)
    kinds = {"p": pointer, "i": integer}
    module = ir.Module("function")
    module.triple = "aarch64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kinds[k] for k in arguments]), "function")
    builder = ir.IRBuilder(function.append_basic_block())
    write(builder, list(function.args))
    builder.ret_void()
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(module.triple).create_target_machine(cpu="neoverse-n1", opt=3)
    parsed = llvm.parse_assembly(str(module))
    passes = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(parsed, passes)
    return machine.emit_assembly(parsed)


def inner_loops(text):
    """Return the instructions of each innermost loop."""
    loops, label, body = [], None, []
    for line in map(str.strip, text.splitlines()):
        if line.endswith(":"):
            label, body = line[:-1], []
        elif line and not line.startswith((".", "//")):
            body.append(line)
            if re.search(rf"\s{re.escape(str(label))}$", line):
                loops.append(body)
                body = []
    return loops


def tile(builder, arguments):
    """Write the micro-kernel; three of its arguments are matrices, whose members come one by one."""
    height, rest = arguments[0], iter(arguments[1:])
    operands = [height, *(matrix_of(builder, rest) if kind is MATRIX else next(rest) for kind in Signature.args[1:])]
    microkernel._codegen(Context(), builder, Signature, operands)


def matrix_of(builder, values):
    """Return a record of the next values."""
    pointer, integer = ir.FloatType().as_pointer(), ir.IntType(64)
    record = ir.Constant(ir.LiteralStructType([pointer, *[integer] * (len(Matrix.of.members) - 1)]), ir.Undefined)
    for place in range(len(Matrix.of.members)):
        record = builder.insert_value(record, next(values), place)
    return record


def guarded_store(builder, arguments):
    """Write a product that is computed and stored between taking the control word and giving it back."""
    place = arguments[0]
    word = control.take(builder)
    x = builder.load(place)
    builder.store(builder.fmul(x, x), place)
    control.give_back(builder, word)


if __name__ == "__main__":
    found = [
        {"fmla": sum("fmla" in line for line in loop), "stack": sum("[sp" in line for line in loop)}
        for loop in inner_loops(assembly("ipiiiipiiiiipiiiippi", tile))
    ]
    order = re.findall(r"\b(mrs|msr|ldr|fmul|str)\b", assembly("p", guarded_store))
    print(json.dumps({"tile": NEON.tile, "loops": found, "guarded_store": order}))
