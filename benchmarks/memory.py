"""Peak memory of drawing a decoder of 70 billion parameters from its config.

See README.md in this folder. Needs transformers.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from pathlib import Path

BAR = 2000
"""Megabytes of resident memory."""


def main() -> int:
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=8192,
        intermediate_size=28672,
        num_hidden_layers=80,
        num_attention_heads=64,
        num_key_value_heads=8,
        vocab_size=128256,
        architectures=["LlamaForCausalLM"],
    )
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        drawing = str(Path(folder) / "llama.svg")
        command = [sys.executable, "-m", "resnet_viz", "diagram", f"hf:{folder}", "-o", drawing]
        subprocess.run(command, check=True, capture_output=True)
    # Linux counts in kB, macOS in bytes.
    unit = 1000 if sys.platform != "darwin" else 1e6
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    verdict = "ok" if peak <= BAR else "ABOVE THE BAR"
    print(f"Llama of 70 billion parameters, diagram: peak {peak:.0f} MB (bar {BAR})  {verdict}")
    return int(peak > BAR)


if __name__ == "__main__":
    sys.exit(main())
