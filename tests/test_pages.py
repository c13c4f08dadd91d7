"""The documentation: every public name is in the API reference, and no page or link is missing."""

import re
from pathlib import Path

import pytest
import reading_ease

import vaebss

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_api_reference_has_every_public_name_once():
    described = re.findall(r"^::: vaebss\.(\w+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(described) == sorted(vaebss.__all__)


def test_the_navigation_has_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [page for page in PAGES[3:] if str(page.relative_to(ROOT / "docs")) not in navigation]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_of_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pictures_have_a_text_for_those_who_cannot_see_them(page):
    assert "![](" not in page.read_text()


def test_the_citation_is_of_this_version():
    assert f"\nversion: {vaebss.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_changelog_names_pages_without_links_because_the_site_shows_it_from_another_folder():
    assert "](docs/" not in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.soak
@pytest.mark.parametrize("page", reading_ease.PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_easy_to_read(page):
    pytest.importorskip("textstat")
    assert reading_ease.reading_ease(page) >= 50


def test_reading_ease_is_of_sentences_alone():
    page = "# Heading\n\nSee [the *method*](a.md).\n\n| a | b |\n\n```sh\ncode\n```\n![alt](a.png)\n"
    page += "$$\na = b\n$$\nIt is $x$ or `x` 1.5 dB.\n"
    assert " ".join(reading_ease.prose(page).split()) == "See the method. It is or 15 dB."
