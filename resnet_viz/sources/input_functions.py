"""Inputs that a function of the user's makes: ``--inputs-from file.py:make_batch``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from resnet_viz.core.batch import BATCH_SIZE, Batch
from resnet_viz.core.errors import UserError
from resnet_viz.sources.batches import first_batch, given_batch
from resnet_viz.sources.seeding import seeded
from resnet_viz.sources.signatures import binds
from resnet_viz.sources.user_code import on_path
from resnet_viz.sources.user_functions import find_function


def function_batch(
    text: str,
    model: nn.Module,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    kwargs: Mapping[str, Any] | None = None,
) -> Batch:
    """What the function returns, as one batch.

    It may return whatever ``forward`` takes (a tensor, a tuple ``*args``, a dict
    ``**kwargs``), or be a loader or a generator of pairs ``(inputs, targets)``, whose first
    is taken. It may also return such a pair where that cannot be mistaken: ``inputs`` is a
    dict of ``forward``'s arguments, or ``forward`` could not take the two. Arguments called
    ``batch_size``, ``model`` and ``seed`` are filled in. Random numbers are seeded.

    Args:
        text: ``file.py:name`` or ``pkg.mod:name``; the name of a value works as well.
        model: Whose ``forward`` it is for.
        batch_size: For the function, if it takes one.
        seed: Of the random numbers it draws.
        kwargs: More keyword arguments of ``forward``.

    Raises:
        UserError: In one line, for whatever keeps it from working; with the line of the
            user's code where that raised.
    """
    found = find_function(text, "--inputs-from", "make_batch")
    made = found.value
    with on_path(found.folder), seeded(seed):
        if found.is_function:
            size = batch_size
            needed = found.parameter("batch_size")
            if size is None and needed is not None and needed.default is needed.empty:
                size = BATCH_SIZE
            made = found.call({"batch_size": size, "model": model, "seed": seed})
        if made is None:
            raise UserError(f"{found.what} returned nothing: end it with return")
        try:
            batch = _batch(made, model, dict(kwargs or {}), seed)
        except UserError as error:
            raise UserError(f"{found.what}: {error}") from error
    return replace(batch, words=f"what {found.name} of {found.place} made")


def _batch(made: Any, model: nn.Module, kwargs: dict[str, Any], seed: int) -> Batch:
    if isinstance(made, Iterable) and not isinstance(made, Tensor | Mapping | tuple | list | str):
        return first_batch(made, seed=seed, model=model, kwargs=kwargs)
    if type(made) is tuple and len(made) == 2:
        inputs = given_batch(made[0], model, kwargs)
        is_plain = bool(inputs.args) and binds(model, made, kwargs)
        if not is_plain and binds(model, inputs.args, inputs.kwargs):
            return replace(inputs, targets=made[1])
    return given_batch(made, model, kwargs)
