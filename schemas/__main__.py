"""Write the generated documents, or check that they are in step with the models.

python -m schemas            write schemas/json/*.json and the tables of docs/reference/events.md
python -m schemas --check    write nothing; exit with 1 and name the files that are out of step
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from schemas.published import FOLDER, PAGE, published_files

#: Exit code of a check that found a file out of step.
OUT_OF_STEP = 1


def main(arguments: list[str] | None = None, *, folder: Path = FOLDER, page: Path = PAGE) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m schemas", description="Write the published documents of the events from their models."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a file is out of step")
    is_check = parser.parse_args(arguments).check
    files = published_files(folder=folder, page=page)
    stale = [
        path for path, text in files.items() if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    stale += sorted(set(folder.glob("*.json")) - files.keys())
    for path in stale:
        if is_check:
            sys.stderr.write(f"{path.name} is out of step; run: python -m schemas\n")
        elif path in files:
            path.parent.mkdir(exist_ok=True)
            path.write_text(files[path], encoding="utf-8")
            sys.stdout.write(f"wrote {path.name}\n")
        else:
            path.unlink()
            sys.stdout.write(f"removed {path.name}\n")
    return OUT_OF_STEP if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
