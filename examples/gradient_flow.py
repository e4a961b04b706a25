"""Plain-56 against resnet-56 at initialisation: same weights, with and without skips.

With batch norm a deep plain net does not vanish: its gradient *grows* on the way
back to the input. The skips keep it level.
"""

import torch

import resnet_viz as rv

for name in ("plain56", "resnet56"):
    torch.manual_seed(0)
    flow = rv.gradient_flow(rv.build(name))
    weights = [p for p in flow.parameters if p.name.endswith("weight") and "bn" not in p.name]
    first, last = weights[0].stats, weights[-1].stats
    print(f"{name}: |dW| of the first layer is {first.l2 / last.l2:.3g} × that of the last")
    for finding in flow.findings:
        print(f"  {finding.severity}: {finding.what}: {finding.evidence}")
    if flow.shares:
        graph = rv.trace(rv.build(name).eval())
        shares = [flow.share_of(skip) for skip in rv.annotate(graph).skips]
        known = [share for share in shares if share is not None]
        mean = sum(known) / len(known)
        print(f"  the {len(known)} skips carry {mean:.0%} of the gradient on average")
