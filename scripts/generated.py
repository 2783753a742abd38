# SPDX-License-Identifier: BSL-1.0
"""What scripts that write files of the repository have in common."""

import sys


def write_or_check(target, text):
    """Writes a file; with --check fails where it is not what would be written."""
    if "--check" not in sys.argv:
        target.parent.mkdir(exist_ok=True)
        target.write_text(text)
    elif not target.exists() or target.read_text() != text:
        sys.exit(f"{target} is not what {sys.argv[0]} writes")
