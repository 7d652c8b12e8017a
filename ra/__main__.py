"""The ``ra`` command, also as ``python -m ra``; on Linux mimalloc is its malloc."""

import os
import sys

MIMALLOC = "cmeel.prefix/lib/libmimalloc.so"  # of the package cmeel-mimalloc


def run() -> int:
    """Run the command of ``sys.argv`` in a process that mimalloc is loaded into.

    A training step allocates and frees gigabytes. glibc's malloc has the kernel clear their pages
    at each step, or keeps up to twice what is used; mimalloc keeps what is used
    (docs/performance.md). Where LD_PRELOAD is set, even to nothing, it stays as it is.
    """
    libraries = [os.path.join(folder, MIMALLOC) for folder in sys.path]
    library = next(filter(os.path.exists, libraries), " ")
    separated = " " in library or ":" in library  # LD_PRELOAD knows no quotes
    if sys.platform == "linux" and "LD_PRELOAD" not in os.environ and not separated:
        kept = {"MIMALLOC_PURGE_DELAY": "-1"}  # freed memory stays with the process
        environment = {**kept, **os.environ, "LD_PRELOAD": library}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
    from ra.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
