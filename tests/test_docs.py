"""The documents: blocks end, links lead somewhere, and the files and tests that they name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = {page: str(page.relative_to(ROOT)) for page in PAGES}


def prose(page):
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Names of the headings, as links spell them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_blocks_of_code_end(page):
    fences = re.findall(r"^```(.*)$", page.read_text(), re.MULTILINE)
    assert len(fences) % 2 == 0
    assert not any(fences[1::2])  # what ends a block names no language


@pytest.mark.parametrize("page", PAGES, ids=NAMES.values())
def test_links_lead_somewhere(page):
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = page if not path else (page.parent / path).resolve()
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("name", ["docs/features.md", "docs/security.md"])
def test_files_and_tests_that_tables_name_are_there(name):
    text = (ROOT / name).read_text()
    lost = []
    for file, test in re.findall(r"`([\w/]+\.(?:py|md|proto))(?:::(\w+))?`", text):
        found = [root / file for root in (ROOT / "src/vaekit", ROOT / "tests", ROOT) if (root / file).is_file()]
        if not found or (test and f"def {test}(" not in found[0].read_text()):
            lost.append(f"{file}::{test}")
    assert lost == []
