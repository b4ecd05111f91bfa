"""The kernels as position-independent objects for one level of a CPU: ``python native/objects.py LEVEL FOLDER``.

Numba compiles every outlined function and the door of every entry, for float32 and float64. What it has made gets a
plain name and no Python in it, and LLVM writes an object; ``symbols.json`` beside the objects says what is in them.
It is told which CPU that is for, which need not be that of this machine, and takes nothing from a cache.
"""

import gc
import json
import os
import re
import sys
import tempfile
import types as python_types
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Level(NamedTuple):
    """What machine code is for.

    platform : as sysconfig names it
    cpu : LLVM's name of the CPU
    prefix : what the names in the objects begin with
    """

    platform: str
    cpu: str
    prefix: str

    @property
    def triple(self):
        """LLVM's name of the platform."""
        system, machine = self.platform.split("-")
        return f"{machine}-unknown-{system}-gnu"


# By the names that kernels/simd/isa.py has for them, the highest of a platform last
LEVELS = {
    "x86-64": Level("linux-x86_64", "x86-64", "base"),
    "x86-64-v3": Level("linux-x86_64", "x86-64-v3", "v3"),
    "x86-64-v4": Level("linux-x86_64", "x86-64-v4", "v4"),
    "aarch64": Level("linux-aarch64", "generic", "base"),
}


def aim(level):
    """Have Numba generate code for a level, on whatever machine; before it is imported."""
    import llvmlite.binding as llvm

    os.environ.update(NUMBA_CPU_NAME=level.cpu, NUMBA_CPU_FEATURES="", FASTBP_KERNELS="jit")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.get_process_triple = lambda: level.triple
    llvm.Target.from_default_triple = lambda: llvm.Target.from_triple(level.triple)


def import_kernels(scratch):
    """Make the kernels of this source tree importable, without the package around them and what that needs."""
    (Path(scratch) / "kernels").symlink_to(ROOT / "kernels")
    package = python_types.ModuleType("fastbp")
    package.__path__ = [scratch]
    sys.modules["fastbp"] = package


def all_outlined(dtype):
    """Yield every outlined function that an entry or a plan needs, and each door, with the door's entry."""
    from doors import Door

    from fastbp.kernels import code, entries
    from fastbp.kernels.ops.fill import all_codes

    found = {}
    for home, names in entries.COMPILED.items():
        for name in names:
            door = Door(getattr(code.jit(home), name), dtype)
            found.update(dict.fromkeys(door.parts()))
            yield door
    for each in all_codes():
        part = each.outlined()
        if part.symbol(dtype) != f"{each.module}.{each.name}.{dtype}":
            raise RuntimeError(f"{each} is not where it says: {part.symbol(dtype)}")
        found.update(dict.fromkeys([*part.parts(), part]))
    yield from found


class Objects:
    """Writes objects with one LLVM target machine."""

    def __init__(self, prefix):
        import llvmlite.binding as llvm

        from fastbp.kernels._numba import config, get_host_cpu_features

        features = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
        self.llvm, self.prefix = llvm, prefix
        self.machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
            cpu=config.CPU_NAME, features=features, opt=3, reloc="pic", codemodel="default"
        )
        self.outside = set()

    def renamed(self, symbol):
        """Return a symbol of the kernels as this level has it; the region is the same for all."""
        return re.sub(r"^fastbp\.(?!region)(kernels\.)?", f"{self.prefix}.", symbol)

    def plain_entrance(self, compiled, symbol):
        """Return a module with the function `symbol`, which calls what Numba made and cannot fail."""
        from llvmlite import ir
        from numba.core.registry import cpu_target

        context, sig = cpu_target.target_context, compiled._sig
        raw = compiled._wrapper_name.removeprefix("cfunc.")
        module = context.create_module("entrance")
        callee = ir.Function(module, context.call_conv.get_function_type(sig.return_type, sig.args), raw)
        result = ir.VoidType() if str(sig.return_type) == "none" else context.get_value_type(sig.return_type)
        entrance = ir.Function(module, ir.FunctionType(result, [context.get_value_type(t) for t in sig.args]), symbol)
        builder = ir.IRBuilder(entrance.append_basic_block())
        _, value = context.call_conv.call_function(builder, callee, sig.return_type, sig.args, entrance.args)
        builder.ret_void() if result == ir.VoidType() else builder.ret(value)
        return self.llvm.parse_assembly(str(module)), raw

    def object_of(self, compiled, symbol):
        """Return an object in which `symbol` is all that can be seen."""
        module = self.llvm.parse_assembly(str(compiled._library._final_module))
        entrance, raw = self.plain_entrance(compiled, symbol)
        module.link_in(entrance)
        for function in module.functions:
            if not function.is_declaration and function.name != symbol:
                function.linkage = "internal"
            if function.name == raw:
                function.add_function_attribute("alwaysinline")
        for variable in module.global_variables:
            if not variable.is_declaration:
                variable.linkage = "internal"
        tuning = self.llvm.create_pipeline_tuning_options(speed_level=3)
        passes = self.llvm.create_new_module_pass_manager()
        passes.add_always_inliner_pass()
        passes.add_global_dead_code_eliminate_pass()
        passes.add_strip_dead_prototype_pass()
        passes.run(module, self.llvm.create_pass_builder(self.machine, tuning))
        module = self.llvm.parse_assembly(self._with_names_of_level(str(module)))
        for value in (*module.functions, *module.global_variables):
            ours = value.name.startswith((f"{self.prefix}.", "fastbp."))
            if ours and value.linkage is not self.llvm.Linkage.internal:
                value.visibility = "hidden"
            elif value.is_declaration and not value.name.startswith("llvm."):
                self.outside.add(value.name)
        module.verify()
        return self.machine.emit_object(module)

    def _with_names_of_level(self, text):
        return re.sub(r'@"?(fastbp\.[\w.]+)"?', lambda match: f"@{self.renamed(match[1])}", text)


def main(level, folder):
    """Write all objects of a level."""
    gc.set_threshold(100_000, 20, 20)  # Numba keeps most of what it makes: a tenth of the time went into looking at it
    aim(LEVELS[level])
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["NUMBA_CACHE_DIR"] = scratch
        import_kernels(scratch)
        import numba
        from doors import Door

        from fastbp.kernels._numba import JITCodeLibrary, NullCache
        from fastbp.kernels.compile import outlined
        from fastbp.kernels.compile.prebuilt import sources_digest
        from fastbp.kernels.compile.region import Region
        from fastbp.kernels.compile.scratch import SIZES
        from fastbp.kernels.simd.machine import CONSTANTS

        # No machine code for this process itself, and none to keep: what Numba takes for an address is never called.
        JITCodeLibrary._finalize_specific = lambda library: None
        JITCodeLibrary.get_pointer_to_function = lambda library, name: library._ensure_finalized() or 1
        outlined.cache_of = lambda function: NullCache()
        objects, functions, doors = Objects(LEVELS[level].prefix), {}, {}
        for dtype in (numba.float32, numba.float64):
            for part in all_outlined(dtype):
                if isinstance(part, Region):
                    continue
                part.compile(dtype)
                symbol = part.symbol(dtype)
                (folder / f"{symbol}.o").write_bytes(objects.object_of(part.compiled[dtype], symbol))
                if isinstance(part, Door):
                    doors.setdefault(part.name, part.letters()).append(objects.renamed(symbol))
                else:
                    functions[symbol] = objects.renamed(symbol)
        found = {
            "level": level, "digest": sources_digest(), "functions": functions, "entries": doors,
            "machine": {name: objects.renamed(f"fastbp.machine.{name}") for name in CONSTANTS},
            "scratch": [objects.renamed(f"fastbp.scratch_{size}") for size in SIZES],
            "outside": sorted(objects.outside),
        }  # fmt: skip
        (folder / "symbols.json").write_text(json.dumps(found, indent=1, sort_keys=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
