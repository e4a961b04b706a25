"""What the forward of a measured run showed: dead, saturated, detached, broken, in which mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.graph import OpId


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How alive the outputs of one activation function are.

    Attributes:
        op: The call.
        units: Channels (the second axis of an image, else the last axis).
        active: Mean fraction of outputs above zero, for functions that cut off at zero;
            ``None`` for others.
        dead: Fraction of units that are above zero in less than 1 % of the places (batch
            and space), for the same functions (SageMaker Debugger, rule DeadRelu).
        saturated: Fraction of outputs where the slope is below 5 % of its largest, for
            sigmoid and tanh; ``None`` for others.
        exact: Whether every place was looked at, or an even sample of them.
        batches: In how many batches the call ran; fractions are means over them.
    """

    op: OpId
    units: int
    active: float | None = None
    dead: float | None = None
    saturated: float | None = None
    exact: bool = False
    batches: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NormMode:
    """In which mode a normalisation layer ran.

    Attributes:
        module: Its path.
        type_name: Its class.
        statistics: ``batch`` (it normalised by the batch, as in training) or ``running``.
        training: Whether its own flag says train mode.
        places: Values per channel that a batch statistic was taken over; 0 for ``running``.
        steps: Batches its running statistics have seen; ``None`` where it does not count.
        frozen: Whether its affine parameters are all frozen; false where it has none.
        fresh: Whether its running statistics still are what they start as, mean 0 and
            variance 1; false where it keeps none.
    """

    module: str
    type_name: str
    statistics: Literal["batch", "running"]
    training: bool
    places: int = 0
    steps: int | None = None
    frozen: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """A call whose inputs carry a gradient and whose floating output does not.

    Attributes:
        op: The call.
        how: ``detach``, ``no_grad`` (gradients were switched off around it) or ``values``
            (its function has no derivative: a comparison, argmax, a cast to integers).
        parameters: Parameters that lie behind it and got no gradient.
    """

    op: OpId
    how: Literal["detach", "no_grad", "values"]
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFinite:
    """The first place where NaN or infinity appears: its inputs are still finite.

    Attributes:
        direction: ``forward`` (in the call's output, or in a parameter it reads) or
            ``backward`` (in what its derivative sends back).
        op: The call that produces it.
        parameter: The parameter that already holds it; empty where the call makes it.
        value: ``NaN`` or ``infinity``.
        low: Smallest element of the call's first floating input, or of the gradient that
            arrives; ``None`` where there is none.
        high: Largest likewise.
        later: Calls that only pass it on.
    """

    direction: Literal["forward", "backward"]
    op: OpId
    parameter: str = ""
    value: Literal["NaN", "infinity"]
    low: float | None = None
    high: float | None = None
    later: int = 0
