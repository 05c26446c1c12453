"""`python -m scripts.reference`: writes what of the docs comes from the code.

That is the tables, each between `<!-- NAME -->` and `<!-- /NAME -->`, and the configuration's
JSON schemas. `--check` writes nothing and exits with 1 where one is not current.
"""

from __future__ import annotations

import argparse
import sys

from scripts.reference import documents


def main(arguments: list[str]) -> int:
    """Write the documents, or with `--check` say which are not current."""
    parser = argparse.ArgumentParser(prog="python -m scripts.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if not current")
    check = parser.parse_args(arguments).check
    stale: list[str] = []
    try:
        found = documents.generated()
    except documents.NoPlaceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path, text in found.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(documents.CHECKOUT)))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    for document in stale:
        print(f"{document} {'is not current' if check else 'was renewed'}", file=sys.stderr)
    if not stale:
        print(f"all {len(found)} files are current")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
