"""Files as Pulumi assets and archives, with the hashes by which the engine compares them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from posixpath import basename, dirname, join, normpath

from emulator.plugin.values import Signature, Special

from .errors import FilesNotCollected

_BLOCK_BYTES = 512
_NAME_BYTES = 100
_PREFIX_BYTES = 155
_OWNER_BYTES = 64
_CHECKSUM_BYTES = 8
_ZERO = b"0000000\0"
_EMPTY_ARCHIVE = b"\0" * (2 * _BLOCK_BYTES)


def asset(directory: str, path: str) -> Special:
    """The file PATH under DIRECTORY as an asset: its path, and the SHA-256 of its content.

    Raises:
        FilesNotCollected: it can't be read, or is a folder (by way of a link).
    """
    where = normpath(join(directory, path))
    digest = hashlib.sha256(_content(where)).hexdigest()
    return Special(Signature.ASSET, {"hash": digest, "path": where})


def archive(assets: Mapping[str, Special]) -> Special:
    """ASSETS by their paths as one archive; its hash is that of a tar file with them in it.

    Raises:
        FilesNotCollected: a file can't be read.
    """
    digest = hashlib.sha256()
    for name in sorted(assets):
        content = _content(str(assets[name].fields["path"]))
        digest.update(_tar_header(name, len(content)))
        digest.update(_padded(content))
    digest.update(_EMPTY_ARCHIVE)
    return Special(Signature.ARCHIVE, {"hash": digest.hexdigest(), "assets": dict(assets)})


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except IsADirectoryError:
        raise FilesNotCollected(f"{path} is a directory: only files can be assets") from None
    except OSError as error:
        raise FilesNotCollected(f"{path} can't be read: {error.strerror}") from error


def _tar_header(name: str, size: int) -> bytes:
    """The header of one file, as Go's archive/tar writes it.

    `tarfile` can't be made to: it leaves the device numbers empty.
    """
    if name.isascii():
        short, prefix = _split(name.encode())
        if short:
            return _tar_block(short, size, b"0", mode=0o600, prefix=prefix)
    # A name that the plain header can't hold goes into a record of its own before it.
    record = _pax_record("path", name)
    plain = _ascii(name)
    pax_name = join(dirname(plain), "PaxHeaders.0", basename(plain)).encode()[:_NAME_BYTES]
    return (
        _tar_block(pax_name, len(record), b"x", devices=bytes(2 * len(_ZERO)))
        + _padded(record)
        + _tar_block(plain.encode()[:_NAME_BYTES], size, b"0", mode=0o600)
    )


def _split(name: bytes) -> tuple[bytes, bytes]:
    """NAME as the header's name and prefix; an empty name where it fits in no way."""
    if len(name) <= _NAME_BYTES:
        return name, b""
    slash = name.rfind(b"/", 0, min(len(name), _PREFIX_BYTES + 1))
    if slash <= 0 or not 0 < len(name) - slash - 1 <= _NAME_BYTES:
        return b"", b""
    return name[slash + 1 :], name[:slash]


def _tar_block(
    name: bytes,
    size: int,
    kind: bytes,
    *,
    mode: int = 0,
    devices: bytes = _ZERO + _ZERO,
    prefix: bytes = b"",
) -> bytes:
    name = name.ljust(_NAME_BYTES, b"\0")
    before = name + b"%07o\0" % mode + _ZERO + _ZERO + b"%011o\0" % size + b"%011o\0" % 0
    after = kind + bytes(_NAME_BYTES) + b"ustar\x0000" + bytes(_OWNER_BYTES) + devices + prefix
    after = after.ljust(_BLOCK_BYTES - len(before) - _CHECKSUM_BYTES, b"\0")
    checksum = sum(before) + sum(after) + _CHECKSUM_BYTES * ord(" ")
    return before + b"%06o\0 " % checksum + after


def _pax_record(key: str, value: str) -> bytes:
    """`LENGTH KEY=VALUE`, where the length counts its own digits."""
    rest = f" {key}={value}\n".encode()
    length = len(rest)
    while len(f"{length}") + len(rest) != length:
        length = len(f"{length}") + len(rest)
    return f"{length}".encode() + rest


def _ascii(name: str) -> str:
    return "".join(char for char in name if char.isascii())


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % _BLOCK_BYTES)
