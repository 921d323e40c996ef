"""One file format for everything a run stores: a description in JSON, then the bytes of the arrays, compressed.

    8 bytes   magic, the last one is the version
    8 bytes   length of the description, little endian
    n bytes   description: kind, structure, dtype and shape of every array, how the rest is compressed
    rest      the arrays one after another, C order, little endian, in one zstd frame or as they are

Nothing in a file can name code: reading makes numbers, strings, lists, tuples, dicts and arrays of the dtypes below.
Nothing is allocated before its size was compared with the size of the file.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, NoReturn, Protocol

import numpy as np
import zstandard
from numpy.typing import NDArray

from muzero_wm.basis.errors import UserError

VERSION = 2
_MAGIC = b"MuZeroW"
_PREFIX = 16
_MAX_DESCRIPTION = 16 << 20
_MAX_DEPTH = 64
_MAX_WINDOW = 1 << 27
_LEVEL = 1
# A reader takes this many bytes, plus so many for each byte of the file; what would need more is not compressed.
_FREE_BYTES, _MAX_RATIO = 64 << 20, 256
_DTYPES = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])
BFLOAT16 = "bf2"  # PyTorch's; NumPy holds the same bits as u2


class ArrayFileError(UserError):
    """Says why a file cannot be read."""


class Writable(Protocol):
    """Is all that writing needs of a stream."""

    def write(self, data: Any) -> int:
        """Writes bytes and returns how many."""
        ...


@dataclass
class Encoded:
    """A payload taken apart.

    Attributes:
        tree: its structure in plain JSON; arrays and shared parts stand in it by their index.
        arrays: [n] C-contiguous arrays.
        descriptions: [n] dtype, shape and, where memory order differs, the order of the axes.
        shared: parts that are stored in files of their own.
        overhead: bytes before the arrays, known once it was written.
    """

    tree: Any = None
    arrays: list[NDArray] = field(default_factory=list)
    descriptions: list[dict[str, Any]] = field(default_factory=list)
    shared: list[Any] = field(default_factory=list)
    overhead: int = 0


def encode(payload: Any, shared: type | None = None) -> Encoded:
    """Takes a payload apart.

    Args:
        payload: nested dicts (keys: strings or integers), lists and tuples of tensors, NumPy arrays and scalars,
            numbers, strings, bytes and None.
        shared: type of the parts that are stored elsewhere.

    Returns:
        Its structure and its arrays; the arrays share memory with the payload where they can.

    Raises:
        TypeError: something in it cannot be stored; the message names where.
    """
    out = Encoded()
    out.tree = _encode(payload, "payload", 0, out, shared)
    return out


def write(
    stream: Writable, encoded: Encoded, *, kind: str, references: list[str] | None = None, compress: bool = True
) -> None:
    """Writes one file.

    Args:
        stream: where to.
        encoded: what.
        kind: told back by `read`.
        references: a name for each shared part.
        compress: False where `plausible` says that a reader would refuse the compressed file.

    Raises:
        TypeError: the description is too long: large numbers of plain values belong into arrays.
        OSError: the stream cannot be written.
    """
    size = sum(array.nbytes for array in encoded.arrays)
    description = {
        "kind": kind,
        "compression": "zstd" if compress else "none",
        "bytes": size,
        "arrays": encoded.descriptions,
        "references": references or [],
        "tree": encoded.tree,
    }
    text = json.dumps(description, allow_nan=False, separators=(",", ":")).encode()
    if len(text) > _MAX_DESCRIPTION:
        raise TypeError(f"payload: its structure takes {len(text)} bytes, at most {_MAX_DESCRIPTION}; use arrays")
    encoded.overhead = _PREFIX + len(text)
    stream.write(_MAGIC + bytes([VERSION]))
    stream.write(len(text).to_bytes(8, "little"))
    stream.write(text)
    if not compress:
        for array in encoded.arrays:
            stream.write(_bytes(array))
        return
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False).compressobj(size=size)
    for array in encoded.arrays:
        stream.write(compressor.compress(_bytes(array)))
    stream.write(compressor.flush())


def plausible(encoded: Encoded, size: int) -> bool:
    """Returns whether a reader takes a compressed file of `size` bytes, just written, for what it is: no zip bomb."""
    return sum(array.nbytes for array in encoded.arrays) <= _FREE_BYTES + _MAX_RATIO * (size - encoded.overhead)


def read(
    stream: IO[bytes],
    size: int,
    *,
    kind: str,
    array: Callable[[NDArray, str], Any],
    reference: Callable[[str], Any] | None = None,
    max_bytes: int | None = None,
) -> Any:
    """Reads one file.

    Args:
        stream: at its beginning.
        size: of the file, in bytes; bounds everything that is allocated.
        kind: the one expected.
        array: makes a leaf of an array and its stored dtype ("bf2": the bits of bfloat16 in uint16).
        reference: makes a shared part of its name.
        max_bytes: most bytes that all arrays together may take, where the caller knows.

    Returns:
        The payload.

    Raises:
        ArrayFileError: the file is of another kind or version, damaged or implausible; one line.
    """
    try:
        return _read(stream, size, kind, array, reference, max_bytes)
    except ArrayFileError:
        raise
    except RecursionError:
        _refuse("it is nested too deeply")
    except (OSError, ValueError, KeyError, TypeError, IndexError, OverflowError, MemoryError) as error:
        _refuse(f"it makes no sense ({type(error).__name__})")
    except zstandard.ZstdError:
        _refuse("its compressed part is damaged")


def _read(
    stream: IO[bytes],
    size: int,
    kind: str,
    make_array: Callable[[NDArray, str], Any],
    make_reference: Callable[[str], Any] | None,
    max_bytes: int | None,
) -> Any:
    prefix = stream.read(_PREFIX)
    if len(prefix) < _PREFIX or prefix[:7] != _MAGIC:
        _refuse("it is no file of ours")
    if prefix[7] != VERSION:
        newer = "a newer" if prefix[7] > VERSION else "another"
        _refuse(f"it was written by {newer} version (format {prefix[7]}, this one reads {VERSION})")
    length = int.from_bytes(prefix[8:], "little")
    if length > min(_MAX_DESCRIPTION, size - _PREFIX):
        _refuse(f"its description claims {length} bytes")
    description = json.loads(stream.read(length).decode("utf-8"), parse_constant=_refuse_constant)
    if description["kind"] != kind:
        _refuse(f"expected {kind}, got {str(description['kind'])[:40]!r}")
    layouts = [_layout(entry) for entry in description["arrays"]]
    total = sum(layout.nbytes for layout in layouts)
    rest = size - _PREFIX - length
    compressed = {"zstd": True, "none": False}[description["compression"]]
    bound = _FREE_BYTES + _MAX_RATIO * rest if compressed else rest
    if max_bytes is not None:
        bound = min(bound, max_bytes)
    if total != description["bytes"] or total > bound:
        _refuse(f"it claims {total} bytes of arrays, {bound} are plausible")
    source: Any = stream
    if compressed:
        source = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(stream, closefd=False)
    arrays = [make_array(_fill(source, layout), layout.code) for layout in layouts]
    if source.read(1):
        _refuse("it holds more than it describes")
    references = [make_reference(str(name)) for name in description["references"]] if make_reference else []
    return _decode(description["tree"], 0, arrays, references)


@dataclass(frozen=True)
class _Layout:
    code: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _layout(entry: Mapping[str, Any]) -> _Layout:
    """Returns the checked layout of one array as it lies in the file."""
    code, shape, axes = entry["dtype"], entry["shape"], entry.get("axes")
    if code not in _DTYPES and code != BFLOAT16:
        _refuse(f"its arrays have an unknown dtype {str(code)[:40]!r}")
    if len(shape) > 32 or any(type(n) is not int or not 0 <= n < 1 << 48 for n in shape):
        _refuse("its arrays have an impossible shape")
    if axes is not None and sorted(axes) != list(range(len(shape))):
        _refuse("its arrays have an impossible order of axes")
    dtype = np.dtype("<u2" if code == BFLOAT16 else f"<{code}")
    return _Layout(code, dtype, tuple(shape), None if axes is None else tuple(axes))


def _fill(source: Any, layout: _Layout) -> NDArray:
    array = np.empty(layout.shape, layout.dtype)
    if array.nbytes:
        view = _bytes(array)
        done = 0
        while done < len(view):
            if not (count := source.readinto(view[done:])):
                _refuse("it is shorter than it describes")
            done += count
    if layout.dtype.kind == "b" and array.nbytes and array.view(np.uint8).max() > 1:
        _refuse("a truth value in it is neither 0 nor 1")
    return array if layout.axes is None else array.transpose(np.argsort(layout.axes))


def _encode(value: Any, path: str, depth: int, out: Encoded, shared: type | None) -> Any:
    if depth > _MAX_DEPTH:
        raise TypeError(f"{path[:80]}: nested deeper than {_MAX_DEPTH}")
    if shared is not None and isinstance(value, shared):
        out.shared.append(value)
        return ["r", len(out.shared) - 1]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else ["f", repr(value)]
    if type(value) is bytes:
        return ["b", _add_array(np.frombuffer(value, np.uint8), "u1", out)]
    if isinstance(value, np.ndarray):
        code = f"{value.dtype.kind}{value.dtype.itemsize}"
        if code not in _DTYPES:
            raise TypeError(f"{path}: expected numbers, got an array of {value.dtype}")
        return ["a", _add_array(value, code, out)]
    if "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor):
        return ["a", _add_tensor(value, path, out)]
    if isinstance(value, Mapping):
        if odd := [key for key in value if type(key) not in (str, int)]:
            raise TypeError(f"{path}: expected keys that are strings or integers, got {odd[0]!r}")
        return ["d", *([k, _encode(v, f"{path}.{k}", depth + 1, out, shared)] for k, v in value.items())]
    if type(value) in (list, tuple):
        items = [_encode(item, f"{path}[{index}]", depth + 1, out, shared) for index, item in enumerate(value)]
        return ["l" if type(value) is list else "t", *items]
    raise TypeError(f"{path}: expected tensors, arrays, numbers, strings, lists or dicts, got {type(value).__name__}")


def _add_tensor(tensor: Any, path: str, out: Encoded) -> int:
    torch = sys.modules["torch"]
    plain = tensor.detach().cpu()
    if plain.layout is not torch.strided or plain.is_quantized:
        raise TypeError(f"{path}: expected a dense tensor, got {plain.layout}")
    # Optimisers walk a weight and its moments by memory order (channels last), so the order must come back as well.
    axes = sorted(range(plain.ndim), key=lambda axis: -plain.stride(axis))
    ordered = plain.permute(axes)
    if not ordered.is_contiguous():
        axes, ordered = list(range(plain.ndim)), plain.contiguous()
    if plain.dtype == torch.bfloat16:
        return _add_array(ordered.contiguous().view(torch.uint16).numpy(), BFLOAT16, out, axes)
    array = ordered.numpy()
    return _add_array(array, f"{array.dtype.kind}{array.dtype.itemsize}", out, axes)


def _add_array(array: NDArray, code: str, out: Encoded, axes: list[int] | None = None) -> int:
    stored = np.asarray(array, dtype=np.dtype("<u2" if code == BFLOAT16 else f"<{code}"), order="C")
    entry: dict[str, Any] = {"dtype": code, "shape": list(stored.shape)}
    if axes is not None and axes != sorted(axes):
        entry["axes"] = axes
    out.arrays.append(stored)
    out.descriptions.append(entry)
    return len(out.arrays) - 1


def _decode(node: Any, depth: int, arrays: list[Any], references: list[Any]) -> Any:
    if depth > _MAX_DEPTH:
        _refuse("it is nested too deeply")
    if not isinstance(node, list):
        if isinstance(node, dict):
            _refuse("its structure is not ours")
        return node
    tag, *items = node
    match tag:
        case "l":
            return [_decode(item, depth + 1, arrays, references) for item in items]
        case "t":
            return tuple(_decode(item, depth + 1, arrays, references) for item in items)
        case "d":
            return {_key(key): _decode(item, depth + 1, arrays, references) for key, item in items}
        case "a":
            return arrays[_index(items, len(arrays))]
        case "b":
            return np.asarray(arrays[_index(items, len(arrays))]).tobytes()
        case "r":
            return references[_index(items, len(references))]
        case "f" if items and items[0] in ("nan", "inf", "-inf"):
            return float(items[0])
    raise ArrayFileError("its structure is not ours")


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        _refuse("a key in it is neither a string nor an integer")
    result: str | int = key
    return result


def _index(items: list[Any], count: int) -> int:
    if len(items) != 1 or type(items[0]) is not int or not 0 <= items[0] < count:
        _refuse("it refers to something that is not there")
    return int(items[0])


def _bytes(array: NDArray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")


def _refuse_constant(text: str) -> NoReturn:
    _refuse(f"its description holds {text}")


def _refuse(reason: str) -> NoReturn:
    raise ArrayFileError(reason)
