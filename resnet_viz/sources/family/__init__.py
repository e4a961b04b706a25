"""The ResNet family: one config for every variant, and the modules it describes.

``parts`` names the choices, ``resnet_config`` holds them and ``combinations`` says which go
together. ``plan`` works out every convolution without torch: ``resnet`` builds the modules
from it, ``resnet_costs`` counts over it. ``named`` lists the published nets, ``families``
finds config and module, ``closed_forms`` the costs of any of them.
"""
