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

    A value is read as YAML (``true``, ``3``, ``[a, b]``); ``a,b`` is a list where a list is due. A
    section may have a name for some of its values (``--network.encoder b0``).
    Raises `UserError` that names the file or option at fault and the nearest valid name.
    """
    values = _read_yaml(Path(config)) if config is not None else {}
    _reject_unknown(model, values, where=str(config))
    known = dict(fields(model))
    for name, text in _pairs(arguments):
        path = name.split(".")
        if name not in known and not _is_section(model, path):
            raise UserError(f"unknown option --{name}{_suggest(name, known)}")
        annotation = known[name].annotation if name in known else None
        _assign(values, path, _value(text, annotation))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in e['loc']) or model.__name__}: {e['msg']}"
            for e in error.errors()
        ]
        where = f" in {config}" if config else ""
        raise UserError("\n".join([f"the settings{where} are not valid:", *lines])) from None


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
    """One line per setting: option, default, meaning. This is what ``--help`` prints."""
    lines = []
    for name, field in fields(model):
        default = (
            "required" if field.is_required() else field.get_default(call_default_factory=True)
        )
        lines.append(f"  --{name:<28} {field.description or ''} [{default}]")
    return "\n".join(lines)


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


def _reject_unknown(model: type[BaseModel], values: Mapping[str, Any], where: str) -> None:
    for name, value in values.items():
        if name not in model.model_fields:
            raise UserError(
                f"{where}: unknown setting {name!r}{_suggest(name, model.model_fields)}"
            )
        section = _section(model.model_fields[name].annotation)
        if section is not None and isinstance(value, Mapping):
            _reject_unknown(section, value, f"{where}: {name}")


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
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
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
    if is_text:  # `--output 2026` is a folder, `#1: a` an image
        return None if text in ("", "null", "~") else text
    return yaml.safe_load(text)


def _assign(values: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise UserError(
                f"--{'.'.join(path)}: {key} is {values!r} already; give that or its parts"
            )
    values[path[-1]] = value
