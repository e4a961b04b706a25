"""A training under watch: plain-20 against resnet-20 on the digits, 40 steps each.

Writes a folder for each net, into the folder given or a new one; to see one,
``resnet-viz gradflow FOLDER/resnet20 -o history.html``.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch.nn import functional

import resnet_viz as rv
from resnet_viz.sources.datasets.load import load_digits

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="runs-", dir="."))
images = load_digits()

for name in ("plain20", "resnet20"):
    torch.manual_seed(0)
    model = rv.build(name, in_channels=1, num_classes=10).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with rv.watch(model, optimizer, every=5, sink=folder / name, name=name) as watch:
        for _ in range(40):
            batch = torch.randint(len(images.train), (32,))
            outputs = model(images.ready(images.train.pixels[batch]))
            loss = functional.cross_entropy(outputs, images.train.labels[batch])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.log(loss=loss)
    print(f"{name}: loss {watch.history.steps[0].loss:.2f} to {watch.history.steps[-1].loss:.2f}")
    for step in watch.history.steps[::7]:
        norms = {p.name: p.l2 for p in step.parameters if p.l2 and p.axes > 1}
        first, last = next(iter(norms.values())), next(reversed(norms.values()))
        print(f"  step {step.step}: |dW| of the first layer is {first / last:.2g} × the last's")
    for found in watch.history.findings:
        print(f"  steps {found.first} to {found.last}: {found.finding.what}")
print(f"resnet-viz gradflow {folder / 'resnet20'} -o history.html")
