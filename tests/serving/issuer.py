"""An identity provider for tests: keys, tokens, and a real server that hands out the public half."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

KINDS = {
    "RS256": (lambda: rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (lambda: ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate, OKPAlgorithm),
}


class Issuer:
    """An identity provider on this machine; each request is counted by path.

    Attributes that a test may change: `delay` (seconds before an answer), `answers` (path to bytes that are sent
    instead), `moved` (path to another address).
    """

    def __init__(self) -> None:
        self.keys, self.public = {}, {}
        self.asked: list[str] = []
        self.delay = 0.0
        self.answers: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                issuer.asked.append(self.path)
                time.sleep(issuer.delay)
                if self.path in issuer.moved:
                    self.send_response(302)
                    self.send_header("Location", issuer.moved[self.path])
                    self.end_headers()
                    return
                content = issuer.answers.get(self.path) or issuer.document(self.path)
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that gave up
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/realm"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def document(self, path: str) -> bytes:
        if path == "/realm/.well-known/openid-configuration":
            return json.dumps({"issuer": self.url, "jwks_uri": self.url + "/keys"}).encode()
        return json.dumps({"keys": list(self.public.values())}).encode()

    def add(self, kid: str, algorithm: str = "ES256") -> None:
        """Make a key."""
        make, kind = KINDS[algorithm]
        self.keys[kid] = (make(), algorithm)
        public = json.loads(kind.to_jwk(self.keys[kid][0].public_key()))
        self.public[kid] = {**public, "kid": kid, "use": "sig", "alg": algorithm}

    def remove(self, kid: str) -> None:
        del self.keys[kid], self.public[kid]

    def token(self, kid: str, *, header: dict | None = None, **claims) -> str:
        """Sign a token; a claim that is None is left out. A header replaces the key id."""
        key, algorithm = self.keys[kid]
        now = int(time.time())
        full = {"iss": self.url, "aud": "vaekit", "sub": "ada@example.org", "iat": now, "exp": now + 300, "scope": ""}
        full = {name: value for name, value in (full | claims).items() if value is not None}
        return jwt.encode(full, key, algorithm=algorithm, headers={"kid": kid} if header is None else header)


def base64url(value: bytes | dict) -> str:
    """A part of a token, made by hand."""
    value = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
