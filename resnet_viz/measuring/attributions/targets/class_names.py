"""Classes by index or by name."""

from __future__ import annotations

from collections.abc import Sequence

from resnet_viz.core.errors import UserError, listed
from resnet_viz.measuring.layers import did_you_mean


def class_index(wish: int | str, classes: int, labels: Sequence[str] = ()) -> int:
    """The index of a class given by index or name.

    A name is looked up as it is, then in any case, then as a part of one name only.

    Args:
        wish: An index, also as text, or a name.
        classes: How many there are.
        labels: Their names by index, where they are known.

    Raises:
        UserError: If there is no such class, or more than one of that name.
    """
    if isinstance(wish, str):
        text = wish.strip()
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit()):
            return _named(text, labels[:classes])
        wish = int(text)
    if not 0 <= wish < classes:
        noun = "class" if classes == 1 else "classes"
        raise UserError(
            f"target {wish} is not there: the output has {classes} {noun}, 0 to {classes - 1}"
        )
    return wish


def class_words(index: int, labels: Sequence[str] = ()) -> str:
    """``281 (tabby)``, or the index where no name is known."""
    name = labels[index] if index < len(labels) else ""
    return f"{index} ({name})" if name and name != str(index) else str(index)


def _named(text: str, labels: Sequence[str]) -> int:
    if not labels:
        raise UserError(
            f"target {text!r} is no class number, and no names of this model's classes are known: "
            "give a number, argmax, top3, sum, mean, mask:FILE, box:N, token:N or "
            "file.py:function"
        )
    lower = text.casefold()
    folded = [label.casefold() for label in labels]
    for found in (
        [i for i, label in enumerate(labels) if label == text],
        [i for i, label in enumerate(folded) if label == lower],
        [i for i, label in enumerate(folded) if lower and lower in label],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            names = listed((f"{labels[i]} ({i})" for i in found), 6)
            raise UserError(f"target {text!r} may be {len(found)} classes: {names}; give a number")
    near = did_you_mean(lower, folded)
    raise UserError(
        f"no class is called {text!r}{near} (give a number from 0 to {len(labels) - 1}, a name, "
        "argmax, top3, sum or mean)"
    )
