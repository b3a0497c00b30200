"""Python files that do not lie in the package: methods and nets of one's own, and which of them may be run."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

_named: set[str] = set()  # in this process


def run(path: Path, dotted: str) -> ModuleType:
    """Run a file's code, as an import does, and give it as the module of that name."""
    about = importlib.util.spec_from_file_location(dotted, path)
    assert about is not None and about.loader is not None
    module = sys.modules[dotted] = importlib.util.module_from_spec(
        about
    )  # where dataclasses look for their types
    try:
        about.loader.exec_module(module)
    except BaseException:
        del sys.modules[dotted]
        raise
    return module


def name(path: Path) -> None:
    """Note that the user has named this file to be run, so that what he made with it may ask for it from now on."""
    if is_named(path):
        return
    _named.add(str(path))
    try:
        _register().parent.mkdir(parents=True, exist_ok=True)
        with _register().open("a") as file:
            file.write(f"{path}\n")
    except OSError:  # a home that cannot be written to: it is known in this process alone
        pass


def is_named(path: Path) -> bool:
    """Whether the user of this machine has named it, once: a run folder, which may come from a stranger, is not he."""
    if str(path) not in _named and _register().is_file():
        _named.update(_register().read_text().splitlines())
    return str(path) in _named


def _register() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "manyviews" / "methods-of-my-own.txt"
