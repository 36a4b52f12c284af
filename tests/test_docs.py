"""The documentation site builds without a warning, has every public name, and its examples run."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

import phase_jax

ROOT = pathlib.Path(phase_jax.__file__).resolve().parents[1]
PAGES = {
    path.relative_to(ROOT / "docs").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
}
EXAMPLES = {
    name: re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) for name, text in PAGES.items()
}
REQUEST = re.compile(r"<(?:script|img|iframe|link)\b[^>]*?(?:src|href)=\"(https?:)?//", re.DOTALL)


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site; a warning is an error."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(out)))
    return out


@pytest.mark.parametrize("name", [name for name, codes in EXAMPLES.items() if codes])
def test_examples_run_in_order(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in EXAMPLES[name]:
        exec(code, names)


def test_site_has_every_page_and_every_public_name(site, hooks):
    for name in PAGES:
        folder = name.removesuffix(".md").removesuffix("index")
        assert (site / folder / "index.html").is_file(), name
    api = (site / "api" / "index.html").read_text(encoding="utf-8")
    for package in hooks.PACKAGES:
        module = importlib.import_module(package)
        for name in hooks.list_public(module):
            assert f'id="{hooks.locate(module, name)}"' in api, f"{package}.{name}"


def test_site_asks_nothing_of_other_sites(site):
    pages = list(site.rglob("*.html"))
    assert pages
    for page in pages:
        found = REQUEST.search(page.read_text(encoding="utf-8"))
        assert found is None, (page, found and found[0])


def test_links_into_the_repository_lead_somewhere(site, hooks):
    count = 0
    for name, text in PAGES.items():
        for path in hooks.find_links(text, name):
            assert (ROOT / path).exists(), (name, path)
            assert (ROOT / path).is_dir() or (site / hooks.REPOSITORY / path).is_file(), path
            count += 1
    assert count > 5
