"""Hooks of the documentation site: files of the repository in it, and the page of the API."""

from __future__ import annotations

import importlib
import pathlib
import re

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = "repository"
"""Where linked files of the repository lie in the site."""
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#]+)\)")
PACKAGES = {
    "phase_jax": "Running, solving, attacking",
    "phase_jax.finetune": "Fine-tuning",
    "phase_jax.adaptive": "Adaptive sweeps",
    "phase_jax.connectivity": "Connectivity",
    "phase_jax.linear": "The linear model",
    "phase_jax.losses": "Losses and objectives",
    "phase_jax.models": "Networks",
    "phase_jax.monte_carlo": "Monte Carlo",
    "phase_jax.report": "Results",
    "phase_jax.training": "Training one lane",
    "phase_jax.sweep": "Lanes",
    "phase_jax.attacks": "Attacks",
    "phase_jax.solver": "The ε* solver",
    "phase_jax.data": "Data",
}


def on_files(files, config):
    """Add the page of the API, and every file of the repository that a page links to."""
    files.append(File.generated(config, "api.md", content=write_api()))
    linked = set()
    for page in files.documentation_pages():
        if page.abs_src_path:
            linked |= set(find_links(page.content_string, page.src_uri))
    for path in sorted(linked):
        target = ROOT / path
        if target.is_file():
            uri = f"{REPOSITORY}/{path}"
            files.append(File.generated(config, uri, abs_src_path=str(target)))
    return files


def find_links(markdown, src_uri):
    """Find the files of the repository that a page of docs/ links to, from the root."""
    folder = (ROOT / "docs" / src_uri).parent
    for _, link in LINK.findall(markdown):
        target = (folder / link).resolve()
        if target.is_relative_to(ROOT) and not target.is_relative_to(ROOT / "docs"):
            yield target.relative_to(ROOT).as_posix()


def on_page_markdown(markdown, page, config, files):
    """Point links out of docs/ to the copies in the site; a folder's name is text."""
    folder = (ROOT / "docs" / page.file.src_uri).parent
    up = "../" * page.file.src_uri.count("/")

    def replace(match):
        text, link = match[1], match[2]
        target = (folder / link).resolve()
        if target.is_relative_to(ROOT / "docs") or not target.is_relative_to(ROOT):
            return match[0]
        path = target.relative_to(ROOT).as_posix()
        if target.is_dir():
            return text
        return f"[{text}]({up}{REPOSITORY}/{path})"

    return LINK.sub(replace, markdown)


def write_api():
    """Write the page of every public name, under the package that exports it first."""
    lines = ["# API", "", "Every public name. `phase_jax` exports those of the first section.", ""]
    seen = set()
    for package, title in PACKAGES.items():
        module = importlib.import_module(package)
        places = [locate(module, name) for name in list_public(module)]
        own = [place for place in places if place not in seen]
        seen |= set(own)
        if own:
            lines += [f"## {title} (`{package}`)", ""]
            lines += [f"::: {place}" for place in own]
            lines.append("")
    return "\n\n".join(lines)


def list_public(module):
    """List the names that a module exports, or defines where it exports none."""
    if hasattr(module, "__all__"):
        return module.__all__
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


def locate(module, name):
    """Name the module in which a public name is defined."""
    value = getattr(module, name)
    home = getattr(value, "__module__", None)
    defined = home is not None and getattr(value, "__qualname__", "") == name
    return f"{home}.{name}" if defined else f"{find_home(module, name)}.{name}"


def find_home(module, name):
    """Find the module that assigns a constant which a package passes on."""
    source = pathlib.Path(module.__file__).read_text(encoding="utf-8")
    found = re.search(rf"from (\S+) import (?:\([^)]*?\b{name}\b|[^(\n]*\b{name}\b)", source)
    return found[1] if found else module.__name__
