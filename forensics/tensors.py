"""Tensors by name from files of others, and whether they are those of a network."""

from __future__ import annotations

import io
import json
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from forensics.records import UserError

_NAMED = 5  # tensors an error names
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # in torch's message: what it would not make

State = dict[str, Tensor]


class _NumPyNumber:
    """Stands for a NumPy number that a file holds beside the tensors, such as the published one's
    ``best_value``. Nobody asks for it, so nothing of NumPy is called to make it."""

    def __init__(self, *parts: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


_NUMBERS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    (_NumPyNumber, name)
    for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def read_state(data: bytes, key: str, where: str) -> tuple[State, Mapping[str, str]]:
    """Tensors by name and metadata; of a PyTorch file what is under ``key``, if there is such.

    Never unpickles anything but tensors, plain values and, unread, NumPy's numbers. Raises
    `UserError` that names the file by ``where``.
    """
    if data[8:9] == b"{":
        return _safetensors(data, where)
    # The legacy format has no magic number, so whatever is no safetensors file is tried.
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_NUMBERS):
            warnings.simplefilter("ignore")  # of pickle protocols: the error says enough
            found: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file may make torch stumble anywhere
        named = _GLOBAL.search(str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if named is None:
            raise UserError(f"{where}: it is no PyTorch or safetensors file") from None
        raise UserError(
            f"{where}: it holds a {named[1]}, and files with anything but tensors and plain values "
            "are not opened, as they could run code; store its state dict alone (torch.save of a "
            "dict of tensors, or safetensors)"
        ) from None
    if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
        found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise UserError(f"{where}: it holds no tensors by name, neither by itself nor as {key!r}")
    return {str(name): tensor for name, tensor in found.items()}, {}


def _safetensors(data: bytes, where: str) -> tuple[State, Mapping[str, str]]:
    try:
        state = safetensors.torch.load(data)
    except SafetensorError as error:
        raise UserError(f"{where}: the safetensors file is damaged: {error}") from None
    header = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + header]).get("__metadata__", {})
    return state, metadata


def fill(module: nn.Module, state: State, where: str) -> None:
    """Load ``state`` into ``module``; raises `UserError` unless it is exactly its state dict."""
    check(module.state_dict(), state, where)
    module.load_state_dict(state)


def check(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    """Raises `UserError` unless names and shapes are the same."""
    problems = []
    if missing := [name for name in wanted if name not in given]:
        problems.append(f"missing {_listed(missing)}")
    if surplus := [name for name in given if name not in wanted]:
        problems.append(f"not expected {_listed(surplus)}")
    shapes = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if shapes:
        problems.append(f"shapes {_listed(shapes)}")
    if problems:
        raise UserError(f"{where}: its tensors are not those of the network: {'; '.join(problems)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
