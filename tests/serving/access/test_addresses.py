"""Where requests come from, and where a service may listen."""

import pytest

from vaekit.errors import ConfigError
from vaekit.serving.access.addresses import check_listening, is_local


def test_a_request_through_a_proxy_does_not_come_from_this_machine():
    assert is_local("127.0.0.1", False)
    assert is_local("::1", False)
    assert is_local(None, False)
    assert not is_local("127.0.0.1", True)
    assert not is_local("192.0.2.7", False)
    assert not is_local("unknown", False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.8.8"])
def test_this_machine_alone_needs_no_keys(host):
    assert check_listening(host, guarded=False, tls=False, forced=False) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.7"])
def test_other_machines_are_let_in_with_keys_or_by_force(host):
    with pytest.raises(ConfigError, match="--insecure-public"):
        check_listening(host, guarded=False, tls=True, forced=False)
    assert "anybody" in check_listening(host, guarded=False, tls=True, forced=True)
    assert "without TLS" in check_listening(host, guarded=True, tls=False, forced=False)
    assert check_listening(host, guarded=True, tls=True, forced=False) is None


def test_a_host_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="not a name or address"):
        check_listening("no.such.host.invalid", guarded=True, tls=True, forced=False)
