"""The packages and their walls: which may import which. tests/data/test_mixtures.py says who sees true sources."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vaebss

PACKAGE = Path(vaebss.__file__).parent

# From the top floor down; an import goes to a floor below, or to the importer's own room.
FLOORS = [
    {"commands"},
    {"baselines", "api", "demo"},
    {"training"},
    {"data", "separating"},
    {"checkpoints", "blind", "components", "likeness"},
    {"recording_evidence"},
    {"evidence"},
    {"modalities"},
    {"metrics", "pretrained"},
    {"models"},
    {"separation"},
    {"figures", "pictures"},
    {"atomic"},
    {"matching", "seeding", "hardware", "errors", "paths", "quiet", "signals", "version"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
AT_THE_DOOR = ("__init__.py", "__main__.py")  # whose names lead anywhere
TREES = {
    str(path.relative_to(PACKAGE)): ast.parse(path.read_text())
    for path in PACKAGE.rglob("*.py")
    if str(path.relative_to(PACKAGE)) not in AT_THE_DOOR
}
NEAR = {"commands/compare.py": {"comparison", "method", "methods"}, "commands/benchmark.py": {"speed"}}
STRANGERS = ("pytorch_lightning", "lightning_fabric", "torchmetrics", "torchvision")


def imports(file: str) -> Iterator[str]:
    """Modules that a file imports, wherever in it."""
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file} hides where it imports from"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def room(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("file", TREES)
def test_imports_go_down(file):
    here = Path(file).parts[0].removesuffix(".py")
    rooms = {room(name) for name in imports(file) if name.startswith("vaebss.")} - {here}
    assert not {there for there in rooms if FLOOR[there] <= FLOOR[here]}


def test_no_two_files_import_each_other():
    """Nor do files along any longer way, and not for their types alone either."""
    modules = {f"vaebss.{file.removesuffix('.py').replace('/', '.')}": file for file in TREES}
    graph = {}
    for file in TREES:
        names = {part for name in imports(file) for part in (name, name.rpartition(".")[0])}
        graph[file] = {modules[name] for name in names & modules.keys()}
    assert sum(map(len, graph.values())) > 500
    TopologicalSorter(graph).prepare()  # raises a CycleError, which names the files


@pytest.mark.parametrize("file", [file for file in TREES if file.startswith(("models/", "separation", "matching"))])
def test_models_know_neither_trainers_nor_files(file):
    assert not [name for name in imports(file) if name.startswith(STRANGERS)]


@pytest.mark.parametrize("file", [file for file in TREES if not file.startswith("baselines/")])
def test_nothing_that_trains_or_separates_comes_near_the_ceilings(file):
    near = {name.split(".")[2] for name in imports(file) if name.startswith("vaebss.baselines")}
    assert near <= NEAR.get(file, set())


@pytest.mark.parametrize("file", [file for file in TREES if file.startswith("baselines/")])
def test_only_the_list_of_methods_knows_the_ceilings(file):
    assert file == "baselines/methods.py" or not [name for name in imports(file) if "ceilings" in name]
