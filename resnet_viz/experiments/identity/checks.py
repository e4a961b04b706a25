"""What must hold for the identity experiment, beside what came out."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_viz.core.experiments.common import Check
from resnet_viz.core.experiments.identity import IdentityMapping, SilentForm
from resnet_viz.sources.family.parts import ORDERS

_HE_2015 = "He et al. 2015 (1512.03385), section 3.1"
_HE_2016 = "He et al. 2016 (1603.05027), section 4.1"


def identity_checks(found: IdentityMapping) -> Iterator[Check]:
    """Equality of the nets, singular values 1, and what holds for each form of block."""
    deep, shallow = found.deep, found.shallow
    yield _zero(f"largest difference between the logits of {deep} and {shallow}", found.difference)
    values = [v for block in found.blocks if block.silent for v in block.singular_values]
    for what, value in (("smallest", min(values)), ("largest", max(values))) if values else ():
        yield Check(
            what=f"{what} singular value of the silent blocks' Jacobians, x > 0",
            measured=value,
            expected=1.0,
            allowed="within 1e-12",
            holds=abs(value - 1) <= 1e-12,
            source=f"{_HE_2015}: H(x) = x, so dH/dx = 1",
        )
    for form in found.forms:
        yield from _form_checks(form)
    if found.plain_spread is not None:
        yield _zero(
            f"largest difference between logits of {deep} without shortcuts for two inputs",
            found.plain_spread,
            source="F(x) = 0 without a shortcut: nothing passes, and the answer is a constant",
        )
    (first, small), (second, larger) = found.perturbed[:2]
    growth = larger / small if small else float("nan")
    yield Check(
        what=f"growth of the logits' change from branches × {first:g} to × {second:g}",
        measured=growth,
        expected=second / first,
        allowed="within 5 %",
        holds=abs(growth / (second / first) - 1) <= 0.05,
        source="first-order expansion around the identity",
    )


def _form_checks(form: SilentForm) -> Iterator[Check]:
    order = ORDERS[form.order]
    name = f"{form.block} blocks, order {form.order}, {form.silenced} at zero"
    if "norm" in order.joined:
        yield Check(
            what=f"largest |H(x) - x| for x > 0; {name}",
            measured=form.positive,
            allowed="more than 0",
            holds=form.positive > 0,
            source=f"{_HE_2016}: a norm after the addition changes what the shortcut carries",
        )
        return
    yield _zero(f"largest difference of logits; {name}", form.difference)
    yield _zero(f"likewise with the statistics of the batch; {name}", form.train_difference)
    if "act" in order.joined:
        yield _zero(f"largest |H(x) - x| for x > 0; {name}", form.positive)
        yield Check(
            what=f"largest |H(x) - x| for x of both signs; {name}",
            measured=form.signed,
            allowed="more than 0",
            holds=form.signed > 0,
            source=f"{_HE_2015}: the ReLU after the addition passes x > 0 alone",
        )
    else:
        yield _zero(
            f"largest |H(x) - x| for x of both signs; {name}",
            form.signed,
            source=f"{_HE_2016}: nothing follows the addition",
        )


def _zero(what: str, measured: float, *, source: str = _HE_2015) -> Check:
    return Check(
        what=what,
        measured=measured,
        expected=0.0,
        allowed="exactly 0",
        holds=measured == 0,
        source=source,
    )
