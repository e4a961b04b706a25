"""What to read on, as papers are cited."""

HE_2015 = (
    "He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385)"
)
HE_2016 = (
    "He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027)"
)
VEIT_2016 = (
    "Veit, Wilber, Belongie: Residual Networks Behave Like Ensembles of Relatively Shallow "
    "Networks, 2016 (arXiv:1605.06431)"
)
YANG_2019 = (
    "Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz: A Mean Field Theory of Batch "
    "Normalization, 2019 (arXiv:1902.08129)"
)
GLOROT_2010 = (
    "Glorot, Bengio: Understanding the Difficulty of Training Deep Feedforward Neural "
    "Networks, AISTATS 2010"
)
CHEN_2016 = (
    "Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost, 2016 "
    "(arXiv:1604.06174)"
)
HUANG_2016 = (
    "Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016 "
    "(arXiv:1608.06993)"
)
