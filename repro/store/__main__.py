"""What is in the store, whether it is sound, and what nothing refers to any more.

python -m repro.store ls [STORE]        # stages with size, seconds of building and age; default outputs/store
python -m repro.store verify [STORE]    # every checksum, also of files that reuse only checks by size; exit code 1 if a stage is damaged
python -m repro.store gc [STORE]        # what no record, cell or sweep refers to; --delete removes it
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from repro.store import MANIFEST, file_hash, gc, problem_of, read_manifest
from repro.store.gc import finished as stages


def ls(root: Path) -> int:
    total = 0
    for path in stages(root):
        manifest = read_manifest(path)
        name = f"{path.parent.name}/{path.name}"
        if isinstance(manifest, str):
            print(f"{name:<32} {manifest}")
            continue
        size = sum(facts["bytes"] for facts in manifest["files"].values())
        total += size
        days = (time.time() - (path / MANIFEST).stat().st_mtime) / 86400
        print(f"{name:<32} {size / 2**20:>10.1f} MiB {manifest['seconds']:>9.0f} s {days:>7.1f} days")
    work = sorted(root.glob("*/.*.work"))
    print(f"{len(stages(root))} stages, {total / 2**20:.1f} MiB; {len(work)} begun and not finished")
    return 0


def damage(path: Path) -> str | None:
    """Why a stage cannot be trusted; unlike ``problem_of``, reads large files too."""
    problem = problem_of(path, path.name)
    manifest = read_manifest(path)
    if problem is not None or isinstance(manifest, str):
        return problem
    return next(
        (f"{name} has another checksum" for name, facts in manifest["files"].items() if file_hash(path / name) != facts["sha256"]), None
    )


def verify(root: Path) -> int:
    found = {path: damage(path) for path in stages(root)}
    damaged = {path: problem for path, problem in found.items() if problem is not None}
    for path, problem in damaged.items():
        print(f"{path.parent.name}/{path.name}: {problem}; the next cell that needs it builds it again")
    print(f"{len(found) - len(damaged)} of {len(found)} stages are sound")
    return 1 if damaged else 0


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m repro.store", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("ls", "verify", "gc"))
    parser.add_argument("store", nargs="?", default="outputs/store", type=Path)
    parser.add_argument("--delete", action="store_true", help="gc: remove it, not only say what")
    parser.add_argument("--records", type=Path, help="gc: where results are; default the folder that holds the store")
    parser.add_argument("--older-than", type=float, default=1.0, metavar="DAYS", help="gc: keep what is younger (default 1)")
    options = parser.parse_args()
    if not options.store.is_dir():
        print(f"repro.store: {str(options.store)!r} is not a folder: give that of paths.store", file=sys.stderr)
        sys.exit(2)
    if options.command == "gc":
        outputs = options.records or options.store.resolve().parent
        if not outputs.is_dir():
            print(f"repro.store: {str(outputs)!r} is not a folder: give --records the one with the results", file=sys.stderr)
            sys.exit(2)
        try:
            gc.collect(options.store, outputs, options.older_than, options.delete)
        except ValueError as error:
            print(f"repro.store: {error}", file=sys.stderr)
            sys.exit(2)
        return
    sys.exit({"ls": ls, "verify": verify}[options.command](options.store))


if __name__ == "__main__":
    from repro.command import run as run_command

    run_command(main)
