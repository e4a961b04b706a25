"""A door for a checkout: ``python cli.py report resnet50``."""

from resnet_viz.cli import main

if __name__ == "__main__":
    main()
