"""Imports only go down the layers, optional packages wait until they are used, parts stay small."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "sptrack"
MODULES = sorted(PACKAGE.rglob("*.py"))
FILES = [*MODULES, *sorted(ROOT.glob("experiments/**/*.py"))]

LAYERS = (
    ("_typing", "_random", "_csv", "_files", "_digest", "_progress", "random", "estimators"),
    ("devices",),
    ("pulses", "periphery"),
    ("inference", "calibration", "theory", "costs"),
    ("transforms", "optimizers"),
    ("nn",),
    ("_checkpoint", "simulate", "sweep", "fit", "results"),
    ("plot", "testing"),
    ("__init__",),
)
LAYER = {part: layer for layer, parts in enumerate(LAYERS) for part in parts}
LOWEST_USER = {"optax": 3, "flax": 5, "xarray": 6, "matplotlib": 7}  # other libraries: any layer
EAGER = {"sptrack", "jax", "numpy", "optax", "flax"} | sys.stdlib_module_names
# `flax` and `jax.extend` take longer to import than all of sptrack does.
LAZY = ["flax", "jax.extend", "xarray", "h5netcdf", "matplotlib", "tyro", "pooch", "sklearn"]

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60


def name_of(path):
    return str(path.relative_to(ROOT))


def module_at(path):
    """`sptrack.devices.linear` for sptrack/devices/linear.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def layer_of(module):
    """The layer of a module of sptrack; for a library, the lowest layer that may import it."""
    library, _, inner = module.partition(".")
    if library != "sptrack":
        return LOWEST_USER.get(library, 0)
    return LAYER.get(inner.partition(".")[0], LAYER["__init__"])


def imports(node, module):
    """The dotted names that a statement of `module` imports, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = module.split(".")[: -node.level] if node.level else []
        return [".".join([*above, *filter(None, [node.module]), a.name]) for a in node.names]
    return []


def upward_imports(source, module):
    """The imports, anywhere in the source, of something in a higher layer than `module`."""
    return [
        f"line {node.lineno}: {name} is in layer {layer_of(name)}, {module} in {layer_of(module)}"
        for node in ast.walk(ast.parse(source))
        for name in imports(node, module)
        if layer_of(name) > layer_of(module)
    ]


def executed(node):
    """The statements that run on import: no function bodies, nothing for the type checker only."""
    for child in ast.iter_child_nodes(node):
        function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        type_checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)
        if not function and not type_checking:
            yield child
            yield from executed(child)


def eager_imports(source, module):
    """The packages beyond the core dependencies that importing `module` would import."""
    names = [name for node in executed(ast.parse(source)) for name in imports(node, module)]
    return [name for name in names if name.partition(".")[0] not in EAGER]


def long_functions(source):
    """The functions that pass the limit, their docstrings not counted."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > MAX_FUNCTION_LINES:
                yield f"{node.name} ({lines} lines)"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_layer(path):
    assert path.relative_to(PACKAGE).with_suffix("").parts[0] in LAYER


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_go_down(path):
    assert not upward_imports(path.read_text(), module_at(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_optional_packages_are_imported_where_they_are_used(path):
    assert not eager_imports(path.read_text(), module_at(path))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_and_functions_stay_small(path):
    source = path.read_text()
    assert len(source.splitlines()) <= MAX_FILE_LINES
    assert not list(long_functions(source))


def test_importing_sptrack_changes_no_setting_and_stays_light():
    script = f"""
import sys
import jax, optax  # what their import does is theirs
before = dict(jax.config.values)
import sptrack
changed = {{k for k, v in jax.config.values.items() if before.get(k, "absent") != v}}
assert not changed, f"import sptrack changed jax.config: {{changed}}"
loaded = sys.modules.keys() & set({LAZY})
assert not loaded, f"import sptrack imported {{loaded}}"
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sptrack.devices.linear", "from sptrack.pulses import apply_pulses"),
        ("sptrack.devices.linear", "from ..pulses import apply_pulses"),
        ("sptrack.devices.linear", "def f():\n    from sptrack import simulate"),
        ("sptrack.devices.__init__", "from ..nn import AnalogLinear"),
        ("sptrack.pulses.exact", "import sptrack as spt"),
        ("sptrack.pulses.exact", "import optax"),
        ("sptrack._random", "from . import devices"),
    ],
)
def test_an_upward_import_is_seen(module, source):
    assert upward_imports(source, module)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("sptrack.devices.linear", "from .base import Device"),
        ("sptrack.devices.linear", "from ._typing import Array"),
        ("sptrack.devices.__init__", "from .._typing import Array"),
        ("sptrack.optimizers.rider", "import optax\nfrom sptrack import transforms"),
        ("sptrack.__init__", "from sptrack.results import save"),
    ],
)
def test_a_downward_import_is_not(module, source):
    assert not upward_imports(source, module)


def test_an_eager_import_is_seen():
    assert eager_imports("import xarray.core", "sptrack.plot")
    assert eager_imports("try:\n    import tqdm\nexcept ImportError:\n    pass", "sptrack.plot")
    assert not eager_imports("def f():\n    import xarray", "sptrack.plot")
    assert not eager_imports("if TYPE_CHECKING:\n    import xarray", "sptrack.plot")


def test_a_long_function_is_seen():
    body = "    x = 1\n" * MAX_FUNCTION_LINES
    assert list(long_functions(f"def f():\n{body}"))
    docstring = '    """' + "text\n" * MAX_FUNCTION_LINES + '"""\n'
    assert not list(long_functions(f"def f():\n{docstring}    return 1\n"))
