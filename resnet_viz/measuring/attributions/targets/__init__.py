"""What is explained: one number per sample, made from whatever ``forward`` returns."""

from __future__ import annotations

from resnet_viz.measuring.attributions.targets.choosing import TargetWish, choose_scores
from resnet_viz.measuring.attributions.targets.detections import DETECTIONS, packed
from resnet_viz.measuring.attributions.targets.functions import function_score, function_value
from resnet_viz.measuring.attributions.targets.score import Score

__all__ = [
    "DETECTIONS",
    "Score",
    "TargetWish",
    "choose_scores",
    "function_score",
    "function_value",
    "packed",
]
