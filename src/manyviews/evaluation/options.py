"""Is an option one that the function behind a protocol has, and of its kind? Said before anything is computed."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

from manyviews.errors import ManyviewsError

GIVEN = ("classes", "size", "seed", "head")  # by the evaluation itself


def check_options(protocol: str, behind: Callable[..., Any], chosen: Mapping[str, Any]) -> None:
    """Raises `ManyviewsError` for an option that ``behind`` does not have, or a value of another kind."""
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(behind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in GIVEN
    }
    hints = get_type_hints(behind)
    for name, value in chosen.items():
        if name not in parameters:
            raise ManyviewsError(
                f'"{protocol}" has no option "{name}"; it has {", ".join(parameters) or "none"}.'
            )
        if problem := _problem(hints[name], parameters[name].default, value):
            raise ManyviewsError(f'Option "{name}" of "{protocol}" is {value!r}; it is {problem}.')


def _problem(hint: Any, default: Any, value: Any) -> str | None:
    """What the value should be; None where it is."""
    if get_origin(hint) is Literal:
        return None if value in get_args(hint) else f"one of {', '.join(get_args(hint))}"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match default:
        case bool():
            return None if isinstance(value, bool) else "true or false"
        case int():
            return None if isinstance(value, int) and number else "a whole number"
        case float():
            return None if number else "a number"
        case tuple():
            return None if isinstance(value, list | tuple) else "a list of numbers"
        case str():
            return None if isinstance(value, str) else "text"
    return "nothing that text can say" if isinstance(value, str) else None
