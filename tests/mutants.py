"""Change the code at random, one place at a time, and see whether a test notices: by hand, never in the suite.

    nice python tests/mutants.py --number 100 --seed 0 vaebss/models vaebss/modalities vaebss/data vaebss/separation.py

Works in a copy of the files that git knows, so that the working tree stays as it is. The tests are run once unchanged,
to learn which of them run which line; a mutant is judged by those that run its line, the quickest first, and survives
if all of them pass. `--map` names a file that keeps what was learned, for the next time.
"""

import argparse
import ast
import copy
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
TESTS = ["models", "modalities", "data", "metrics", "training/test_student.py", "training/test_statistics.py"]
TESTS += ["test_separation.py", "test_laws.py", "test_api.py"]
SLOWER, SPARE = 4, 30  # a mutant is dead once it has taken so many times as long as its tests, and so many seconds more
SWAPS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult}
SWAPS |= {ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.MatMult: ast.Mult}
SWAPS |= {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
SWAPS |= {ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.And: ast.Or, ast.Or: ast.And}


class Mutant(NamedTuple):
    """A piece of a file, by (line, byte) of its beginning and end, and what replaces it."""

    path: str
    begin: tuple[int, int]
    end: tuple[int, int]
    text: str

    def source(self, root: Path) -> tuple[str, bytes]:
        """What is replaced, and the file's new contents."""
        lines = (root / self.path).read_bytes().splitlines(keepends=True)
        begin, end = (sum(map(len, lines[: line - 1])) + byte for line, byte in (self.begin, self.end))
        whole = b"".join(lines)
        return whole[begin:end].decode(), whole[:begin] + self.text.encode() + whole[end:]


def mutants_of(path: str, root: Path = ROOT) -> list[Mutant]:
    """Every mutant of a file that is looked for."""
    found = []
    for node in parts(ast.parse((root / path).read_bytes())):
        for old, new in changes(node):
            text = "pass" if isinstance(new, ast.Pass) else f"({ast.unparse(new)})"
            found.append(Mutant(path, (old.lineno, old.col_offset), (old.end_lineno, old.end_col_offset), text))
    return found


def parts(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, but for types, decorators and what an error says."""
    yield node
    skipped: list[Any] = [getattr(node, name, None) for name in ("annotation", "returns")]
    skipped += getattr(node, "decorator_list", [])
    if not isinstance(node, ast.JoinedStr | ast.Raise):
        for child in ast.iter_child_nodes(node):
            if not any(child is one for one in skipped):
                yield from parts(child)


def changes(node: Any) -> Iterator[tuple[Any, ast.AST]]:
    """What may be replaced at a node, and by what."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            yield node, changed(node, op=SWAPS[type(op)]())
        case ast.Compare(ops=[op]) if type(op) in SWAPS:
            yield node, changed(node, ops=[SWAPS[type(op)]()])
        case ast.UnaryOp():
            yield node, node.operand
        case ast.Constant(value=bool()):
            yield node, ast.Constant(not node.value)
        case ast.Constant(value=int(number)):
            yield node, ast.Constant(number + 1)
        case ast.Constant(value=float(number)):
            yield node, ast.Constant(2 * number or 1.0)
        case ast.IfExp():
            yield node, changed(node, body=node.orelse, orelse=node.body)
        case ast.If() | ast.While():
            yield node.test, ast.UnaryOp(ast.Not(), node.test)
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call()):
            yield node, ast.Pass()
        case ast.Call():
            if len(node.args) > 1 and not any(isinstance(one, ast.Starred) for one in node.args):
                yield node, changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
            for keyword in node.keywords:
                yield node, changed(node, keywords=[one for one in node.keywords if one is not keyword])


def changed(node: ast.AST, **fields: Any) -> ast.AST:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def pytest_in(folder: Path, args: list[str], seconds: float = 0, plugin: Any = None) -> int:
    """Run tests in a process of its own, for so many seconds of a processor; 0 if they pass."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    if seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (round(seconds), round(seconds)))
        signal.alarm(10 * round(seconds))  # where it waits for ever
    os.chdir(folder)
    sys.path[:0] = [str(folder)]
    os.environ |= {"PYTHONPATH": str(folder), "COVERAGE_FILE": str(folder / "coverage.sqlite")}
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):
        os.dup2(silence, stream)
    import pytest

    os._exit(pytest.main(["-x", "-q", "-n0", "-pno:cacheprovider", *args], plugins=[plugin] if plugin else []))


class Times:
    """Seconds that each test took, of those that pass; written into a file at the end."""

    def __init__(self, path: Path):
        self.path, self.seconds, self.failed = path, {}, set()

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        self.failed |= {report.nodeid} if report.outcome != "passed" else set()

    def pytest_sessionfinish(self) -> None:
        passed = {name: time for name, time in self.seconds.items() if name not in self.failed}
        self.path.write_text(json.dumps(passed))


def learn(folder: Path, tests: list[str], paths: list[str]) -> dict[str, Any]:
    """Which tests run which line of the files, and how long they take."""
    import coverage

    times = folder / "times.json"
    options = ["--cov=vaebss", "--cov-context=test", "--cov-report=", "--maxfail=1000"]
    pytest_in(folder, [*tests, *options], plugin=Times(times))
    seconds, data = json.loads(times.read_text()), coverage.CoverageData(str(folder / "coverage.sqlite"))
    data.read()
    lines: dict[str, dict[str, list[str]]] = {}
    for path in paths:
        by_line = data.contexts_by_lineno(str((folder / path).resolve()))
        tests_of = {line: {of for name in names for of in judges(name, seconds)} for line, names in by_line.items()}
        every = set().union(*tests_of.values())  # of what is run as the file is imported
        lines[path] = {str(line): sorted(of or every, key=seconds.get) for line, of in tests_of.items()}
    return {"lines": lines, "seconds": seconds}


def judges(context: str, seconds: dict[str, float]) -> list[str]:
    """The test of a context; all of its file, where it is a fixture that they may share."""
    name, _, phase = context.rpartition("|")
    if phase == "run":
        return [name] if name in seconds else []
    return [one for one in seconds if name and one.split("::")[0] == name.split("::")[0]]


def survives(folder: Path, mutant: Mutant, known: dict[str, Any]) -> bool:
    """Whether all tests pass that run the mutant's line."""
    lines = known["lines"][mutant.path]
    line = next((line for line in range(mutant.begin[0], mutant.end[0] + 1) if lines.get(str(line))), None)
    if line is None:
        return True
    tests, path = lines[str(line)], folder / mutant.path
    before, (_, after) = path.read_bytes(), mutant.source(folder)
    path.write_bytes(after)
    limit = SPARE + SLOWER * sum(known["seconds"][test] for test in tests)
    try:
        return pytest_in(folder, tests, limit) == 0
    finally:
        path.write_bytes(before)


def main() -> None:
    """Print a line for each mutant as it is judged, and how many survived."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", help="files and folders to change, from the root of the repository")
    parser.add_argument("--number", type=int, default=100, help="how many mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of mutants")
    parser.add_argument("--tests", nargs="+", default=[f"tests/{name}" for name in TESTS], help="tests that may notice")
    parser.add_argument("--map", type=Path, help="file for what was learned: read where it is there, else written")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository")
    asked = parser.parse_args()
    root, named = asked.root.resolve(), ["git", "ls-files", "-co", "--exclude-standard"]
    files = subprocess.run(named, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    within = [name for name in files if name.endswith(".py") and any(Path(name).is_relative_to(p) for p in asked.paths)]
    every = [mutant for name in sorted(within) for mutant in mutants_of(name, root)]
    drawn = random.Random(asked.seed).sample(every, min(asked.number, len(every)))
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    sys.dont_write_bytecode = True  # a file changed twice a second may be taken for its older self
    import pytorch_lightning  # noqa: F401  # once for all
    import torchmetrics  # noqa: F401
    import torchvision  # noqa: F401

    with TemporaryDirectory() as made:
        folder = Path(made).resolve()
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
        kept = asked.map and asked.map.is_file()
        known = json.loads(asked.map.read_text()) if kept else learn(folder, asked.tests, sorted(within))
        if asked.map:
            asked.map.write_text(json.dumps(known))
        survivors = 0
        for number, mutant in enumerate(drawn, 1):
            alive = survives(folder, mutant, known)
            survivors += alive
            old = mutant.source(folder)[0].replace("\n", " ")
            said = "SURVIVES" if alive else "killed"
            print(f"{number:3} {said:8} {mutant.path}:{mutant.begin[0]}: {old[:70]} -> {mutant.text[:90]}", flush=True)
        print(f"{survivors} of {len(drawn)} mutants survive (of {len(every)}, seed {asked.seed})", flush=True)


if __name__ == "__main__":
    main()
