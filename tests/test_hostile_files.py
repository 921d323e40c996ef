"""Files of data that lie about what they hold: every one is refused in one line, within little memory."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from muzero_wm.basis.errors import CheckpointError
from muzero_wm.storage import arrayfile
from muzero_wm.storage.checkpoint import load_checkpoint, save_checkpoint
from tests.test_hostile import replace_state


def _file(description: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    text = description if isinstance(description, bytes) else json.dumps(description).encode()
    return b"MuZeroW\x02" + (len(text) if length is None else length).to_bytes(8, "little") + text + data


def _described(arrays: list[dict[str, Any]], size: int, tree: Any = None, **changes: Any) -> dict[str, Any]:
    base = {"kind": "checkpoint", "compression": "none", "bytes": size, "references": [], "arrays": arrays}
    return {**base, "tree": ["d"] if tree is None else tree, **changes}


def _zeros(size: int) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(bytes(size))


_EMPTY = {"dtype": "u1", "shape": [0]}
FILES: list[tuple[bytes, str]] = [
    (b"", "no file of ours"),
    (b"MuZero", "no file of ours"),
    (b"MuZeroW\x09" + bytes(8), "a newer version"),
    (b"MuZeroW\x01" + bytes(8), "another version"),
    (b"MuZeroW\x02" + b"\xff" * 8, "claims 18446744073709551615 bytes"),
    (_file(_described([], 0), length=10**6), "claims 1000000 bytes"),
    (_file(b"not json"), "makes no sense"),
    (_file(b"[" * 100_000), "nested too deeply"),
    (_file(b'{"kind": NaN}'), "holds NaN"),
    (_file(b"9" * 100_000), "makes no sense"),
    (_file([]), "makes no sense"),
    (_file({"kind": "checkpoint"}), "makes no sense"),
    (_file(_described([], 0, kind="episodes")), "expected checkpoint, got 'episodes'"),
    (_file(_described([], 0, compression="lzma")), "makes no sense"),
    (_file(_described([{"dtype": "u1", "shape": [10**12]}], 10**12)), "are plausible"),
    (_file(_described([{"dtype": "u1", "shape": [10**12]}], 0)), "are plausible"),
    (_file(_described([{"dtype": "u1", "shape": [2**47, 2**47]}], 2**94)), "are plausible"),
    (_file(_described([{"dtype": "u1", "shape": [2**60, 0]}], 0)), "impossible shape"),
    (_file(_described([{"dtype": "u1", "shape": [2**47] * 3 + [0]}], 0)), "makes no sense"),
    (_file(_described([{"dtype": "u1", "shape": [-1]}], -1)), "impossible shape"),
    (_file(_described([{"dtype": "u1", "shape": [1.0]}], 1), b"x"), "impossible shape"),
    (_file(_described([{"dtype": "u1", "shape": [True]}], 1), b"x"), "impossible shape"),
    (_file(_described([{"dtype": "u1", "shape": [1] * 40}], 1), b"x"), "impossible shape"),
    (_file(_described([{"dtype": "O8", "shape": [1]}], 8), bytes(8)), "unknown dtype 'O8'"),
    (_file(_described([{"dtype": "V9999", "shape": [1]}], 8), bytes(8)), "unknown dtype"),
    (_file(_described([{"dtype": ["u1"], "shape": [1]}], 1), b"x"), "makes no sense"),
    (_file(_described([{"dtype": "u1", "shape": [1], "axes": [5]}], 1), b"x"), "impossible order"),
    (_file(_described([{"dtype": "b1", "shape": [1]}], 1), b"\x07"), "truth value"),
    (_file(_described([{"dtype": "u1", "shape": [9]}], 9), b"short"), "are plausible"),
    (_file(_described([_EMPTY], 0), b"more"), "more than it describes"),
    (_file(_described([], 0, compression="zstd"), b"no frame"), "damaged"),
    (_file(_described([{"dtype": "u1", "shape": [9]}], 9, compression="zstd"), _zeros(5)), "shorter than"),
    (
        _file(_described([{"dtype": "u1", "shape": [9]}], 9, compression="zstd"), _zeros(10**8)),
        "more than it describes",
    ),
    (
        _file(_described([{"dtype": "u1", "shape": [10**10]}], 10**10, compression="zstd"), _zeros(10**8)),
        "are plausible",
    ),
    (_file(_described([], 0, tree={"a": 1})), "structure is not ours"),
    (_file(_described([], 0, tree=["x", 1])), "structure is not ours"),
    (_file(_described([], 0, tree=[])), "makes no sense"),
    (_file(_described([], 0, tree=["a", 0])), "not there"),
    (_file(_described([_EMPTY], 0, tree=["a", -1])), "not there"),
    (_file(_described([_EMPTY], 0, tree=["a", 0.0])), "not there"),
    (_file(_described([], 0, tree=["r", 0])), "not there"),
    (_file(_described([], 0, tree=["d", [[1], 2]])), "neither a string nor an integer"),
    (_file(_described([], 0, tree=["d", ["a"]])), "makes no sense"),
    (_file(_described([], 0, tree=["f", "__import__('os')"])), "structure is not ours"),
    (_file(_described([], 0, references=["../../etc/passwd"])), "which its manifest does not"),
    (_file(_described([], 0, tree=["l", 1])), "expected a dictionary, got list"),
]


@pytest.mark.parametrize(("content", "message"), FILES)
def test_files_that_lie(content: bytes, message: str, tmp_path: Path, little_memory: None) -> None:
    save_checkpoint(tmp_path, {}, step=4, keep=1)
    replace_state(tmp_path, content)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_deep_trees_are_refused_both_ways(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    with pytest.raises(TypeError, match="nested deeper than 64"):
        save_checkpoint(tmp_path, {"x": deep}, step=1, keep=1)
    text: Any = 1
    for _ in range(100):
        text = ["l", text]
    content = _file(_described([], 0, tree=text))
    with pytest.raises(arrayfile.ArrayFileError, match="nested too deeply"):
        arrayfile.read(io.BytesIO(content), len(content), kind="checkpoint", array=lambda array, _: array)


def test_what_compresses_too_well_is_stored_as_it_is(tmp_path: Path) -> None:
    """A reader cannot tell 100 MB of zeros from a bomb, so a writer does not make one."""
    save_checkpoint(tmp_path, {"zeros": np.zeros(100 << 20, np.uint8)}, step=1, keep=1)
    assert load_checkpoint(tmp_path)["zeros"].count_nonzero() == 0
