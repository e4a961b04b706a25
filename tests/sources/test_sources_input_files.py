"""Inputs from files and functions: read without running code, refused in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resnet_viz.core.errors import UserError
from resnet_viz.sources.input_files import file_batch, read_input
from resnet_viz.sources.input_functions import function_batch

X = torch.arange(6.0).reshape(2, 3)
MASK = torch.ones(2, 3)
BOTH = {"x": X, "mask": MASK}


class Takes(nn.Module):
    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return x if mask is None else x * mask


class Payload:
    """Anything that ``weights_only`` does not know."""


def same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, tuple | list):
        pairs = zip(left, right, strict=True)
        return type(left) is type(right) and all(same(a, b) for a, b in pairs)
    return bool(left == right)


@pytest.mark.parametrize(
    ("name", "write", "args", "kwargs"),
    [
        ("x.pt", lambda f: torch.save(X, f), (X,), {}),
        ("x.pth", lambda f: torch.save((X, MASK), f), (X, MASK), {}),
        ("x.pt", lambda f: torch.save([X, MASK], f), ([X, MASK],), {}),
        ("x.pt", lambda f: torch.save({"x": X, "mask": None}, f), (), {"x": X, "mask": None}),
        (
            "x.safetensors",
            lambda f: save_file(BOTH, f),
            (),
            BOTH,
        ),
        ("x.npy", lambda f: np.save(f, X.numpy()), (X,), {}),
        ("x.npz", lambda f: np.savez(f, x=X.numpy()), (), {"x": X}),
        ("x.npz", lambda f: np.savez(f, X.numpy(), MASK.numpy()), (X, MASK), {}),
    ],
)
def test_a_file_holds_what_forward_takes(
    tmp_path: Path,
    name: str,
    write: Callable[[Path], None],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    write(tmp_path / name)
    batch = file_batch([str(tmp_path / name)], Takes())
    assert same(batch.args, args)
    assert same(batch.kwargs, kwargs)
    assert batch.was_given
    assert batch.words == name


def test_several_files_are_several_arguments_by_place_or_by_name(tmp_path: Path) -> None:
    torch.save(X, tmp_path / "a.pt")
    np.save(tmp_path / "b.npy", MASK.numpy())
    a, b = str(tmp_path / "a.pt"), str(tmp_path / "b.npy")
    assert same(file_batch([a, b], Takes()).args, (X, MASK))
    batch = file_batch([a, f"mask={b}"], Takes())
    assert same(batch.args, (X,))
    assert same(batch.kwargs, {"mask": MASK})
    assert batch.words == "a.pt, mask = b.npy"
    odd = tmp_path / "x=1.pt"
    torch.save(X, odd)
    assert same(file_batch([str(odd)], Takes()).args, (X,))


def _damaged(path: Path) -> None:
    path.write_bytes(b"this is no such file")


def _pickled_array(path: Path) -> None:
    np.save(path, np.array([Payload()], dtype=object), allow_pickle=True)


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"nothing")


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("x.pt", lambda f: None, "does not exist"),
        ("x.pt", lambda f: f.mkdir(), "is a folder"),
        ("x.jpg", _damaged, "suffix must be one of .pt"),
        ("x.pt", _damaged, "is no torch file"),
        ("x.pt", lambda f: torch.save(Payload(), f), "could run code"),
        ("x.pt", lambda f: torch.save({}, f), "is empty"),
        ("x.safetensors", _damaged, "is no safetensors file"),
        ("x.npy", _damaged, "could run code"),
        ("x.npy", _pickled_array, "could run code"),
        ("x.npz", _zip, "is no NumPy file"),
        ("x.npy", lambda f: np.save(f, np.array(["word"])), "is no NumPy file"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_line(
    tmp_path: Path, name: str, write: Callable[[Path], None], words: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError) as caught:
        read_input(tmp_path / name)
    assert name in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Bomb()}, tmp_path / "x.pt")
    with pytest.raises(UserError, match="could run code"):
        read_input(tmp_path / "x.pt")
    assert not (tmp_path / "ran").exists()


def test_names_that_forward_does_not_have_are_told_with_those_it_has(tmp_path: Path) -> None:
    save_file({"x": X, "maks": MASK}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"no argument 'maks' \(did you mean mask\?\).*x, mask"):
        file_batch([str(tmp_path / "x.safetensors")], Takes())
    torch.save(X, tmp_path / "x.pt")
    with pytest.raises(UserError, match="no argument 'y'"):
        file_batch([f"y={tmp_path / 'x.pt'}"], Takes())
    with pytest.raises(UserError, match="x was given before"):
        file_batch([f"x={tmp_path / 'x.pt'}"] * 2, Takes())


FUNCTIONS = """
import torch
from torch.utils.data import DataLoader, TensorDataset

X = torch.arange(6.0).reshape(2, 3)

def tensor():
    return X

def arguments():
    return X, torch.ones(2, 3)

def keywords():
    return {"x": X, "mask": None}

def drawn():
    return torch.randn(2, 3)

def filled(batch_size, model, seed=5):
    return torch.full((batch_size, 3), float(seed)), len(list(model.parameters()))

def sized(batch_size=2):
    return torch.ones(batch_size, 3)

def named():
    return {"x": X}, torch.ones(2, 3)

def yielded():
    yield X, torch.ones(2, 3)

def loader():
    return DataLoader(TensorDataset(X, torch.tensor([1, 0])), batch_size=1)

def dicts():
    yield {"x": X}

def nothing():
    X + 1

def raises():
    helper()

def helper():
    raise ValueError("no data today")

def leaves():
    raise SystemExit(3)

def wants(path):
    return path
"""


@pytest.fixture
def functions(tmp_path: Path) -> str:
    file = tmp_path / "data.py"
    file.write_text(FUNCTIONS)
    return str(file)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "targets"),
    [
        ("tensor", (X,), {}, None),
        ("X", (X,), {}, None),
        ("arguments", (X, MASK), {}, None),
        ("keywords", (), {"x": X, "mask": None}, None),
        ("sized", (torch.ones(2, 3),), {}, None),
        ("filled", (torch.full((8, 3), 7.0), 0), {}, None),
        ("loader", (X[:1],), {}, torch.tensor([1])),
        ("dicts", (), {"x": X}, None),
    ],
)
def test_a_function_returns_what_forward_takes(
    functions: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], targets: Any
) -> None:
    batch = function_batch(f"{functions}:{name}", Takes(), seed=7)
    assert same(batch.args, args)
    assert same(batch.kwargs, kwargs)
    assert same(batch.targets, targets)
    assert name in batch.words
    assert batch.was_given


def test_a_pair_is_inputs_and_targets_where_forward_takes_one_input(functions: str) -> None:
    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    batch = function_batch(f"{functions}:arguments", One())
    assert same((batch.args, batch.targets), ((X,), MASK))
    batch = function_batch(f"{functions}:arguments", Takes())
    assert same((batch.args, batch.targets), ((X, MASK), None))
    batch = function_batch(f"{functions}:named", Takes())
    assert same((batch.kwargs, batch.targets), ({"x": X}, MASK))
    batch = function_batch(f"{functions}:yielded", Takes())
    assert same((batch.args, batch.targets), ((X,), MASK))


def test_a_batch_size_is_passed_on_where_it_is_asked_for(functions: str) -> None:
    assert function_batch(f"{functions}:sized", Takes(), batch_size=5).args[0].shape == (5, 3)


def test_what_a_function_draws_is_seeded_and_costs_no_global_state(functions: str) -> None:
    state = torch.get_rng_state()
    first, again = (function_batch(f"{functions}:drawn", Takes(), seed=3) for _ in range(2))
    other = function_batch(f"{functions}:drawn", Takes(), seed=4)
    assert same(first.args, again.args)
    assert not same(first.args, other.args)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (":nothing", "returned nothing"),
        (":raises", "no data today"),
        (":raises", f"data.py:{FUNCTIONS.split('raise ValueError')[0].count(chr(10)) + 1}"),
        (":leaves", "sys.exit(3)"),
        (":wants", "needs an argument 'path'"),
        (":tensr", "did you mean tensor?"),
        ("", "needs a name behind a colon"),
        (":", "needs a name behind a colon"),
    ],
)
def test_a_function_that_gives_nothing_says_why_in_one_line(
    functions: str, name: str, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        function_batch(f"{functions}{name}", Takes())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["nowhere.py:make", "no.such.module:make", "make", "x.pt:make"])
def test_a_place_without_functions_is_told(text: str) -> None:
    with pytest.raises(UserError) as caught:
        function_batch(text, Takes())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_a_named_file_of_arrays_gives_the_array_of_that_name(tmp_path: Path, suffix: str) -> None:
    def save(**arrays: torch.Tensor) -> str:
        file = tmp_path / f"{'-'.join(arrays)}.{suffix}"
        if suffix == "npz":
            np.savez(file, **{name: array.numpy() for name, array in arrays.items()})
        else:
            save_file(arrays, file)
        return f"x={file}"

    assert torch.equal(file_batch([save(x=X, other=MASK)], Takes()).kwargs["x"], X)
    assert torch.equal(file_batch([save(image=X)], Takes()).kwargs["x"], X)
    with pytest.raises(UserError, match="none of them called 'x'") as caught:
        file_batch([save(a=X, b=X.clone())], Takes())
    assert "\n" not in str(caught.value)
