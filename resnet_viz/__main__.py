"""``python -m resnet_viz``."""

from resnet_viz.cli import main

if __name__ == "__main__":
    main()
