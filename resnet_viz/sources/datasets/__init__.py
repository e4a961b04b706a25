"""What nets are trained on: the digits that come with this package, torchvision's, folders."""
