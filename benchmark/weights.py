"""Pretrained weights that no package loads: fetched once, read safely, every tensor accounted."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmearth.catalog.errors import FormatError


def fetch(url: str) -> Any:
    """Return what a checkpoint holds; downloaded once to torch's own folder of checkpoints.

    Only tensors and plain values are read: a checkpoint cannot run code.

    Raises:
        OSError: It cannot be downloaded or stored.
        FormatError: It is no checkpoint, or holds more than data.
    """
    name = f"{sha256(url.encode()).hexdigest()[:12]}-{url.rsplit('/', 1)[-1]}"
    path = Path(torch.hub.get_dir()) / "checkpoints" / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        # It writes to a temporary file first, so that what is there is whole.
        torch.hub.download_url_to_file(url, str(path), progress=False)
    return read(path)


def read(path: Path) -> Any:
    """Return what a checkpoint file holds, on the CPU.

    Raises:
        FormatError: It is no checkpoint, or holds more than data.
    """
    try:
        with torch.serialization.safe_globals([Namespace]):  # of argparse: options, as text
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as exc:
        raise FormatError(
            f"{path} is no checkpoint that can be read safely ({str(exc).splitlines()[0]}); "
            "delete it, so that it is fetched again"
        ) from exc


def fill(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Give a module the weights of a checkpoint, all of them and no others.

    Raises:
        FormatError: One is missing, unexpected, or of another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    other = [name for name in own if name in state and own[name].shape != state[name].shape]
    for what, names in (("lacks", missing), ("has, beside the model,", unexpected)):
        if names:
            raise FormatError(
                f"{source} {what} {len(names)} tensors, such as {names[0]}; expected those of "
                f"{type(module).__name__} and no others"
            )
    if other:
        found, expected = state[other[0]].shape, own[other[0]].shape
        raise FormatError(
            f"{source}: {other[0]} is {tuple(found)}, expected {tuple(expected)}; it is of "
            "another model"
        )
    module.load_state_dict(state)
