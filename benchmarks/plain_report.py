"""What `resnet-viz report resnet18` computes, written by hand: the yardstick."""

import numpy as np
import torch
from captum.attr import IntegratedGradients, LayerAttribution, LayerGradCam, Saliency
from PIL import Image

from resnet_viz.sources.data import IMAGENET_MEAN, IMAGENET_STD, default_photograph
from resnet_viz.sources.variants import build

model = build("resnet18").train()
inputs, labels = torch.randn(8, 3, 224, 224), torch.randint(1000, (8,))
torch.nn.functional.cross_entropy(model(inputs), labels).backward()

model.eval()
photograph = Image.open(default_photograph()).convert("RGB").resize((224, 224))
pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1).float() / 255
image = (pixels - torch.tensor(IMAGENET_MEAN)[:, None, None]) / torch.tensor(IMAGENET_STD)[
    :, None, None
]
image = image[None]
target = int(model(image).argmax())
IntegratedGradients(model).attribute(
    image, target=target, n_steps=50, internal_batch_size=10, return_convergence_delta=True
)
Saliency(model).attribute(image, target=target)
LayerAttribution.interpolate(
    LayerGradCam(model, model.layer4).attribute(image, target=target), (224, 224)
)
