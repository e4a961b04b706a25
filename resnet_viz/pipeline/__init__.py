"""What ``import resnet_viz as rv`` offers: each verb is a study of one model, or of two.

Each function takes plain values and gives plain values; torch loads when the first of them
is called.
"""
