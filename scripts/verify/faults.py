"""Why no HTTP answer came: the network's exceptions told apart, each with what to do."""

from __future__ import annotations

import errno
import http.client
import socket
import ssl
from collections.abc import Iterator

from scripts.verify.options import Endpoint
from scripts.verify.outcome import Unreachable

_EXPIRED = (9, 10)  # X.509 verify results: not yet valid, expired
_NAME = (62, 64)  # host name, IP address
NAME_SECONDS = 60.0
"""How long a name that does not resolve is asked for: a new record shows soon or not at all."""

_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and every exception that it wraps, in whichever way it does."""
    waiting: list[BaseException] = [error]
    met: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if id(current) in met:
            continue
        met.add(id(current))
        yield current
        inner: list[object] = [
            current.__cause__,
            current.__context__,
            getattr(current, "reason", None),
            *current.args,
        ]
        waiting += [item for item in inner if isinstance(item, BaseException)]


def _certificate(error: ssl.SSLCertVerificationError, endpoint: Endpoint) -> Unreachable:
    if error.verify_code in _NAME:
        return Unreachable(
            f"a TLS certificate that is not for {endpoint.host} ({error.verify_message})",
            "use the name or the address that the certificate was made for",
            passing=False,
        )
    if error.verify_code in _EXPIRED:
        return Unreachable(
            f"a TLS certificate out of its time ({error.verify_message})",
            "renew the certificate, and look whether this machine's clock is right",
            passing=False,
        )
    return Unreachable(
        f"a TLS certificate from a CA that is not trusted here ({error.verify_message})",
        "give that CA's certificate by --ca-file (a stack exports its own as `ca_certificate`); "
        "where it was given, something else answers: a proxy on the way that opens TLS, or another "
        "server at that address",
        passing=False,
    )


def _tls(error: ssl.SSLError, endpoint: Endpoint) -> Unreachable:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, endpoint)
    reason = error.reason or "no reason given"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return Unreachable(
            f"no TLS at that port ({reason})",
            "look whether the endpoint speaks http:// there, or TLS at another port",
            passing=False,
        )
    return Unreachable(
        f"a TLS handshake that failed ({reason})",
        "look whether the gateway has its certificate yet, and at its log",
        passing=True,
    )


def _refused(endpoint: Endpoint) -> Unreachable:
    return Unreachable(
        "connection refused: nothing listens there",
        "start the server, or look at the port in the URL"
        if endpoint.is_loopback
        else "look whether the server runs and whether the URL's port is right",
        passing=True,
    )


def _connect_timeout(endpoint: Endpoint) -> Unreachable:
    return Unreachable(
        "the connection timed out",
        "look at the server"
        if endpoint.is_loopback
        else "is this machine's address in allowed_cidrs? Else look whether the machine is up",
        passing=True,
        silent=True,
    )


def _cut_off(note: str) -> Unreachable:
    return Unreachable(
        f"the connection was cut off: {note}",
        "look at the server's log: it may have crashed, or a gateway may have given up on it",
        passing=True,
    )


def _explain(cause: BaseException, endpoint: Endpoint, note: str) -> Unreachable | None:
    """Return what one exception of the chain means; None where it says too little."""
    match cause:
        case (
            ssl.SSLEOFError()
            | ssl.SSLZeroReturnError()
            | http.client.IncompleteRead()
            | http.client.RemoteDisconnected()
            | ConnectionResetError()
            | BrokenPipeError()
        ):
            return _cut_off(note)
        case ssl.SSLError():
            return _tls(cause, endpoint)
        case socket.gaierror():
            return Unreachable(
                f"no address for the name {endpoint.host} ({cause.strerror})",
                "look at the name in the URL and at its DNS record",
                passing=True,
                patience_seconds=NAME_SECONDS,
            )
        case ConnectionRefusedError():
            return _refused(endpoint)
        case OSError(errno=number) if number in _UNREACHABLE:
            return Unreachable(
                f"no way to the host ({cause.strerror})",
                "look at this machine's network and at the address in the URL",
                passing=True,
            )
        case _:
            return None


def diagnose(error: BaseException, endpoint: Endpoint, note: str) -> Unreachable:
    """Return what `error`, raised by `requests` or below it, means for `endpoint`.

    `note` says how far the exchange had come.
    """
    chain = list(causes(error))
    names = {type(cause).__name__ for cause in chain}
    if "ProxyError" in names:
        return Unreachable(
            "the proxy that the environment names did not pass the request on",
            "look at HTTPS_PROXY, HTTP_PROXY and NO_PROXY",
            passing=True,
        )
    for cause in chain:
        if (found := _explain(cause, endpoint, note)) is not None:
            return found
    if "ConnectTimeout" in names:
        return _connect_timeout(endpoint)
    if names & {"ReadTimeout", "ReadTimeoutError", "TimeoutError"}:
        return Unreachable(
            f"silence: {note}",
            "look whether the server is overloaded or hangs, and at its log",
            passing=True,
        )
    return Unreachable(
        f"no valid HTTP ({type(error).__name__})",
        "look what listens at that port",
        passing=False,
    )
