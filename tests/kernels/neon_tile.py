"""Generate the micro-kernel's code for a 64-bit ARM CPU, which need not be at hand; test_isa.py reads the loops."""

import json
import re
import sys
from pathlib import Path

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types

sys.path.insert(0, str(Path(__file__).parents[2]))
import kernels.isa

NEON = kernels.isa.Isa("neon", 16, 32, fma=True, masks=False)
kernels.isa.isa = lambda: NEON  # before the kernels ask
from kernels import microkernel  # noqa: E402


class Context:
    def get_dummy_value(self):
        return None


class Signature:
    args = (types.int64, types.int64, types.CPointer(types.float32))


def assembly():
    """Return the code of all tiles, optimized as Numba does."""
    pointer, integer = ir.FloatType().as_pointer(), ir.IntType(64)
    kinds = {"p": pointer, "i": integer}
    module = ir.Module("tile")
    module.triple = "aarch64-unknown-linux-gnu"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [kinds[k] for k in "iipiipipiiippi"]), "tile")
    builder = ir.IRBuilder(function.append_basic_block())
    microkernel._codegen(Context(), builder, Signature, list(function.args))
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


if __name__ == "__main__":
    found = [
        {"fmla": sum("fmla" in line for line in loop), "stack": sum("[sp" in line for line in loop)}
        for loop in inner_loops(assembly())
    ]
    print(json.dumps({"tile": NEON.tile, "loops": found}))
