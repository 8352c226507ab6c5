"""A type checker for jaxtyping's import hook that asks typeguard: its own decorator reads source files, and jaxtyping
gives it functions that stand in none."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from typeguard import ForwardRefPolicy, check_type

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with what goes in and what comes out held against its annotations."""
    signature = inspect.signature(function)
    annotations = {name: p.annotation for name, p in signature.parameters.items() if p.kind not in _VARIADIC}

    def check(value: Any, annotation: Any) -> None:
        if annotation is not inspect.Signature.empty:
            check_type(value, annotation, forward_ref_policy=ForwardRefPolicy.IGNORE)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for name in annotations.keys() & given.keys():
            check(given[name], annotations[name])
        result = function(*args, **kwargs)
        check(result, signature.return_annotation)
        return result

    return wrapper
