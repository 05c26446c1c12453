"""`python -m scripts.model_registry`: what is in a registry of models, and what comes there.

    push   [URL] NAME@VERSION FOLDER   put a model's folder there as a version, which never changes
    list   [URL]                       say what is there
    check  [URL] [NAME@VERSION …]      read it all again and compare the checksums
    pull   [URL] NAME@VERSION FOLDER   bring a version to FOLDER/NAME/VERSION
    remove [URL] NAME@VERSION          take a version out
    make   [URL]                       make the bucket, in storage that speaks S3
    unmake [URL]                       delete the registry, and the bucket if `make` made it

Without URL it is LLM_ENDPOINT_REGISTRY; `push` alone pushes what LLM_ENDPOINT_REGISTRY_UPLOADS
lists. Credentials come from the environment, never from words. What is asked for goes to standard
output, as JSON with --json; how far things are goes to standard error. It ends with 0 when all is
well, 1 when the registry or its storage is not, 2 when it was called wrongly.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

from components.models.registry import RegistryUrl
from scripts.model_registry.attempts import Patience, patiently
from scripts.model_registry.bucket import COMMAND, RegistryFault
from scripts.model_registry.checking import check
from scripts.model_registry.listing import list_models
from scripts.model_registry.manifest import Manifest, read_manifest
from scripts.model_registry.opening import open_bucket
from scripts.model_registry.options import (
    FORCE_DESTROY,
    UsageError,
    models_of,
    registry_of,
    uploads_of,
)
from scripts.model_registry.pull import pull
from scripts.model_registry.push import push
from scripts.model_registry.removing import remove
from scripts.models.progress import amount

T = TypeVar("T")
_Environ: TypeAlias = Mapping[str, str]
_Words: TypeAlias = tuple[str, ...]


def main(arguments: Sequence[str], environ: _Environ) -> int:
    """Run one command, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.model_registry",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=list(_COMMANDS))
    parser.add_argument("words", nargs="*", metavar="WORD", help="as the command takes them")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    options = parser.parse_intermixed_args(arguments)
    command: str = options.command
    try:
        url, words = registry_of(options.words, environ)
        answer, lines, status = _COMMANDS[command](url, words, environ)
    except UsageError as error:
        print(f"{error}\nnext: {COMMAND} --help", file=sys.stderr)
        return 2
    except RegistryFault as fault:
        print(fault.message, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from where it was", file=sys.stderr)
        return 130
    print(json.dumps(answer, indent=2) if options.json else "\n".join(lines))
    return status


_Result: TypeAlias = tuple[dict[str, object], list[str], int]
"""The answer in JSON, its lines for a person, and the exit status."""


def _push(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    bucket = open_bucket(url, environ)
    uploads = uploads_of(words, environ)
    pushed = [push(bucket, url, one.model, one.folder, _say) for one in uploads]
    models = [
        {**_described(one.manifest), "changed": one.changed, "sent": list(one.sent)}
        for one in pushed
    ]
    lines = [
        f"{one.model}: {'pushed' if one.changed else 'was there already'}, "
        f"{amount(one.manifest.size_bytes)}, sha256 {one.manifest.sha256}"
        for one in pushed
    ]
    return {"registry": str(url), "models": models}, lines, 0


def _list(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    _no_more(words)
    bucket = open_bucket(url, environ)
    contents = _patiently(lambda: list_models(bucket, url))
    models: list[dict[str, object]] = []
    lines: list[str] = []
    for model in contents.models:
        manifest = _patiently(partial(read_manifest, bucket, url, model))
        if manifest is not None:
            models.append(_described(manifest))
            lines.append(
                f"{model}  {amount(manifest.size_bytes)} in {len(manifest.files)} file(s), "
                f"pushed {manifest.created}"
            )
    lines += [f"{model}  not whole: its push did not end" for model in contents.unfinished]
    answer: dict[str, object] = {
        "registry": str(url),
        "models": models,
        "unfinished": [str(model) for model in contents.unfinished],
    }
    return answer, lines or [f"{url} has no models"], 0


def _check(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    checked = check(open_bucket(url, environ), url, models_of(words), _say)
    lines = [
        f"{one.model}: " + ("; ".join(one.problems) or f"whole, {amount(one.size_bytes)}")
        for one in checked.models
    ]
    lines += [f"{model}: its push did not end" for model in checked.unfinished]
    if not checked.passed:
        _say(
            f"next: take each of these out and push it again: {COMMAND} remove '{url}' "
            f"NAME@VERSION && {COMMAND} push '{url}' NAME@VERSION FOLDER (where its folder is no "
            "more: pull it first, as far as it can still be read)"
        )
    return checked.as_json(), lines or [f"{url} has no models"], 0 if checked.passed else 1


def _pull(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    if len(words) != 2:
        raise UsageError(f"pull takes NAME@VERSION and FOLDER, not {len(words)} word(s)")
    model = models_of(words[:1])[0]
    pulled = pull(open_bucket(url, environ), url, model, Path(words[1]), _say)
    answer = {
        **_described(pulled.manifest),
        "registry": str(url),
        "folder": str(pulled.folder),
        "fetched_bytes": pulled.fetched_bytes,
    }
    return answer, [f"{model}: {pulled.folder}"], 0


def _remove(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    if len(words) != 1:
        raise UsageError(f"remove takes one NAME@VERSION, not {len(words)} word(s)")
    model = models_of(words)[0]
    count = remove(open_bucket(url, environ), url, model, _say)
    answer: dict[str, object] = {"registry": str(url), "removed": str(model), "objects": count}
    return answer, [f"{model}: removed"], 0


def _make(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    _no_more(words)
    _only_s3(url)
    from scripts.model_registry.bucket_life import make
    from scripts.model_registry.s3_client import open_client

    made = _patiently(lambda: make(open_client(url, environ), url, _say))
    how = "made" if made.made else "is there, and is taken"
    versions = "keeps versions" if made.versioned else "keeps no versions"
    return made.as_json(), [f"{url}: {how}; {versions}"], 0


def _unmake(url: RegistryUrl, words: _Words, environ: _Environ) -> _Result:
    _no_more(words)
    _only_s3(url)
    if environ.get(FORCE_DESTROY) != "1":
        raise RegistryFault(
            f"{url} and all models in it are not deleted unless that is asked for\n"
            f"next: set {FORCE_DESTROY}=1",
            lasting=True,
        )
    from scripts.model_registry.bucket_life import unmake
    from scripts.model_registry.s3_client import open_client

    deleted = _patiently(lambda: unmake(open_client(url, environ), url, _say))
    left = "the bucket is deleted" if deleted else "the registry is deleted, the bucket is not"
    return {"registry": str(url), "bucket_deleted": deleted}, [f"{url}: {left}"], 0


def _described(manifest: Manifest) -> dict[str, object]:
    return {
        "model": str(manifest.model),
        "files": len(manifest.files),
        "bytes": manifest.size_bytes,
        "sha256": manifest.sha256,
        "created": manifest.created,
    }


def _patiently(job: Callable[[], T]) -> T:
    return patiently(job, Patience(), _say)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _no_more(words: _Words) -> None:
    if words:
        raise UsageError(f"it takes no {words[0]!r}")


def _only_s3(url: RegistryUrl) -> None:
    if url.scheme != "s3":
        raise UsageError(f"{url}: a bucket of Google's is made by the program model-registry")


_COMMANDS: dict[str, Callable[[RegistryUrl, _Words, _Environ], _Result]] = {
    "push": _push,
    "list": _list,
    "check": _check,
    "pull": _pull,
    "remove": _remove,
    "make": _make,
    "unmake": _unmake,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
