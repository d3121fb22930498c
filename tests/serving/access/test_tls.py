"""TLS with real certificates and real sockets: versions, client certificates, renewal."""

import asyncio
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives import serialization

from tests.serving.certificates import Authority
from vaekit.errors import ConfigError
from vaekit.serving.access import tls as module
from vaekit.serving.access.tls import Tls, grpc_credentials, server_context


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def tls_of(authority, **more):
    cert, key = authority.issue("server")
    return Tls(cert=cert, key=key, **more)


def meet(context, client, times=1, between=lambda: None):
    """Shake hands with a server of that context; returns the serial numbers of the certificates that it showed."""

    async def echo(reader, writer):
        writer.write(await reader.readexactly(1))
        await writer.drain()
        writer.close()

    async def story():
        server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        seen = []
        for _ in range(times):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
            seen.append(writer.get_extra_info("peercert")["serialNumber"])
            writer.close()
            between()
        server.close()
        return seen

    return asyncio.run(asyncio.wait_for(story(), 20))


def client_of(authority, **_):
    return ssl.create_default_context(cafile=str(authority.path))


def test_a_client_that_knows_the_authority_is_served(authority):
    assert meet(server_context(tls_of(authority)), client_of(authority))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused(authority):
    assert server_context(tls_of(authority)).minimum_version >= ssl.TLSVersion.TLSv1_2
    client = client_of(authority)
    client.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version, client.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        meet(server_context(tls_of(authority)), client)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert meet(server_context(tls_of(authority)), client)


def test_clients_show_certificates_of_the_authority_where_one_is_required(authority, tmp_path):
    context = server_context(tls_of(authority, client_ca=str(authority.path)))
    nobody, stranger, friend = (client_of(authority) for _ in range(3))
    stranger.load_cert_chain(*Authority(tmp_path, "other").issue("stranger"))
    friend.load_cert_chain(*authority.issue("friend"))
    for client in (nobody, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            meet(context, client)
    assert meet(context, friend)


def test_a_renewed_certificate_is_used_and_a_broken_one_is_not(authority, monkeypatch, caplog):
    monkeypatch.setattr(module, "EVERY", 0.0)
    context = server_context(tls_of(authority))
    steps = iter([lambda: authority.issue("server"), lambda: (authority.folder / "server.crt").write_text("x"), int])
    first, second, third = meet(context, client_of(authority), 3, lambda: next(steps)())
    assert first != second == third
    assert "stays in use" in caplog.text


def test_files_that_cannot_be_used_are_refused_by_name(authority, tmp_path):
    cert, key = authority.issue("server")
    _, other = authority.issue("other")
    for wrong in (
        Tls(cert=cert, key=other),
        Tls(cert=str(tmp_path / "absent"), key=key),
        Tls(cert=key, key=key),
        Tls(cert=cert, key=key, client_ca=key),
    ):
        with pytest.raises(ConfigError, match="--tls-"):
            server_context(wrong)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_a_password(authority):
    cert, key = authority.issue("server")
    pem = serialization.load_pem_private_key(Path(key).read_bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    Path(key).write_bytes(pem)
    with pytest.raises(ConfigError, match="not encrypted"):
        server_context(Tls(cert=cert, key=key))
    code = f"from vaekit.serving.access.tls import *; server_context(Tls(cert={cert!r}, key={key!r}))"
    spawn = f"import pty; pty.spawn({[sys.executable, '-c', code]!r})"  # with a terminal at which one could ask
    done = subprocess.run([sys.executable, "-c", spawn], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert b"not encrypted" in done.stdout
    assert b"pass phrase" not in done.stdout


def test_grpc_takes_the_same_files(authority, monkeypatch):
    monkeypatch.setattr(module, "EVERY", 0.0)
    tls = tls_of(authority, client_ca=str(authority.path))

    async def story():
        server = grpc.aio.server()
        port = server.add_secure_port("127.0.0.1:0", grpc_credentials(tls))
        await server.start()
        loop, root = asyncio.get_running_loop(), authority.path.read_bytes()

        def channel(cert=None, key=None):
            pair = [path and Path(path).read_bytes() for path in (key, cert)]
            made = grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(root, *pair))
            try:
                grpc.channel_ready_future(made).result(timeout=3)
                return True
            except grpc.FutureTimeoutError:
                return False
            finally:
                made.close()

        def serial():
            client = client_of(authority)
            client.load_cert_chain(*friend)
            client.set_alpn_protocols(["h2"])
            plain = socket.create_connection(("127.0.0.1", port))
            with client.wrap_socket(plain, server_hostname="localhost") as made:
                return made.getpeercert()["serialNumber"]

        friend = authority.issue("friend")
        told = [await loop.run_in_executor(None, channel, *pair) for pair in ((), friend)]
        before = await loop.run_in_executor(None, serial)
        authority.issue("server")
        after = await loop.run_in_executor(None, serial)
        await server.stop(None)
        return told, before != after

    assert asyncio.run(story()) == ([False, True], True)
