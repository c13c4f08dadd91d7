"""Docstrings begin with a sentence that stands alone; tests/commands/test_help.py asks the same of options' helps."""

import ast
import re
from pathlib import Path

import pytest

import vaebss

ROOT = Path(vaebss.__file__).parent
FRAGMENT = re.compile(r"(Of|That|Those|As|The same|But|In|With|Whether|To be|Beside|From)\b")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(source: str) -> dict[str, str]:
    """The docstrings of a module's text, by the name of what they document and its line."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, DOCUMENTED)]
    named = {f"{getattr(node, 'name', 'module')}:{getattr(node, 'lineno', 1)}": node for node in nodes}
    return {name: text for name, node in named.items() if (text := ast.get_docstring(node))}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_docstring_begins_as_a_fragment(path):
    assert {name: text for name, text in docstrings(path.read_text()).items() if FRAGMENT.match(text)} == {}


def test_fragments_are_recognised():
    source = '"""Of pictures."""\n\n\ndef f():\n    """With a name."""\n\n\nclass A:\n    """Without a name."""\n'
    assert [name for name, text in docstrings(source).items() if FRAGMENT.match(text)] == ["module:1", "f:4"]
