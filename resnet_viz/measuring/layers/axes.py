"""What each axis of a tensor stands for: rows of an image, its columns, or anything else.

A trace says which op made which shape out of which. From that it follows which axis runs
over the rows of the image, also after they were flattened into tokens, cut into windows,
shifted or put behind a class token: a small algebra of row-major factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

Role = Literal["h", "w", ""]


@dataclass(frozen=True, slots=True)
class Factor:
    """A run of steps along one direction.

    Attributes:
        role: Rows of the image (``h``), columns (``w``), or anything else.
        size: How many steps.
        stride: How many places one step covers.
        extent: All places of that direction.
        shift: By how many places they were rolled around.
    """

    role: Role
    size: int
    stride: int = 1
    extent: int = 0
    shift: int = 0

    @property
    def outermost(self) -> bool:
        """Whether it covers its direction from end to end."""
        return self.size * self.stride == self.extent


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor: factors in row-major order, between tokens that are no places.

    Attributes:
        factors: Their sizes multiply to the places.
        front: Tokens before them (class, registers).
        behind: Tokens after them.
    """

    factors: tuple[Factor, ...]
    front: int = 0
    behind: int = 0

    @property
    def size(self) -> int:
        """Length of the axis."""
        return self.front + math.prod(f.size for f in self.factors) + self.behind

    @property
    def spatial(self) -> bool:
        """Whether places of the image lie along it."""
        return any(f.role for f in self.factors)


Axes: TypeAlias = tuple[Axis, ...]


def plain(size: int) -> Axis:
    """An axis that is no direction of the image."""
    return Axis((Factor("", size),))


def whole(role: Role, size: int) -> Axis:
    """All rows or columns of an image."""
    return Axis((Factor(role, size, 1, size),))


def unknown(shape: Sequence[int]) -> Axes:
    """Axes of which nothing is known."""
    return tuple(plain(size) for size in shape)


def joined(axes: Iterable[Axis], size: int) -> Axis:
    """What axes are that were added place by place; plain where they disagree."""
    known = list(dict.fromkeys(a for a in axes if a.spatial and a.size == size))
    return known[0] if len(known) == 1 else plain(size)


def settled(axes: Axes) -> Axes:
    """The same, where the inside of a patch is gone: the patches are the places then."""
    counts = {role: sum(f.role == role for a in axes for f in a.factors) for role in "hw"}

    def one(factor: Factor) -> Factor:
        alone = factor.role and counts[factor.role] == 1 and factor.outermost
        if not alone or factor.stride == 1 or factor.shift:
            return factor
        return Factor(factor.role, factor.size, 1, factor.size)

    return tuple(replace(a, factors=tuple(map(one, a.factors))) for a in axes)


def regrouped(axes: Axes, shape: Sequence[int]) -> tuple[Axes, dict[int, int]]:
    """The axes after a reshape, and which old axis became which new one as it was."""
    if 0 in shape or any(a.size == 0 for a in axes):
        return unknown(shape), {}
    atoms: list[Factor | Axis] = []
    for axis in axes:
        atoms += [axis] if axis.front or axis.behind else axis.factors
    # Steps of one have no order, and any reshape may put them anywhere.
    atoms = [a for a in atoms if a.size != 1 or isinstance(a, Axis)]
    found: list[Axis] = []
    for size in shape:
        taken, atoms_left = _taken(atoms, size)
        if taken is None:
            return unknown(shape), {}
        found.append(taken)
        atoms = atoms_left
    links = {j: i for j, axis in enumerate(axes) for i, new in enumerate(found) if _same(axis, new)}
    return tuple(found), links


def _same(old: Axis, new: Axis) -> bool:
    return old.spatial and old == new


def _taken(atoms: list[Factor | Axis], size: int) -> tuple[Axis | None, list[Factor | Axis]]:
    """An axis of this size out of the first atoms, and the atoms that are left."""
    if atoms and isinstance(atoms[0], Axis) and atoms[0].size == size:
        return atoms[0], atoms[1:]
    factors: list[Factor] = []
    rest = list(atoms)
    missing = size
    while missing > 1:
        atom = rest.pop(0) if rest else None
        if not isinstance(atom, Factor):
            return None, atoms
        if missing % atom.size == 0:
            missing //= atom.size
        elif atom.size % missing == 0:
            inner = atom.size // missing
            rest.insert(0, replace(atom, size=inner))
            atom = replace(atom, size=missing, stride=atom.stride * inner)
            missing = 1
        else:
            return None, atoms
        factors.append(atom)
    return Axis(_merged(factors) or (Factor("", 1),)), rest


def _merged(factors: list[Factor]) -> tuple[Factor, ...]:
    """Neighbours that are one run again."""
    found: list[Factor] = []
    for factor in factors:
        last = found[-1] if found else None
        if last is not None and _follows(last, factor):
            found[-1] = replace(factor, size=last.size * factor.size)
        else:
            found.append(factor)
    return tuple(found)


def _follows(outer: Factor, inner: Factor) -> bool:
    if not outer.role:
        return not inner.role
    alike = (outer.role, outer.extent, outer.shift) == (inner.role, inner.extent, inner.shift)
    return alike and outer.stride == inner.size * inner.stride
