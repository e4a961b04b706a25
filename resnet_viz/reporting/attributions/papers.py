"""Where each method comes from, for those who want to read it."""

from __future__ import annotations

PAPERS = {
    "saliency": "Simonyan et al. 2013 (arXiv:1312.6034)",
    "input_x_gradient": "Shrikumar et al. 2016 (arXiv:1605.01713)",
    "integrated_gradients": "Sundararajan et al. 2017 (arXiv:1703.01365)",
    "layer_integrated_gradients": "Sundararajan et al. 2017 (arXiv:1703.01365)",
    "smoothgrad": "Smilkov et al. 2017 (arXiv:1706.03825)",
    "gradient_shap": "Lundberg & Lee 2017 (arXiv:1705.07874)",
    "deep_lift": "Shrikumar et al. 2017 (arXiv:1704.02685)",
    "deep_lift_shap": "Lundberg & Lee 2017 (arXiv:1705.07874)",
    "guided_backprop": "Springenberg et al. 2014 (arXiv:1412.6806)",
    "deconvolution": "Zeiler & Fergus 2013 (arXiv:1311.2901)",
    "layer_grad_cam": "Selvaraju et al. 2017 (arXiv:1610.02391)",
    "guided_grad_cam": "Selvaraju et al. 2017 (arXiv:1610.02391)",
    "layer_conductance": "Dhamdhere et al. 2018 (arXiv:1805.12233)",
    "internal_influence": "Leino et al. 2018 (arXiv:1802.03788)",
    "occlusion": "Zeiler & Fergus 2013 (arXiv:1311.2901)",
    "lrp": "Bach et al. 2015 (doi:10.1371/journal.pone.0130140)",
}
"""What a user types for a method -> its paper."""


def paper_of(name: str, title: str) -> str:
    """The method's paper; empty where it has none."""
    known = name or title.lower().replace(" ", "_").replace("-", "_")
    return PAPERS.get(known, "")
