"""The Hugging Face hub, with what a test puts into its repositories."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

from fake_hub import FakeHub

from guest.internet import Answer, Request, Site

HUB = "huggingface.co"
STORE = "cdn-lfs.huggingface.co"
_PASSED = ("authorization", "range", "if-range", "accept")
_KEPT = ("content-type", "content-range", "etag", "link", "location", "x-error-code")


def sites(hub: FakeHub) -> Mapping[str, Site]:
    """Return the hub and the store that it redirects to, each by its host."""
    places = {hub.url: f"https://{HUB}", hub.store_url: f"https://{STORE}"}

    def public(text: str) -> str:
        for here, there in places.items():
            text = text.replace(here, there)
        return text

    def relay(here: str) -> Site:
        def answer(request: Request) -> Answer:
            passed = {n: request.headers[n] for n in _PASSED if n in request.headers}
            connection = http.client.HTTPConnection(urlsplit(here).netloc, timeout=60)
            try:
                connection.request(request.method, request.raw_path, headers=passed)
                response = connection.getresponse()
                body = response.read()
            finally:
                connection.close()
            kept = {n: public(v) for n, v in response.getheaders() if n.lower() in _KEPT}
            return Answer(response.status, body, kept)

        return answer

    return {HUB: relay(hub.url), STORE: relay(hub.store_url)}
