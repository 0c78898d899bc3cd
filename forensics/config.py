"""Settings: YAML file + command line -> one frozen, validated model, and its digest.

A key that does not exist is an error with the nearest names, never ignored. The same dotted names
work in the file and on the command line: ``prnu: {window: 64}`` is ``--prnu.window 64``.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from forensics.records import UserError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys forbidden, defaults validated."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


S = TypeVar("S", bound=Settings)


def load(model: type[S], config: str | Path | None = None, arguments: Sequence[str] = ()) -> S:
    """Settings of ``model`` from a YAML file and ``--dotted.name value`` arguments, which win.

    A value is read as YAML (``true``, ``3``, ``[a, b]``); ``a,b`` is a list where a list is due.
    Text is taken as it stands, whatever it means in YAML; empty text is none. A section may have a
    name for some of its values (``--network.encoder b0``). Raises `UserError` that names the file
    or option at fault and the nearest valid name.
    """
    values = _read_yaml(Path(config)) if config is not None else {}
    _check_names(model, values, where=str(config))
    known = dict(fields(model))
    for name, text in _pairs(arguments):
        path = name.split(".")
        if name not in known and not _is_section(model, path):
            raise UserError(f"unknown option --{name}{_suggest(name, known)}")
        annotation = known[name].annotation if name in known else None
        try:
            value = _value(text, annotation)
        except yaml.YAMLError:
            raise UserError(f"option --{name}: {text!r} is no value") from None
        _assign(values, path, value)
    try:
        return model.model_validate(_with_defaults(model, values))
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or model.__name__}: {e['msg']}"
            for e in error.errors()
        ]
        where = f" in {config}" if config else ""
        raise UserError("\n".join([f"the settings{where} are not valid:", *lines])) from None


def _with_defaults(
    model: type[BaseModel], values: Mapping[str, Any], own: Any = None
) -> dict[str, Any]:
    """Sections given in part get the rest from the section's ``own`` default, as ``--help`` shows.

    Else it would come from the defaults of the section's class, which may be others.
    """
    below = {name: getattr(own, name) for name in own.model_fields_set} if own is not None else {}
    completed = {**below, **values}
    for name, field in model.model_fields.items():
        section, given = _section(field.annotation), values.get(name)
        if section is not None and isinstance(given, Mapping):
            default = below.get(name, field.default)
            default = default if isinstance(default, BaseModel) else None
            completed[name] = _with_defaults(section, given, default)
    return completed


def digest(settings: Settings | Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the settings as canonical JSON."""
    values = settings.model_dump(mode="json") if isinstance(settings, BaseModel) else settings
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and pydantic field of every leaf setting, in the order they are written."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is not None:
            yield from fields(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def describe(model: type[BaseModel]) -> str:
    """One line per setting: option, meaning, choices, default. This is what ``--help`` prints.

    What must be given comes first.
    """
    lines = [
        (not (default is _REQUIRED and "." not in name), name, field, default)
        for name, field, default in _defaults(model)
    ]
    return "\n".join(
        f"  --{name:<28} {field.description or ''}{_choices(field)}{_shown(field, default)}"
        for _, name, field, default in sorted(lines, key=lambda line: line[0])
    )


_REQUIRED = object()


def _defaults(
    model: type[BaseModel], prefix: str = "", given: Any = None
) -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, field and default of every leaf; ``given``: the section's own default."""
    for name, field in model.model_fields.items():
        if given is not None:
            default = getattr(given, name)
        elif field.is_required():
            default = _REQUIRED
        else:
            default = field.get_default(call_default_factory=True)
        section = _section(field.annotation)
        if section is not None:
            own = default if isinstance(default, BaseModel) else None
            yield from _defaults(section, f"{prefix}{name}.", own)
        else:
            yield f"{prefix}{name}", field, default


def _choices(field: Any) -> str:
    """The words that may be entered, unless the description has them all."""
    words = [str(word) for word in _literals(field.annotation)]
    if not words or all(word in (field.description or "") for word in words):
        return ""
    return f" (one of {', '.join(words)})"


def _literals(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) is typing.Literal:
        return typing.get_args(annotation)
    return tuple(word for kind in typing.get_args(annotation) for word in _literals(kind))


def _shown(field: Any, default: Any) -> str:
    """`` [default]``; nothing for a None that the description explains in brackets of its own."""
    if default is _REQUIRED:
        return " [required]"
    if default is None:
        return "" if (field.description or "").endswith("]") else " [none]"
    if isinstance(default, tuple | list):
        return f" [{','.join('none' if part is None else str(part) for part in default)}]"
    if isinstance(default, dict):
        return f" [{', '.join(default)}]"
    return f" [{default}]"


def flat(settings: Settings) -> dict[str, Any]:
    """Resolved settings by dotted name, as MLflow parameters want them."""

    def walk(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                yield from walk(inner, f"{prefix}.{key}" if prefix else key)
        else:
            yield prefix, value

    return dict(walk(settings.model_dump(mode="json"), ""))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no settings file {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path} must hold `name: value` lines, it holds a {type(values).__name__}")
    return values


def _check_names(model: type[BaseModel], values: dict[str, Any], where: str) -> None:
    """Reject names that no setting has. A section left empty (``prnu:``) has nothing in it."""
    for name, value in values.items():
        if name not in model.model_fields:
            raise UserError(
                f"{where}: unknown setting {name!r}{_suggest(name, model.model_fields)}"
            )
        annotation = model.model_fields[name].annotation
        section = _section(annotation)
        if value is None and section is annotation:  # else the section may be left out
            values[name] = {}
        if section is not None and isinstance(value, dict):
            _check_names(section, value, f"{where}: {name}")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings behind an annotation that is a section, or one that may be left out."""
    if isinstance(annotation, types.UnionType):
        kinds = [kind for kind in typing.get_args(annotation) if kind is not types.NoneType]
        return _section(kinds[0]) if len(kinds) == 1 else None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _is_section(model: type[BaseModel], path: Sequence[str]) -> bool:
    for name in path:
        field = model.model_fields.get(name)
        section = None if field is None else _section(field.annotation)
        if section is None:
            return False
        model = section
    return True


def _suggest(name: str, known: typing.Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"unexpected argument {word!r}: options are written --name value")
        name, equals, text = word[2:].partition("=")
        if not equals:
            if not rest:
                raise UserError(f"option --{name} needs a value")
            text = rest.pop(0)
        yield name.replace("-", "_"), text


def _value(text: str, annotation: Any) -> Any:
    kinds = [annotation, *typing.get_args(annotation)]
    listed = any(typing.get_origin(kind) in (tuple, list) for kind in kinds)
    if listed and not text.startswith("["):
        return [yaml.safe_load(part) for part in text.split(",") if part]
    is_text = annotation is str or (
        isinstance(annotation, types.UnionType) and str in typing.get_args(annotation)
    )
    if is_text:  # `--output 2026` is a folder, `null` an image
        return text or None
    return yaml.safe_load(text)


def _assign(values: dict[str, Any], path: list[str], value: Any) -> None:
    *sections, last = path
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise UserError(
                f"option --{'.'.join(path)} has no place: {section} is {values!r} already; give "
                "that, or its parts as `name: value`"
            )
    values[last] = value
