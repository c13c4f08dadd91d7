"""Every public name has an example in its docstring, and each example gives what it shows."""

import doctest

import pytest

import vaebss


@pytest.mark.parametrize("name", vaebss.__all__)
def test_example_gives_what_it_shows(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (found,) = doctest.DocTestFinder(recurse=False).find(getattr(vaebss, name), name, globs={})
    assert found.examples
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)

    report: list[str] = []
    runner.run(found, out=report.append)
    assert not runner.failures, "".join(report)
