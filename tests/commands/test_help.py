"""The helps of all commands; `python tests/commands/test_help.py` writes the short ones anew, of the same options."""

import re
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vaebss.commands import terminal

ALL = ("fit", "remix", "test", "separate", "export", "demo", "ship", "compare", "benchmark")
SHORT = sorted(path.stem for path in terminal.SHORT_HELPS.iterdir())
ENTRY = re.compile(r"^  (--\S+) +(.*\n(?: {26}.*\n)*)", flags=re.MULTILINE)
OTHERS = ("trainer.", "print_config", "seed_everything", "help")  # options that Lightning explains
BEGIN = r"Of|That|Those|As|The same|But|In|With|Whether|To be|Beside|From|Its|What|Also|For|If"  # no noun
COLUMN, WIDTH, WHOLE = 26, 80, {"break_on_hyphens": False, "break_long_words": False}


class ParserFound(BaseException):
    """Carries a parser out of a command."""


def parser_of(command: str) -> Any:
    """The parser of a command, as it is before options are parsed."""

    def found(parser, *args, **options):
        raise ParserFound(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(terminal.OneLineErrors, "parse_args", found)
        patch.setattr(sys, "argv", [f"{command}.py"])
        try:
            import_module(f"vaebss.commands.{command}").main([])
        except ParserFound as carrier:
            return carrier.args[0]
    raise AssertionError(f"{command} has no parser")


def explained(parser: Any) -> dict[str, Any]:
    """The options with a help, by what is typed."""
    own = [action for action in parser._actions if action.help not in (None, "==SUPPRESS==")]
    return {name: action for action in own for name in action.option_strings or [action.dest]}


def rewritten(text: str, parser: Any) -> str:
    """A short help with the default of each option and the first sentence of its help, as the parser has them."""
    actions, defaults = explained(parser), parser.get_defaults()

    def entry(found: re.Match) -> str:
        name = found[1].removeprefix("--")
        words, default = " ".join(found[2].split()), defaults.get(actions[found[1]].dest)
        words = re.sub(r" \(default: .*\)$", "", words)
        if not name.startswith(OTHERS):
            words = re.split(r"(?<=\.) (?=[\"A-Z])", " ".join(actions[found[1]].help.split()))[0].rstrip(".")
        if default is not None and default is not False:
            words += f" (default: {default})"
        begin = f"  {found[1]} ".ljust(COLUMN)
        return textwrap.fill(words, WIDTH, initial_indent=begin, subsequent_indent=" " * COLUMN, **WHOLE) + "\n"

    return ENTRY.sub(entry, text)


@pytest.mark.parametrize("command", SHORT)
def test_short_helps_say_what_the_parsers_say(command):
    text = (terminal.SHORT_HELPS / f"{command}.txt").read_text()
    parser = parser_of(command)
    assert text == rewritten(text, parser)
    assert " ".join(text.split()).startswith(f"usage: {command}.py [options] {parser.description} ")
    assert text.count("\n") <= 60


@pytest.mark.parametrize("command", ALL)
def test_helps_begin_with_the_noun_that_they_set(command):
    helps = [(name, " ".join(action.help.split())) for name, action in explained(parser_of(command)).items()]
    ours = [(name, words) for name, words in helps if not name.lstrip("-").startswith(OTHERS)]
    assert ours
    assert [(name, words) for name, words in ours if re.match(rf"({BEGIN})\b", words)] == []
    assert [(name, words) for name, words in ours if re.search(r"\b_\w|<\w+ object|<function", words)] == []


@pytest.mark.parametrize("command", ALL)
def test_help_imports_neither_torch_nor_lightning(command, tmp_path):
    script = Path(__file__).parents[2] / "scripts" / f"{command}.py"
    run = [sys.executable, "-X", "importtime", str(script), "--help"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "jsonargparse" in imported
    assert not {"torch", "pytorch_lightning", "torchmetrics", "matplotlib", "numpy"} & imported
    assert done.stdout.startswith(f"usage: {command}.py ")
    assert done.stdout.count("\n") <= 60
    assert not re.search(r"<\w+ object|<function|<locals>", done.stdout)
    assert "--help.all" in done.stdout or command not in SHORT


@pytest.mark.parametrize(("part", "others"), [("data", ("model", "trainer")), ("all", ())])
def test_parts_of_the_help_are_printed_alone(part, others, capsys):
    with pytest.raises(SystemExit) as stop:
        import_module("vaebss.commands.fit").main([f"--help.{part}"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--data.batch_size" in printed
    assert ("--ckpt" in printed) == (part == "all")
    for name in ("data", "model", "trainer"):
        assert (f"  --{name}." in printed) == (name not in others)


def test_a_part_that_is_not_there_is_one_line(capsys):
    assert import_module("vaebss.commands.benchmark").main(["--help.data"]) == 2
    assert capsys.readouterr().err == "benchmark.py: error: --help.data must be one of --help.all\n"


if __name__ == "__main__":
    for command in SHORT:
        path = terminal.SHORT_HELPS / f"{command}.txt"
        path.write_text(rewritten(path.read_text(), parser_of(command)))
