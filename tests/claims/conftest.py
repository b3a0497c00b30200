"""A paper's file written by the test itself, in a folder of its own: discovery, engine and command line see no other."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import manyviews.claims.papers as package
from manyviews.claims import claim as registry


@pytest.fixture
def write_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """``write_paper("tiny", source)``: the only papers that there are."""
    folder = tmp_path / "papers"
    folder.mkdir()
    before = set(package.__dict__)
    monkeypatch.setattr(registry, "FOLDER", folder)
    monkeypatch.setattr(package, "__path__", [str(folder)])
    registry.page.cache_clear()

    def write(name: str, source: str) -> None:
        monkeypatch.delitem(__import__("sys").modules, f"manyviews.claims.papers.{name}", raising=False)
        (folder / f"{name}.py").write_text(source)

    yield write
    registry.page.cache_clear()
    modules = __import__("sys").modules
    for path in folder.glob("*.py"):
        modules.pop(f"manyviews.claims.papers.{path.stem}", None)
    for name in set(package.__dict__) - before:
        delattr(package, name)
