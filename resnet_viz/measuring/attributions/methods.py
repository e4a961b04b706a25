"""The attribution methods this tool knows: one row each.

A row says which captum class runs, what it needs, what it claims and where that holds; the
code that runs a row never asks for its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from resnet_viz.core.attribution_options import AttributionOptions
from resnet_viz.core.errors import UserError
from resnet_viz.core.graph import ModelGraph
from resnet_viz.core.message import say
from resnet_viz.core.structure import Structure
from resnet_viz.measuring.attributions import arguments as telling
from resnet_viz.measuring.attributions.arguments import Arguments, Parts, Passes
from resnet_viz.measuring.attributions.maps import Fold
from resnet_viz.measuring.layers import did_you_mean, embedding_of, reaching_inputs

ValidWhen = Callable[[ModelGraph, Structure], str]
Reference = Literal["", "baseline", "baselines", "nothing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One attribution method.

    Attributes:
        name: What a user types.
        title: What a reader reads.
        captum: Class in ``captum.attr``.
        through: Class in ``captum.attr`` that runs it many times over; or empty.
        source: Paper.
        says: What the values mean and what they do not claim, in one sentence.
        valid_on: On which models it means that, in words.
        signed: Whether negative values mean evidence against the target.
        signed_if: An argument of captum's and its value that give them a sign.
        complete: What the values claim to sum to: F(x) less that of the ``baseline``, less
            the mean of the ``baselines`` that are drawn, or less ``nothing``; or no sum.
        remedy: The option that brings that sum nearer when it is raised; or empty.
        needs_layer: Whether it looks at a layer.
        at_layer: Whether its values are the layer's, at the layer's own resolution.
        folds_channels: Whether captum folds the layer's channels, for which it takes axis 1.
        needs_cut: Whether it is right only where all of the model goes through the layer.
        needs_baseline: Whether it compares with one baseline or several.
        needs_gradient: Whether it differentiates.
        rewrites: Whether it hooks modules, so that each must run once and do all that is
            done; it is then asked of the rewritten model.
        in_pairs: Whether its hooks halve what goes through a module, along axis 0, in what is
            of x and what is of x′.
        draws: Whether it draws at random.
        parts: What is asked of captum one after the other so as to fit the memory, with the
            weight of each answer in the sum.
        passes: How often the samples go through the model, told these arguments.
        fold: How the values of one place become one number: their sum, or the one of
            largest magnitude (norm, for embeddings and features of a step).
        arguments: From the question to arguments of captum's ``attribute``.
        valid_when: ``(graph, structure)`` to the reason why it cannot apply, or "".
    """

    name: str
    title: str
    captum: str
    through: str = ""
    source: str
    says: str
    valid_on: str = "any model with a floating input or token embedding"
    signed: bool = False
    signed_if: tuple[str, bool] | None = None
    complete: Reference = ""
    remedy: str = ""
    needs_layer: bool = False
    at_layer: bool = False
    folds_channels: bool = False
    needs_cut: bool = False
    needs_baseline: bool = False
    needs_gradient: bool = True
    rewrites: bool = False
    in_pairs: bool = False
    draws: bool = False
    fold: Fold = "sum"
    arguments: Arguments = telling.nothing
    parts: Parts = telling.at_once
    passes: Passes = telling.once
    valid_when: ValidWhen

    def has_sign(self, options: AttributionOptions) -> bool:
        """Whether its values have a sign, told what it is told."""
        if self.signed_if is None:
            return self.signed
        name, value = self.signed_if
        return self.signed or options.extra.get(name) is value


def _has_input(graph: ModelGraph, _structure: Structure) -> str:
    if reaching_inputs(graph) or embedding_of(graph) is not None:
        return ""
    return "no floating input and no token embedding leads to a floating output"


def _has_image(graph: ModelGraph, structure: Structure) -> str:
    images = [i for i in reaching_inputs(graph) if len(graph[i].shape) == 4]
    if not images:
        return "no image goes in, so there is nothing to lay a map over"
    return _has_input(graph, structure)


_LAYERS = "any module that runs once in a forward"

METHODS: dict[str, Method] = {
    row.name: row
    for row in (
        Method(
            name="saliency",
            title="saliency",
            captum="Saliency",
            source="Simonyan et al. 2013",
            says=say(
                "Where a small change moves the score most; it has no sign, and its values "
                "do not add up to the score."
            ),
            signed_if=("abs", False),
            fold="magnitude",
            valid_when=_has_input,
        ),
        Method(
            name="input_x_gradient",
            title="input × gradient",
            captum="InputXGradient",
            source="Shrikumar et al. 2016",
            says=say(
                "What each place adds if the model were linear around the input; black or "
                "zero places always get zero."
            ),
            signed=True,
            valid_when=_has_input,
        ),
        Method(
            name="integrated_gradients",
            title="integrated gradients",
            captum="IntegratedGradients",
            source="Sundararajan et al. 2017",
            says=say(
                "What each place adds to the score on the way from the baseline to the input."
            ),
            signed=True,
            complete="baseline",
            remedy="n_steps",
            needs_baseline=True,
            arguments=telling.path,
            passes=telling.passed,
            valid_when=_has_input,
        ),
        Method(
            name="smoothgrad",
            title="SmoothGrad",
            captum="Saliency",
            through="NoiseTunnel",
            source="Smilkov et al. 2017",
            says=say(
                "Saliency averaged over noisy copies of the input; it has no sign, and its "
                "values do not add up to the score."
            ),
            signed_if=("abs", False),
            draws=True,
            fold="magnitude",
            arguments=telling.noise,
            passes=telling.drawn,
            valid_when=_has_input,
        ),
        Method(
            name="gradient_shap",
            title="GradientSHAP",
            captum="GradientShap",
            source="Lundberg and Lee 2017",
            says=say("What each place adds on the way from baselines drawn at random, on average."),
            signed=True,
            complete="baselines",
            remedy="n_samples",
            needs_baseline=True,
            draws=True,
            arguments=telling.expectation,
            passes=telling.drawn,
            valid_when=_has_input,
        ),
        Method(
            name="deep_lift",
            title="DeepLIFT",
            captum="DeepLift",
            source="Shrikumar et al. 2017, rescale rule",
            says=say(
                "What each place adds to the score, by how far every activation is from that "
                "of the baseline."
            ),
            valid_on="models whose steps are linear, element by element (ReLU, GELU, …) or max "
            "pooling, residual nets among them; not attention, gates or layer norm",
            signed=True,
            complete="baseline",
            needs_baseline=True,
            rewrites=True,
            in_pairs=True,
            arguments=telling.against_baseline,
            passes=telling.paired,
            valid_when=_has_input,
        ),
        Method(
            name="deep_lift_shap",
            title="DeepLIFT SHAP",
            captum="DeepLiftShap",
            source="Lundberg and Lee 2017",
            says=say("DeepLIFT averaged over several baselines."),
            valid_on="the models DeepLIFT is valid on",
            signed=True,
            complete="baselines",
            needs_baseline=True,
            rewrites=True,
            in_pairs=True,
            arguments=telling.against_drawn,
            parts=telling.some_baselines,
            passes=telling.paired,
            valid_when=_has_input,
        ),
        Method(
            name="guided_backprop",
            title="guided backprop",
            captum="GuidedBackprop",
            source="Springenberg et al. 2014",
            says=say(
                "Gradient that passes only through active ReLUs, and only where positive; it "
                "shows edges of the input more than reasons of the model (Adebayo et al. 2018)."
            ),
            valid_on="models with ReLUs, be they modules, reused, in place or function calls",
            rewrites=True,
            fold="magnitude",
            valid_when=_has_input,
        ),
        Method(
            name="deconvolution",
            title="deconvolution",
            captum="Deconvolution",
            source="Zeiler and Fergus 2013",
            says=say(
                "Gradient of which each ReLU passes only what is positive, whatever it did "
                "going forward; it shows edges of the input more than reasons of the model."
            ),
            valid_on="models with ReLUs, be they modules, reused, in place or function calls",
            rewrites=True,
            fold="magnitude",
            valid_when=_has_input,
        ),
        Method(
            name="layer_grad_cam",
            title="layer Grad-CAM",
            captum="LayerGradCam",
            source="Selvaraju et al. 2017",
            says=say(
                "Where the layer speaks for the target, at the layer's own resolution; only "
                "evidence for it is shown, and the values do not add up to the score."
            ),
            valid_on="layers with channels at several places: maps, tokens, steps",
            signed_if=("relu_attributions", False),
            needs_layer=True,
            at_layer=True,
            folds_channels=True,
            arguments=telling.rectified,
            valid_when=_has_input,
        ),
        Method(
            name="guided_grad_cam",
            title="guided Grad-CAM",
            captum="GuidedGradCam",
            source="Selvaraju et al. 2017",
            says=say(
                "Guided backprop where Grad-CAM speaks for the target; its fine detail is that "
                "of guided backprop, which hardly depends on the model (Adebayo et al. 2018)."
            ),
            valid_on="image models with ReLUs, be they modules, reused or function calls",
            needs_layer=True,
            folds_channels=True,
            rewrites=True,
            fold="magnitude",
            valid_when=_has_image,
        ),
        Method(
            name="layer_conductance",
            title="layer conductance",
            captum="LayerConductance",
            source="Dhamdhere et al. 2018",
            says=say(
                "What the score gains through each unit of the layer on the way from the "
                "baseline to the input."
            ),
            valid_on="layers that all of the model goes through, such as the end of a block",
            signed=True,
            complete="baseline",
            remedy="n_steps",
            needs_layer=True,
            at_layer=True,
            needs_cut=True,
            needs_baseline=True,
            arguments=telling.layer_path,
            passes=telling.passed,
            valid_when=_has_input,
        ),
        Method(
            name="layer_integrated_gradients",
            title="layer integrated gradients",
            captum="LayerIntegratedGradients",
            source="Sundararajan et al. 2017, at a layer",
            says=say(
                "What each unit of the layer adds to the score on the straight way from its "
                "value at the baseline to that at the input."
            ),
            valid_on=_LAYERS,
            signed=True,
            complete="baseline",
            remedy="n_steps",
            needs_layer=True,
            at_layer=True,
            needs_baseline=True,
            arguments=telling.layer_path,
            passes=telling.passed,
            valid_when=_has_input,
        ),
        Method(
            name="layer_activation",
            title="layer activation",
            captum="LayerActivation",
            source="captum",
            says=say("What the layer puts out, for whatever target."),
            valid_on=_LAYERS,
            signed=True,
            needs_layer=True,
            at_layer=True,
            needs_gradient=False,
            valid_when=_has_input,
        ),
        Method(
            name="internal_influence",
            title="internal influence",
            captum="InternalInfluence",
            source="Leino et al. 2018",
            says=say(
                "Gradient of the score with respect to the layer, averaged on the way from the "
                "baseline to the input; the values do not add up to the score."
            ),
            valid_on=_LAYERS,
            signed=True,
            needs_layer=True,
            at_layer=True,
            needs_baseline=True,
            arguments=telling.layer_path,
            passes=telling.passed,
            valid_when=_has_input,
        ),
        Method(
            name="occlusion",
            title="occlusion",
            captum="Occlusion",
            source="Zeiler and Fergus 2013",
            says=say(
                "How far the score falls where a window covers the input with the baseline; "
                "a mean over the windows that cover a place."
            ),
            valid_on="any model; no gradient is needed",
            signed=True,
            needs_baseline=True,
            needs_gradient=False,
            arguments=telling.windows,
            passes=telling.covered,
            valid_when=_has_input,
        ),
        Method(
            name="feature_ablation",
            title="feature ablation",
            captum="FeatureAblation",
            source="captum",
            says=say(
                "How far the score falls where a group of places is set to the baseline; every "
                "place has the value of its group."
            ),
            valid_on="any model; no gradient is needed",
            signed=True,
            needs_baseline=True,
            needs_gradient=False,
            arguments=telling.features,
            passes=telling.ablated,
            valid_when=_has_input,
        ),
        Method(
            name="lrp",
            title="layer-wise relevance propagation",
            captum="LRP",
            source="Bach et al. 2015, epsilon rule",
            says=say(
                "The score handed back layer by layer in proportion to what each unit passed "
                "on; what biases received is lost."
            ),
            valid_on="chains of convolution, linear, pooling, batch norm, ReLU, tanh and dropout "
            "modules without skips; not on residual nets",
            signed=True,
            complete="nothing",
            rewrites=True,
            valid_when=_has_input,
        ),
    )
}
"""Name to row. A new method is one more row."""


def find_methods(names: tuple[str, ...]) -> tuple[Method, ...]:
    """The rows of these names, in the order given.

    Raises:
        UserError: For an unknown name, with the near misses and all that are known.
    """
    for name in names:
        if name not in METHODS:
            raise UserError(
                f"unknown attribution method {name!r}{did_you_mean(name, METHODS)} "
                f"(known: {', '.join(METHODS)})"
            )
    return tuple(METHODS[name] for name in dict.fromkeys(names))
