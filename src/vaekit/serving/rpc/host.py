"""The gRPC host: it listens, tells its health, and stops without losing a call."""

from __future__ import annotations

import asyncio
import time

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from vaekit.errors import ConfigError
from vaekit.serving.access.tls import grpc_credentials
from vaekit.serving.rpc.messages import POOL
from vaekit.serving.rpc.service import Service
from vaekit.serving.settings import Settings
from vaekit.serving.wire.inference import SERVICE

__all__ = ["GrpcHost"]

_LOOK = 0.2  # seconds between two looks whether readiness has changed, for those who watch it
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # two services on one port would share it without a word
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),  # callers who have vanished are noticed
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
)


class GrpcHost:
    """Listens for gRPC.

    Args:
        service: The methods.
        settings: Where to listen, and the limits.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self.service, self.settings = service, settings
        lengths = {"receive": settings.max_body, "send": -1}
        options = (*_OPTIONS, *((f"grpc.max_{way}_message_length", most) for way, most in lengths.items()))
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=settings.max_connections)
        self._server.add_generic_rpc_handlers((service.handler(),))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._reflect()
        self._told: bool | None = None
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            Where, as ``grpc://host:port``, or ``grpcs://`` with TLS.

        Raises:
            ConfigError: If it is not possible to listen there.
        """
        settings, tls = self.settings, self.settings.tls
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        where = f"{host}:{settings.grpc_port}"
        try:
            if tls is None:
                port = self._server.add_insecure_port(where)
            else:
                port = self._server.add_secure_port(where, grpc_credentials(tls))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {where}: {error}; give another --grpc-port") from error
        await self._server.start()
        await self._tell()
        self._following = asyncio.get_running_loop().create_task(self._follow())
        return f"{'grpc' if tls is None else 'grpcs'}://{host}:{port}"

    def drain(self) -> None:
        """Go on answering; those who watch its health learn of it from the front."""

    async def close(self, timeout: float) -> int:
        """Take no more calls, let those end that are being answered, and close all connections.

        Args:
            timeout: Seconds that they may still take.

        Returns:
            How many calls were cut off.
        """
        if self._following is None:
            return 0
        self._following.cancel()
        start = time.monotonic()
        stopping = asyncio.ensure_future(self._server.stop(timeout + _LOOK))  # takes no more
        while self.service.active and time.monotonic() < start + timeout:
            await asyncio.sleep(0.02)
        cut = self.service.active
        if cut:
            await self._server.stop(0)
        await stopping
        return cut

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._tell()

    async def _tell(self) -> None:
        """Tell those who watch, if readiness has changed."""
        ready = self.service.ready
        if ready != self._told:
            self._told = ready
            states = health_pb2.HealthCheckResponse
            for name in ("", SERVICE):
                await self._health.set(name, states.SERVING if ready else states.NOT_SERVING)

    def _reflect(self) -> None:
        """Let tools such as grpcurl ask which methods and messages there are."""
        for module in (health_pb2, reflection_pb2):
            POOL.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server, pool=POOL)
