"""What a ResNet-18 looks at, by three methods, and how far each can be trusted.

The weights here are random, so the maps show only what the architecture does.
For a trained net: rv.report("resnet18", weights="IMAGENET1K_V1").
"""

import resnet_viz as rv

report = rv.report("resnet18", sections=("attributions",), n_steps=16)
for found in report.attributions.maps:
    print(f"{found.method} of {found.target}: {found.verdict}")
report.save("attributions.html")
print("wrote attributions.html")
