"""What tests of the command line ask of a command."""

import json
from typing import Any

import pytest

from manyviews.cli import main


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """The one JSON object that a command prints."""
    capsys.readouterr()
    main([*words, "--json"])
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The sentence with which a command refuses; nothing on stdout, no traceback, status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    said = capsys.readouterr()
    assert stop.value.code == 2
    assert said.out == "" and "Traceback" not in said.err
    return said.err
