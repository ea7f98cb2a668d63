"""What the adapter has to be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class CustomGptConfig:
    """Where the API is and how long it may take."""

    #: Such as ``https://app.customgpt.ai/api/v1``, with or without a slash at the end.
    api_url: str
    #: H of PROTOCOL 5: seconds after which a request is given up, connecting included.
    request_timeout_s: float = 120.0
    #: U of PROTOCOL 5: seconds after which the kernel drops bytes that the other side does not acknowledge.
    user_timeout_s: float = 10.0
    #: Such as ``http://user:password@proxy:3128``; for https only, since plain http goes only to loopback.
    proxy_url: str | None = field(default=None, repr=False)
    #: Hosts that are reached without the proxy, in the notation of ``NO_PROXY``.
    no_proxy: str = ""
    #: Answers are asked for as a stream of events.
    is_streaming: bool = False
    #: PEM file with the authorities to trust instead of the system's; certificates are always verified.
    ca_file: Path | None = None

    def proxy_in_use(self) -> str | None:
        """Return the proxy that requests to the API go through, if there is one.

        Decided here once, from settings. aiohttp's own ``trust_env`` reads the environment and ``.netrc``
        again for every request, each time in a thread.
        """
        target = urlsplit(self.api_url)
        if not self.proxy_url or target.scheme != "https" or self._is_without_proxy(target.hostname or ""):
            return None
        return self.proxy_url

    def _is_without_proxy(self, host: str) -> bool:
        """Tell whether ``NO_PROXY`` names the host or a domain it is in; ``*`` names all."""
        for entry in self.no_proxy.lower().split(","):
            domain = entry.strip().lstrip(".")
            if domain == "*" or (domain and (host == domain or host.endswith(f".{domain}"))):
                return True
        return False
