"""How long the experiments take, and what they cost in CPU time. See README.md in this folder.

Wall time means something on a quiet machine only, so CPU time is printed beside it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time

BARS = {
    ("degradation",): 180.0,
    ("degradation", "--quick"): 60.0,
    ("identity", "--quick"): 60.0,
    ("depth", "--quick"): 60.0,
}


def main() -> int:
    late = False
    for words, bar in BARS.items():
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [sys.executable, "-m", "resnet_viz", "experiment", *words, "-q", "-o", "e.html"],
                check=True,
                cwd=folder,
            )
        wall = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        verdict = "ok" if wall <= bar else "ABOVE THE BAR"
        print(
            f"{' '.join(words):22} {wall:6.1f} s of wall time (bar {bar:g} s), {cpu:6.1f} s of "
            f"CPU time  {verdict}",
            flush=True,
        )
        late |= wall > bar
    return int(late)


if __name__ == "__main__":
    sys.exit(main())
