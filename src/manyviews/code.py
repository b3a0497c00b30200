"""Python files that do not lie in the package: methods and nets of one's own, and which of them may be run."""

import hashlib
import importlib.util
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType

NAMED = "MANYVIEWS_NAMED"  # the files that this process and those that it starts were given by name


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


def dotted(path: Path) -> str:
    """What a file is called among modules: two of one name, in different folders, differ."""
    return f"{path.stem}_{hashlib.blake2b(bytes(path), digest_size=4).hexdigest()}"


def name(path: Path) -> None:
    """Note that the user has named this file to be run, so that what he made with it may ask for it from now on."""
    if is_named(path):
        return
    os.environ[NAMED] = os.pathsep.join(filter(None, (os.environ.get(NAMED), str(path))))
    with suppress(OSError, RuntimeError, ValueError):  # no home, or none that can be written to
        _register().parent.mkdir(parents=True, exist_ok=True)
        with _register().open("a", encoding="utf-8") as file:
            file.write(f"{path}\n")


def is_named(path: Path) -> bool:
    """Whether the user of this machine has named it, once: a run folder, which may come from a stranger, is not he."""
    if str(path) in os.environ.get(NAMED, "").split(os.pathsep):
        return True
    with suppress(OSError, RuntimeError, ValueError):
        return str(path) in _register().read_text(encoding="utf-8", errors="replace").splitlines()
    return False


def _register() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "manyviews" / "methods-of-my-own.txt"
