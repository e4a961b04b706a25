"""Which path lengths carry the gradient: Veit et al. 2016, made exact, on ResNet-56.

A net of 27 blocks is a sum over 2^27 paths. Most of them run through half of the blocks;
the gradient comes back over the shorter ones.
"""

import resnet_viz as rv

model = rv.build("resnet56")
lengths = rv.path_lengths(rv.trace(model))
print(f"{lengths.total:,} paths, of {lengths.mean:g} ± {lengths.sd:.1f} blocks")

found = rv.path_gradients(model, batch_size=2)
low, high = found.central_range
print(f"the gradient: {found.mean_length:.1f} blocks on average, 95 % of it over {low} to {high}")
print(f"those are {lengths.fraction(low, high):.1%} of the paths")
print(f"the parts add up to the gradient within {found.residual:.0e}")
