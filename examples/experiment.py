"""The degradation experiment from Python, made small: two depths, few epochs, one seed.

The full one is ``rv.run_degradation()``. Nets are trained in processes of their own, so
this one's threads, generators and device stay as they are.
"""

import resnet_viz as rv

training = rv.Training(epochs=3, seeds=(0,))
result = rv.run_degradation(depths=(8, 20), training=training, lesions=False)
for net in result.nets:
    last = net.epochs[-1]
    print(f"{net.label}: training error {last.train_error:.1%}, test {last.test_error:.1%}")
result.save("experiment.html")
result.save("experiment.csv")
