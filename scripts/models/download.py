"""One file downloaded: resumed where it was left, checked by its digest, with progress.

What has come lies in a `.partial` file, and beside it a `.partial.json` that says of which content
it is the beginning. A download goes on from it by a range request: for a content that a digest
names, from any server; for one that only a URL names, if the server's validator (ETag or date) is
still the one that was noted, which `If-Range` asks.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import requests

from components.models.gguf_header import MAGIC, describe_start
from components.models.reference import shown
from scripts.models.progress import Progress, amount
from scripts.models.transport import Attempts, Client, ModelError, Obstacle, Passing, origin_of

_READ_BYTES = 1024 * 1024
_START_BYTES = 64
_PROGRESS_BYTES = 1024 * 1024
"""A try that brought this much counts as progress, so that tries are bounded by the size."""
_SPARE_SHARE = 0.05
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class Wanted:
    """A file to have. `sha256`, `size_bytes` and `blob_id` are None where no one has said them.

    `vouched_by` says who gave the digest; `mismatch_step`, what to do when the content has
    another. `refuse` makes the error of an answer that is neither 200 nor 206. `blob_id` is the
    content's object id in git. Where `gguf`, what does not begin as a GGUF file is refused at once.
    """

    name: str
    url: str
    sha256: str | None
    size_bytes: int | None
    vouched_by: str
    mismatch_step: str
    refuse: Callable[[requests.Response], ModelError]
    blob_id: str | None = None
    gguf: bool = True

    @property
    def content(self) -> str | None:
        """What names the content, on any server; None where only the URL does."""
        return self.sha256 or self.blob_id

    def mismatch(self, path: Path, sha256: str) -> str | None:
        """Return how the file at `path`, whose sha256 is given, is another than this one."""
        if self.sha256 not in {None, sha256}:
            return f"sha256 is {sha256}, where {self.vouched_by} {self.sha256}"
        if self.blob_id is not None and (found := git_blob_id(path)) != self.blob_id:
            return f"object id in git is {found}, not {self.blob_id}"
        return None


@dataclass(frozen=True)
class Downloaded:
    """What came."""

    sha256: str
    size_bytes: int


def download(wanted: Wanted, partial: Path, client: Client) -> Downloaded:
    """Bring `wanted` into the file `partial`, going on with what is there.

    Raises `ModelError`; what has come so far then stays for the next time, unless it is wrong.
    """
    attempts = Attempts(wanted.url, client.patience, client.report)
    restarted = False
    with _Part(partial, wanted) as part:
        while True:
            before = part.size
            try:
                _transfer(part, wanted, client)
            except Passing as fault:
                if part.size - before >= _PROGRESS_BYTES:
                    attempts.progressed()
                attempts.failed(fault)
                continue
            digest = part.finish()
            mismatch = wanted.mismatch(partial, digest)
            if mismatch is None:
                return Downloaded(digest, part.size)
            part.restart()
            if restarted:
                raise ModelError(
                    f"{shown(wanted.url)} gave a file whose {mismatch}\n"
                    f"next: {wanted.mismatch_step}"
                )
            restarted = True
            client.report(f"{wanted.name} came damaged (its sha256 is {digest}): pulling it again")


def keep(partial: Path, path: Path) -> None:
    """Move what was downloaded whole into `partial` to `path`, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(path)
    partial.with_name(f"{partial.name}.json").unlink(missing_ok=True)


def hash_file(path: Path, report: Callable[[str], None]) -> str:
    """Return the sha256 of the file at `path` in hex, with progress where that takes a while."""
    digest = hashlib.sha256()
    progress = Progress("checking", path.name, path.stat().st_size, report)
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            digest.update(chunk)
            progress.add(len(chunk))
    return digest.hexdigest()


def git_blob_id(path: Path) -> str:
    """Return the object id that git gives the content of the file at `path`, in hex.

    It is the sha1 of `blob SIZE`, a zero byte, and the content. The whole file is read at once:
    what a hub keeps in git itself is small.
    """
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def check_space(folder: Path, missing_bytes: int, total_bytes: int) -> None:
    """Raise `ModelError` unless `folder` has room for what is missing and 5 % of the whole."""
    needed = missing_bytes + int(total_bytes * _SPARE_SHARE)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"{folder} has {amount(free)} free, and the model needs {amount(needed)} there, "
            f"{amount(needed - free)} more\n"
            "next: free some space, set LLM_ENDPOINT_CACHE to a folder with more, "
            "or choose a smaller model",
            Obstacle.SPACE,
        )


def no_space(folder: Path, total_bytes: int | None) -> ModelError:
    """Return the error of a disk that filled up under a download."""
    of_it = "" if total_bytes is None else f" of {amount(total_bytes)}"
    there = next(place for place in (folder, *folder.parents) if place.exists())
    return ModelError(
        f"the disk filled up while a model{of_it} was written to {folder}, which has "
        f"{amount(shutil.disk_usage(there).free)} left\n"
        "next: free some space and run it again, which goes on from where it was",
        Obstacle.SPACE,
    )


def is_full(error: OSError) -> bool:
    """Whether an error of writing means that there is no room: a full disk or a spent quota."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


@contextmanager
def cache_faults(cache: Path) -> Generator[None]:
    """Raise errors of the file system at `cache` as `ModelError`, with the next step."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise no_space(cache, None) from None
        raise ModelError(
            f"{error.filename or cache}: {(error.strerror or type(error).__name__).lower()}\n"
            "next: make it readable and writable for this user, or set LLM_ENDPOINT_CACHE to "
            "another folder"
        ) from None


class _Part:
    """The beginning of a file on disk, its running digest, and what it is the beginning of."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path = path
        self.size = 0
        self.start = b""
        self.total: int | None = wanted.size_bytes
        self.validator: str | None = None
        self._wanted = wanted
        self._record = path.with_name(f"{path.name}.json")
        self._digest = hashlib.sha256()
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> _Part:
        record = self._read_record()
        content = self._wanted.content
        same_content = content is not None and record.get("content") == content
        same_url = record.get("url") == self._url_digest() and record.get("validator")
        if same_content or (content is None and same_url):
            self._take_up(record)
        else:
            self.restart()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def note(self, total: int | None, validator: str | None) -> None:
        """Write down which content the bytes that follow belong to."""
        self.total, self.validator = total, validator
        record = {
            "content": self._wanted.content,
            "url": self._url_digest(),
            "total": total,
            "validator": validator,
        }
        self._record.write_text(json.dumps(record), encoding="utf-8")

    def add(self, chunk: bytes) -> None:
        """Append `chunk`; raises `ModelError` where the disk is full, which keeps what has come."""
        view = memoryview(chunk)
        while view:
            try:
                count = _append(self._file.fileno(), view)
            except OSError as error:
                if is_full(error):
                    raise no_space(self.path.parent, self.total) from None
                raise
            self._digest.update(view[:count])
            self.size += count
            view = view[count:]
        if len(self.start) < _START_BYTES:
            self.start = (self.start + chunk)[:_START_BYTES]

    def restart(self) -> None:
        """Throw away what has come."""
        self._file.truncate(0)
        self._record.unlink(missing_ok=True)
        self.size, self.start, self.validator = 0, b"", None
        self.total = self._wanted.size_bytes
        self._digest = hashlib.sha256()

    def finish(self) -> str:
        """Have all of it on disk, and return its sha256."""
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def _take_up(self, record: dict[str, object]) -> None:
        with self.path.open("rb") as file:
            while chunk := file.read(_READ_BYTES):
                self._digest.update(chunk)
                self.size += len(chunk)
                self.start = (self.start + chunk)[:_START_BYTES]
        total, validator = record.get("total"), record.get("validator")
        if self.total is None and isinstance(total, int):
            self.total = total
        self.validator = validator if isinstance(validator, str) else None

    def _read_record(self) -> dict[str, object]:
        with suppress(OSError, ValueError):
            record: object = json.loads(self._record.read_text(encoding="utf-8"))
            if isinstance(record, dict):
                return cast(dict[str, object], record)
        return {}

    def _url_digest(self) -> str:
        # A URL's query may be secret, so only its digest is written down.
        return hashlib.sha256(self._wanted.url.encode()).hexdigest()


def _append(descriptor: int, data: memoryview) -> int:
    return os.write(descriptor, data)


def _transfer(part: _Part, wanted: Wanted, client: Client) -> None:
    """Try once to bring what is missing; raises `Passing` where another try may."""
    if part.size and part.total is not None:
        if part.size == part.total:
            return
        if part.size > part.total:
            part.restart()
    if wanted.content is None and part.validator is None:
        part.restart()
    headers: dict[str, str] = {}
    if part.size:
        headers["Range"] = f"bytes={part.size}-"
        if wanted.content is None and part.validator:
            headers["If-Range"] = part.validator
    with client.open(wanted.url, headers) as response:
        _begin(part, wanted, response, client)
        progress = Progress("pulling", wanted.name, part.total, client.report, done=part.size)
        for chunk in client.chunks(response):
            start = (part.start + chunk)[:_START_BYTES]
            if wanted.gguf and not MAGIC.startswith(start[: len(MAGIC)]):
                raise _not_gguf(part, wanted, start, response)
            part.add(chunk)
            progress.add(len(chunk))
    if part.total is not None and part.size != part.total:
        size, total = part.size, part.total
        if size > total:
            part.restart()
        raise Passing(f"ended the file after {size} of {total} bytes")
    if wanted.gguf and not part.start.startswith(MAGIC):
        raise _not_gguf(part, wanted, part.start, response)


def _begin(part: _Part, wanted: Wanted, response: requests.Response, client: Client) -> None:
    """Judge the head of an answer, and set `part` to where its body goes on."""
    status = response.status_code
    if status == 416:
        part.restart()
        raise Passing("has no bytes past those that have come")
    if status not in {200, 206}:
        if status in {401, 403} and origin_of(response.url) != origin_of(wanted.url):
            raise Passing(f"redirects to a store that answered {status}")
        raise wanted.refuse(response)
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise ModelError(
            f"{shown(wanted.url)} sends the file compressed though asked not to\n"
            "next: download it elsewhere and name it by its path"
        )
    if status == 206:
        total = _continued(part, response)
    else:
        if part.size:
            client.report(f"the server sends {wanted.name} whole again: starting over")
            part.restart()
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
    if total is None:
        total = part.total
    if wanted.size_bytes not in {None, total}:
        start = next(client.chunks(response), b"")[:_START_BYTES]
        if wanted.gguf and not start.startswith(MAGIC):
            raise _not_gguf(part, wanted, start, response)
        raise Passing(f"offers {total} bytes, where the file has {wanted.size_bytes}")
    if total is None and wanted.content is None and not _ends_by_itself(response):
        raise ModelError(
            f"{shown(wanted.url)} does not say how long the file is, so that a broken download "
            "would pass for a whole one\nnext: add #sha256=HEX to the reference"
        )
    if total is not None:
        check_space(part.path.parent, total - part.size, total)
    part.note(total, _validator(response))


def _continued(part: _Part, response: requests.Response) -> int | None:
    """Return the file's length as a partial answer has it, if it goes on where `part` ends."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    total = int(match[3]) if match and match[3] != "*" else None
    if match is None or int(match[1]) != part.size:
        part.restart()
        raise Passing("sent another range of bytes than it was asked for")
    if total is not None and part.total not in {None, total}:
        part.restart()
        raise Passing("has another file now than the one begun")
    return total


def _ends_by_itself(response: requests.Response) -> bool:
    return "chunked" in response.headers.get("Transfer-Encoding", "").lower()


def _validator(response: requests.Response) -> str | None:
    """Return what `If-Range` takes: a strong ETag, else a date."""
    etag = response.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return response.headers.get("Last-Modified") if not etag else None


def _not_gguf(part: _Part, wanted: Wanted, start: bytes, response: requests.Response) -> ModelError:
    part.restart()
    kind = response.headers.get("Content-Type", "of no stated type").split(";", maxsplit=1)[0]
    return ModelError(
        f"{shown(wanted.url)} is not a GGUF file: it {describe_start(start)} ({kind})\n"
        "next: check the address; a page that asks for a login or a licence has to be passed first"
    )
