"""The rooms and their walls: who may import whom, and who sees true sources."""

import ast
from pathlib import Path

import vaebss

PACKAGE = Path(vaebss.__file__).parent

# From the top floor down; an import goes to a floor below, or to the importer's own room.
FLOORS = [
    {"commands"},
    {"baselines", "api"},
    {"training"},
    {"data", "checkpoints"},
    {"modalities", "metrics", "pretrained"},
    {"models"},
    {"separation"},
    {"pictures"},
    {"matching", "seeding", "hardware", "errors"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
MODULES = [
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem not in ("__init__", "__main__")
]


def imports(path: Path) -> set[str]:
    """Modules that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


def room(name: str) -> str:
    return name.split(".")[1]


def test_imports_go_down():
    for path in MODULES:
        here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            if name.startswith("vaebss.") and name != "vaebss.__version__" and room(name) != here:
                assert FLOOR[room(name)] > FLOOR[here] or {here, room(name)} == {"modalities", "pretrained"}, (
                    path,
                    name,
                )


def test_models_know_neither_training_nor_modality():
    strangers = (
        "pytorch_lightning",
        "lightning_fabric",
        "torchmetrics",
        "torchvision",
        "vaebss.modalities",
        "vaebss.data",
    )
    for path in (PACKAGE / "models").glob("*.py"):
        assert not [name for name in imports(path) if name.startswith(strangers)], path


SEE_SOURCES = {"training/scores.py", "baselines/ceilings.py", "data/collections.py"}
SEE_SOURCES |= {"training/student.py"}  # a bank's pseudo-sources


def test_true_sources_come_in_by_one_door():
    for path in MODULES:
        seen = '"sources"]' in path.read_text() or 'get("sources")' in path.read_text()
        assert not seen or str(path.relative_to(PACKAGE)) in SEE_SOURCES, path


def test_nothing_that_trains_or_separates_comes_near_the_ceilings():
    for path in MODULES:
        near = any(name.startswith("vaebss.baselines.ceilings") or name == "vaebss.baselines" for name in imports(path))
        assert not near or path.parent.name == "baselines", path
