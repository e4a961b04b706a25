"""What a net trained on digits looks at, how far to believe it, and what each branch added.

The net comes with the package. For one of ImageNet:
rv.attribute("resnet18", weights="IMAGENET1K_V1", images=["photo.jpg"]).
"""

import resnet_viz as rv

found = rv.attribute(
    "digits-resnet",
    method=["integrated_gradients", "guided_backprop"],
    relevance=True,
    trust="full",
    n_steps=16,
)
for item in found.maps[:2]:
    print(f"{item.method} of {item.target} ({item.probability:.1%}): {item.verdict}")
for operand in found.relevance.operands:
    print(f"{operand.join}: the {operand.role} added {operand.amount.signed:+.2f}")
found.save("attributions.png")
print("wrote attributions.png")
