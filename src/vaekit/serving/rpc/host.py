"""The gRPC host: it listens, tells its health, and stops without losing a call."""

from __future__ import annotations

import asyncio

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2

from vaekit.errors import ConfigError
from vaekit.serving.rpc.messages import POOL, SERVICE
from vaekit.serving.rpc.service import Service
from vaekit.serving.tls import Tls, grpc_credentials

__all__ = ["GrpcHost"]

_LOOK = 0.2  # seconds between two looks whether readiness has changed, for those who watch it
_SPARE = 1 << 16  # bytes of a message beside its body limit: its envelope
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
        host: Name or address to listen on.
        port: Port; 0: any that is free.
        largest: Bytes of a message.
        calls: Calls at a time; more are refused.
        tls: Certificates, if connections are encrypted.
    """

    def __init__(self, service: Service, host: str, port: int, *, largest: int, calls: int, tls: Tls | None) -> None:
        self.service, self.host, self.port, self.tls = service, host, port, tls
        self.draining = False
        options = (
            *_OPTIONS,
            ("grpc.max_receive_message_length", largest + _SPARE),
            ("grpc.max_send_message_length", -1),
        )
        self._server = grpc.aio.server(options=options, maximum_concurrent_rpcs=calls)
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
        host = f"[{self.host}]" if ":" in self.host else self.host
        where = f"{host}:{self.port}"
        try:
            if self.tls is None:
                port = self._server.add_insecure_port(where)
            else:
                port = self._server.add_secure_port(where, grpc_credentials(self.tls))
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {where}: {error}; give another --grpc-port") from error
        await self._server.start()
        await self._tell()
        self._following = asyncio.get_running_loop().create_task(self._follow())
        return f"{'grpc' if self.tls is None else 'grpcs'}://{host}:{port}"

    async def drain(self) -> None:
        """Say that it is not ready any more; go on answering."""
        self.draining = True
        await self._tell()

    async def close(self, timeout: float) -> None:
        """Take no more calls, let those end that are being answered, and close all connections.

        Args:
            timeout: Seconds that they may still take; then they are cancelled.
        """
        if self._following is not None:
            self._following.cancel()
        await self._server.stop(timeout)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            await self._tell()

    async def _tell(self) -> None:
        """Tell those who watch, if readiness has changed."""
        ready = self.service.ready() and not self.draining
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
