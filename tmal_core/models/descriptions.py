"""Descriptions of classes: YAML or JSON, the name of a class -> its sentences, or a single one.

TS-FSAR's files (ten descriptions a class, written by a language model; "Task-Specific Distance Correlation Matching for
Few-Shot Action Recognition", AAAI 2026, and its code) are read as they are. Sentences are taken as they stand.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from tmal_core.config import DESCRIPTION_FORMATS, description_files
from tmal_core.errors import DataError

Known = Mapping[str, Sequence[str]]
"""The name of a class in the files -> its sentences."""
MOST_BYTES = 50_000_000
"""Of a file that is read: TS-FSAR's have a few hundred thousand."""
_MOST_NAMED = 5
_CORRECT = "Correct the file."
# What a language model says that was not told enough. "As an aid" is none.
_ASKS = re.compile(r"\b(please provide|i['’]?m sorry|i am sorry|as an ai|could you)\b", re.IGNORECASE)


class _Pairs(list[tuple[Any, Any]]):
    """A mapping as it is written: a name may stand in it twice."""


def read_descriptions(place: Path) -> dict[str, list[str]]:
    """Class name -> sentences, of a file or of all YAML and JSON files of a folder.

    Raises:
        DataError: no such file, one that is too large or unreadable, a class twice, or a class without sentences.
    """
    files = description_files(place)
    if not files or files[0].suffix.lower() not in DESCRIPTION_FORMATS:
        got = f"{place}, which is {'another' if files else 'none'}"
        remedy = "Correct model.descriptions."
        raise DataError(f"descriptions of classes ({', '.join(DESCRIPTION_FORMATS)}, or a folder)", got, remedy)
    found: dict[str, list[str]] = {}
    places: dict[str, Path] = {}
    for path in files:
        for name, value in _content(path):
            sentences = _checked(name, value, path)
            if name in places:
                got = f"{name!r} in {places[name]} and again in {path.name}"
                raise DataError("descriptions of each class once", got, "Put its sentences together, or remove some.")
            found[name], places[name] = sentences, path
    return found


def sentences_of(names: Sequence[str], known: Known, place: Path) -> list[list[str]]:
    """The sentences of these classes. An underscore in a name counts as a space; upper and lower case count only where
    two classes of the file differ by nothing else.

    Raises:
        DataError: the file lacks some of them, or means two classes by one name.
    """
    ways: tuple[Callable[[str], str], ...] = (str, _spaced, lambda name: _spaced(name).casefold())
    keys: list[dict[str, list[str]]] = [{} for _ in ways]
    for key in known:
        for way, table in zip(ways, keys, strict=True):
            table.setdefault(way(key), []).append(key)
    found, missing = [], []
    for name in names:
        fitting = next((table[way(name)] for way, table in zip(ways, keys, strict=True) if way(name) in table), [])
        if len(fitting) > 1:
            got = " and ".join(map(repr, fitting))
            remedy = "Remove one of them, or write one as the class is written."
            raise DataError(f"one entry of {place} for the class {name!r}", got, remedy)
        if fitting:
            found.append(list(known[fitting[0]]))
        else:
            missing.append(name)
    if missing:
        shown = ", ".join(_with_nearest(name, known) for name in missing[:_MOST_NAMED])
        more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
        got = f"none of {len(missing)} of {len(names)}: {shown}{more}"
        raise DataError(f"descriptions of every class in {place}", got, "Add them, or correct their names.")
    return found


def odd_ones(names: Sequence[str], sentences: Sequence[Sequence[str]]) -> str:
    """How many descriptions are none but a language model asking for more, in words; empty where there are none."""
    odd = [(name, text) for name, texts in zip(names, sentences, strict=True) for text in texts if _ASKS.search(text)]
    if not odd:
        return ""
    (name, text), total = odd[0], sum(map(len, sentences))
    return (
        f"{len(odd)} of {total} descriptions look like a language model that asks for more and are read as they are, "
        f"the first of class {name!r}: {text[:80]!r}"
    )


def _content(path: Path) -> _Pairs:
    """Names and what stands for them."""
    if (size := path.stat().st_size) > MOST_BYTES:
        got = f"{path} with {size:,}"
        raise DataError(f"a file of descriptions of at most {MOST_BYTES:,} bytes", got, "Leave other classes out.")
    try:
        text = path.read_text(encoding="utf-8-sig")
        json_file = path.suffix.lower() == ".json"
        content = json.loads(text, object_pairs_hook=_Pairs) if json_file else _yaml_content(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        what = " ".join(str(error).split())[:120]
        raise DataError("a readable file of descriptions", f"{path} ({what})", _CORRECT) from error
    if not isinstance(content, _Pairs) or not content:
        raise DataError("class names and their sentences", f"{path} with something else", _CORRECT)
    return content


def _yaml_content(text: str) -> Any:
    """What `yaml.safe_load` gives, but a mapping as `_Pairs`: it keeps the last of two that have one name."""
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            return None
        return _Pairs(tuple(loader.construct_object(node, deep=True) for node in pair) for pair in root.value)
    finally:
        loader.dispose()


def _checked(name: Any, value: Any, path: Path) -> list[str]:
    """The sentences of one class."""
    if not isinstance(name, str) or not name.strip():
        raise DataError("names of classes as text", f"{name!r} in {path}", "Write it in quotes.")
    sentences = [value] if isinstance(value, str) else value
    if not isinstance(sentences, list) or isinstance(sentences, _Pairs) or not sentences:
        got = f"{'an empty list' if sentences == [] else 'something else'} for {name!r} in {path}"
        raise DataError("a list of sentences for each class", got, "Write at least one.")
    for sentence in sentences:
        if not isinstance(sentence, str) or not sentence.strip():
            raise DataError(f"sentences for {name!r}", f"{str(sentence)[:60]!r} in {path}", "Correct or remove it.")
        if "{}" in sentence:
            got, remedy = f"{sentence[:60]!r} in {path}", "Sentences around a class's name are model.prompts."
            raise DataError(f"sentences as they stand for {name!r}", got, remedy)
    return sentences


def _spaced(name: str) -> str:
    """A name with one space between its words, none of them an underscore.

    >>> _spaced("draw_sword ")
    'draw sword'
    """
    return " ".join(name.replace("_", " ").split())


def _with_nearest(name: str, known: Known) -> str:
    near = get_close_matches(name, list(known), 1)
    return f"{name!r} (there is {near[0]!r})" if near else repr(name)
