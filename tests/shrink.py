"""A method's own configuration at a size for tests: what every file of tests that walks the methods starts from."""

import dataclasses
from typing import Any

# The settings that make a method large, by the names that methods give them; a method has some of them.
FEWER: dict[str, Any] = {"queue": 32, "splits": 2, "hidden": 32, "bottleneck": 16}


def shrunk(config: Any, **also: Any) -> Any:
    """``config`` with every setting of ``FEWER`` that it has, and then those of ``also`` that it has."""
    known = {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **{k: v for k, v in (FEWER | also).items() if k in known})
