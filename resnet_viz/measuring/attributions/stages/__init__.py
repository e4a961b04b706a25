"""What each depth of a network sees: Grad-CAM, feature maps and receptive field per stage."""

from __future__ import annotations

from resnet_viz.measuring.attributions.stages.depth import depth_views
from resnet_viz.measuring.attributions.stages.kernels import kernels_of

__all__ = ["depth_views", "kernels_of"]
