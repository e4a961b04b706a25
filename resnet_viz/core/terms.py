"""Words that stand for values: kinds, roles, severities, modes, looked up by the value itself.

The values stay what JSON says (``identity``, ``train``); here they are named as literals, so
that the catalogue has them. A word that is not ours (a module's name) stays as it is.
"""

from __future__ import annotations

from resnet_viz.core.message import Message, say

_SKIPS = (
    say("identity"), say("scaled"), say("projection"), say("gate"), say("concat"), say("other"),
    say("skip"), say("shortcut"), say("branch"), say("elsewhere"), say("additive"),
)  # fmt: skip
_BLOCKS = (
    say("basic"), say("bottleneck"), say("inverted bottleneck"), say("plain"), say("attention"),
    say("mlp"), say("dense"), say("transition"), say("residual"), say("block"), say("layer"),
    say("between"), say("stage"), say("network"), say("highway"), say("gated"),
)  # fmt: skip
_VERDICTS = (
    say("note"), say("warning"), say("error"), say("good"), say("vanishing"), say("exploding"),
    say("non-finite"), say("verified"), say("refused"),
)  # fmt: skip
_RUNS = (
    say("train"), say("eval"), say("forward"), say("backward"), say("random"), say("as given"),
    say("input"), say("output"), say("the input"), say("the output"), say("the loss"),
    say("scalar"), say("stem"), say("head"), say("default"),
)  # fmt: skip
_OPS = (
    say("convolution"), say("linear"), say("activation"), say("normalization"), say("pooling"),
    say("add"), say("mul"), say("reshape"), say("dropout"), say("embedding"), say("constant"),
    say("parameter"),
)  # fmt: skip
_PLACES = (
    say("pixels"), say("features"), say("steps"), say("channels"), say("tokens"), say("places"),
    say("probability"), say("share"),
)  # fmt: skip
TERMS: dict[str, Message] = {
    str(term): term for term in (*_SKIPS, *_BLOCKS, *_VERDICTS, *_RUNS, *_OPS, *_PLACES)
}
"""Value -> its word."""


def word(value: str) -> str:
    """The value's word, said in the report's language where it is one of ours."""
    return value if isinstance(value, Message) else TERMS.get(value, value)
