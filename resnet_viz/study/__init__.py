"""A study: what is asked of one model, and the five rooms in order that answer it.

sources -> tracing -> analysis -> measuring; what comes out is a ``Report``, which
``reporting`` draws. The command line and every ``rv`` function end here.
"""

from __future__ import annotations

from resnet_viz.study.asked import Mode, Study, study_of
from resnet_viz.study.comparing import compared
from resnet_viz.study.feeding import traced_batch
from resnet_viz.study.lesions import lesions_of
from resnet_viz.study.opening import load_model, traced, verify_batch
from resnet_viz.study.running import analyse
from resnet_viz.study.sizes import inputs_of, sized

__all__ = [
    "Mode",
    "Study",
    "analyse",
    "compared",
    "inputs_of",
    "lesions_of",
    "load_model",
    "sized",
    "study_of",
    "traced",
    "traced_batch",
    "verify_batch",
]
