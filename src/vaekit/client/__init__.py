"""Clients of a service: the words of `vaekit.api.Model` over HTTP. Free of runtimes; pyarrow and httpx on first use."""

from vaekit.client.clients import AsyncClient, Client
from vaekit.client.retry import Retry
from vaekit.client.wire import request_ids

__all__ = ["AsyncClient", "Client", "Retry", "request_ids"]
