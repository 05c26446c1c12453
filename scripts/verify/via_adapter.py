"""How requests connects to where `--via` says, under the name that the URL has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter

from scripts.verify.via import Route

if TYPE_CHECKING:
    from requests.models import PreparedRequest
    from urllib3.connectionpool import HTTPConnectionPool


class ViaAdapter(HTTPAdapter):
    """Sends what is for any host by `route`, under the name that its URL has."""

    def __init__(self, route: Route) -> None:
        self._route = route
        super().__init__()

    def get_connection_with_tls_context(
        self,
        request: PreparedRequest,
        verify: bool | str | None,
        proxies: Mapping[str, str] | None = None,
        cert: tuple[str, str] | str | None = None,
    ) -> HTTPConnectionPool:
        """Return the connections to the route's end; proxies have no part in it."""
        place, tls = self.build_connection_pool_key_attributes(request, verify or False, cert)
        options = cast("dict[str, object]", tls)
        if place["scheme"] == "https":
            options["server_hostname"] = place["host"]
        return self.poolmanager.connection_from_host(
            self._route.host, self._route.port, place["scheme"], pool_kwargs=options
        )

    def request_url(self, request: PreparedRequest, proxies: Mapping[str, str] | None) -> str:
        """Return the path alone, since no proxy is asked."""
        return request.path_url

    def add_headers(self, request: PreparedRequest, **_: object) -> None:
        """Name the URL's host, which is not the one that is connected to."""
        request.headers["Host"] = urlsplit(str(request.url)).netloc
