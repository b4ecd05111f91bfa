"""Imports point one way: from the command line down to the kernels."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A room may import the rooms of the rows below its own; inside a room, modules import each other in no circle. A new
# room gets its place here.
ROWS = [
    ["__main__", "app", "sklearn", "tabular", "torch"],
    ["bench"],
    ["__init__"],
    ["tables"],
    ["train"],
    ["nn", "initializers"],
    ["data", "schedules"],
    ["_base"],
    ["kernels"],
]
RANK = {module: -row for row, modules in enumerate(ROWS) for module in modules}

# What the base install holds, and who may import more: each optional door its own dependency.
BASE = {"numpy", "numba", "llvmlite", "safetensors", "rich", "typer"}
ALLOWED = {
    "kernels": {"numpy", "numba", "llvmlite"},
    "app.plot": BASE | {"matplotlib"},
    "bench.roofline": BASE | {"matplotlib"},
    "bench._torch": BASE | {"torch"},
    "bench._torch_compile": BASE | {"torch"},
    "bench._jax": BASE | {"jax"},
    "bench._sklearn": BASE | {"sklearn"},
    "_base.frames": BASE | {"narwhals", "pyarrow"},
    "data.tables": BASE | {"pyarrow"},
    "data.columns": BASE | {"pyarrow"},
    "data.parquet": BASE | {"pyarrow"},
    "data.reading": BASE | {"narwhals", "pyarrow"},
    "train.notebook": BASE | {"IPython"},  # imported in a notebook alone, which has it
    "train.find_lr": BASE | {"matplotlib"},
    "sklearn": BASE | {"sklearn", "scipy", "joblib"},
    "tabular": BASE | {"sklearn", "joblib", "pyarrow"},
    "torch": BASE | {"torch"},
    "nn.in_torch": BASE | {"torch"},
    "nn.torch_modules": BASE | {"torch"},
}


def modules():
    """Yield each module's dotted name below fastbp and its file."""
    for path in sorted((ROOT / "fastbp").glob("*.py")):
        yield path.stem, path
    rooms = [path for path in (ROOT / "fastbp").iterdir() if (path / "__init__.py").exists() and path.name != "kernels"]
    for folder in (ROOT / "kernels", *sorted(rooms)):
        for path in sorted(folder.rglob("*.py")):
            inner = path.relative_to(folder).with_suffix("").parts
            yield ".".join([folder.name, *(part for part in inner if part != "__init__")]), path


def imports(name, path):
    """Yield every module that a file imports, dotted from the top: "numpy.typing", "fastbp._base.check".

    Imports inside functions count too, and those for type checkers alone.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = ["fastbp", *name.split(".")]
    if path.name != "__init__.py":
        package.pop()
    elif name == "__init__":
        package = ["fastbp"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:  # the name may be a module or something inside one
                inner = f"{source}.{alias.name}"
                yield inner if inner.removeprefix("fastbp.") in NAMES else source


NAMES = {name for name, _ in modules()}


def room(name):
    return name.split(".")[0]


def allowed(name):
    """Return what a module may import of others: by its own line in ALLOWED, its folder's, or its room's."""
    parts = name.split(".")
    folders = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((ALLOWED[folder] for folder in folders if folder in ALLOWED), BASE)


def own(imported):
    """Name a module of ours as `modules` does; the package itself is its ``__init__``."""
    return imported.removeprefix("fastbp").removeprefix(".") or "__init__"


def is_ours(imported):
    return imported.split(".")[0] == "fastbp"


@pytest.fixture(scope="module")
def graph():
    """Map each module to what it imports."""
    return {name: set(imports(name, path)) for name, path in modules()}


def test_every_module_has_a_place(graph):
    unknown = sorted({room(name) for name in graph} - set(RANK))
    assert not unknown, f"give {unknown} a row in ROWS: what may they import, who may import them?"


def test_nothing_imports_a_row_above(graph):
    wrong = [
        f"{name} imports {imported}"
        for name, found in graph.items()
        for imported in found
        if is_ours(imported) and RANK[room(own(imported))] > RANK[room(name)]
    ]
    assert not wrong


def test_no_imports_in_a_circle(graph):
    ours = {name: {own(i) for i in found if is_ours(i)} - {name} for name, found in graph.items()}
    try:
        TopologicalSorter(ours).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_third_party_imports_are_known(graph):
    wrong = [
        f"{name} imports {imported}"
        for name, found in graph.items()
        for imported in found
        if not is_ours(imported)
        and (top := imported.split(".")[0]) not in sys.stdlib_module_names
        and top not in allowed(name)
    ]
    assert not wrong


# What kernels use of Numba and llvmlite where they use it. Anything else may change with any version.
PUBLIC = {"numba.carray", "numba.njit", "numba.prange", "numba.types", "numba.__version__", "llvmlite.__version__"}
PUBLIC |= {"numba.from_dtype", "llvmlite.ir", "llvmlite.binding"}
PUBLIC |= {
    f"numba.extending.{name}"
    for name in ("intrinsic", "make_attribute_wrapper", "models", "overload_method", "register_model")
}


def numba_names(path):
    """Yield every name of Numba and llvmlite that a file imports, takes from the package, or names in a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name not in ("numba", "llvmlite")]
            names = [name for name in names if not name.startswith("llvmlite.binding")]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value.split()) == 1:
            names = [node.value]
        yield from (name for name in names if name.startswith(("numba.", "llvmlite.")))


def test_private_names_of_numba_are_in_one_module():
    wrong = [
        f"{name} uses {used}"
        for name, path in modules()
        if name not in ("kernels._numba", "kernels.compile.forks")  # forks looks for a lock and imports nothing
        for used in numba_names(path)
        if used not in PUBLIC
    ]
    assert not wrong, "name it in kernels/_numba.py, or in PUBLIC if Numba's manual has it"


def test_import_of_fastbp_loads_no_optional_dependency():
    optional = ["matplotlib", "pyarrow", "narwhals", "sklearn", "torch", "onnx", "mpi4py", "typer"]
    code = f"import sys, fastbp; print([m for m in {optional} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_numba_is_imported_by_the_first_call_and_not_before():
    code = """
import pickle, sys
import fastbp, fastbp.app.cli, fastbp.app.report, fastbp.app.run, fastbp.bench.limits, fastbp.bench.report

def numbas():
    return [name for name in sys.modules if name.split(".")[0] in ("numba", "llvmlite")]

trainer = fastbp.Trainer(fastbp.mlp([4, 3], rng=0), optimizer=fastbp.Adam())
trainer = pickle.loads(pickle.dumps(trainer))
fastbp.load_digits(), trainer.model.summary(), repr(trainer)
assert not numbas()
trainer.step([[1, 2, 3, 4]], [0])
assert bool(numbas()) == fastbp.config()["kernels"].startswith("jit")
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_program_loads_nothing_slow_that_it_does_not_use(tmp_path):
    code = """
import sys, fastbp, numpy
x, y = fastbp.load_digits()
open(sys.argv[1], "wb").write(x.tobytes())
fastbp.Scaler.fit(numpy.memmap(sys.argv[1], x.dtype, "r", shape=x.shape), "standardize")
fastbp.Scaler.fit(x, "standardize"), fastbp.Scaler.fit([[1.0], [2.0]], "standardize"), fastbp.mlp([2, 2], rng=0)
print([name for name in ("numpy.ma", "importlib.metadata", "importlib.resources", "rich") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
