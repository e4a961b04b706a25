"""``python -m tests.gauntlet``: runs the lists and prints the table.

    python -m tests.gauntlet                     the short list of CI
    python -m tests.gauntlet -k swin             what matches, of all lists
    python -m tests.gauntlet --all -o docs/gauntlet.md
    python -m tests.gauntlet --all --rows rows.json     to go on where a run was cut short

Ends with 1 if anything does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path

# Before torch is imported.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

from tests.gauntlet.checks import Row  # noqa: E402
from tests.gauntlet.lists import GROUPS, every  # noqa: E402
from tests.gauntlet.pool import run  # noqa: E402
from tests.gauntlet.table import line, markdown  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.gauntlet", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every list, not only the short one")
    parser.add_argument("-k", metavar="PATTERN", help="names that match, of all lists")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--seconds", type=float, default=240, help="time limit of one row")
    parser.add_argument("--gigabytes", type=float, default=6, help="memory limit of one process")
    parser.add_argument(
        "--rows", metavar="FILE", type=Path, help="keep rows here as JSON; those in it are not run"
    )
    parser.add_argument("-o", metavar="FILE", type=Path, help="write the table here as Markdown")
    options = parser.parse_args(arguments)

    chosen = [
        case
        for case in every()
        if (re.search(options.k, case.name) if options.k else options.all or case.short)
    ]
    if not chosen:
        parser.error(f"no model matches {options.k!r}; the lists are {', '.join(GROUPS)}")
    names = [(case.name, case.family) for case in chosen]
    rows = _kept(options.rows, {name for name, _ in names})
    done = {row.name for row in rows}
    limits = {"jobs": options.jobs, "seconds": options.seconds, "gigabytes": options.gigabytes}
    for row in run([entry for entry in names if entry[0] not in done], **limits):
        rows.append(row)
        sys.stdout.write(f"{len(rows):4}/{len(names)} {line(row)}\n")
        sys.stdout.flush()
        if options.rows:
            with options.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    order = {name: i for i, (name, _) in enumerate(names)}
    rows.sort(key=lambda row: order[row.name])
    if options.o:
        options.o.write_text(markdown(rows), encoding="utf-8")
    bad = sum(not row.ok for row in rows)
    sys.stdout.write(f"{len(rows)} models, {bad} where something does not hold\n")
    return 1 if bad else 0


def _kept(path: Path | None, names: set[str]) -> list[Row]:
    """Rows of an earlier run that was cut short."""
    if path is None or not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [row for row in (Row(**json.loads(line)) for line in lines) if row.name in names]


if __name__ == "__main__":
    sys.exit(main())
