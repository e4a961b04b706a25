"""One module per activation call, for methods that hook modules; and where that matters."""

from resnet_viz.measuring.attributions.rewriting.reused import Reuse, reuses, told
from resnet_viz.measuring.attributions.rewriting.rewritten import one_module_per_call

__all__ = ["Reuse", "one_module_per_call", "reuses", "told"]
