"""Issue 5 §1: whoever does not get through a TLS handshake, or breaks its rules later, leaves one record that says why."""
import collections
import socket
import ssl
import struct
import subprocess

import pytest
from http_client import fetch, wait_until
from instance import JSON_LOG, ONE_SITE, free_port, make_pair

TIMER, LEFT, LIMIT, NOTHING_COMMON, NO_CERTIFICATE, ALERT, MALFORMED, RECORD, RENEGOTIATION, ALERT_LATER = 10, 11, 12, 13, 14, 17, 18, 19, 20, 21
HELLO = b"\x16\x03\x01"  # how a TLS client begins


@pytest.fixture
def https(make, tmp_path):
    def build(more=""):
        certificate, key = make_pair(tmp_path, "localhost")
        port = free_port()
        server = make(ONE_SITE + JSON_LOG + f"server.listen_tls = 127.0.0.1:{port}\nsite.main.tls.certificate = {certificate}\n"
                      f"site.main.tls.key = {key}\nserver.reactors = 1\n" + more, files={"a.txt": "a"})
        server.https, server.certificate = port, certificate
        return server
    return build


def s_client(server, *more, words=b""):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{server.https}", *more], input=words, timeout=30, capture_output=True)
    return (done.stdout + done.stderr).decode(errors="replace")


def connect(server, words=b""):
    client = socket.create_connection(("127.0.0.1", server.https), 20)
    client.sendall(words)
    return client


VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


def begin(server, version, context):
    """A connection of which every byte passes through our hands."""
    context.minimum_version = context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return connect(server), context.wrap_bio(incoming, outgoing, server_hostname="localhost"), incoming, outgoing


def drive(plain, incoming, outgoing, step):
    while True:
        try:
            done = step()
            plain.sendall(outgoing.read())
            return done
        except ssl.SSLWantReadError:
            plain.sendall(outgoing.read())
            incoming.write(plain.recv(65536))


def secure(server, version):
    """A connection that has had its first answer."""
    plain, session, incoming, outgoing = begin(server, version, ssl.create_default_context(cafile=server.certificate))
    drive(plain, incoming, outgoing, session.do_handshake)
    drive(plain, incoming, outgoing, lambda: session.write(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    assert drive(plain, incoming, outgoing, lambda: session.read(4096)).startswith(b"HTTP/1.1 200")
    return plain, session, incoming, outgoing


def say_last(plain, data):
    """Sends it, and reads until the server has closed."""
    plain.sendall(data)
    while plain.recv(4096):
        pass


def reasons(server):
    """How often each sub-status of connections that came to no request is in the log."""
    return collections.Counter(record["substatus"] for record in server.records() if record["status"] == 0)


def wait_reasons(server, **expected):
    wanted = collections.Counter({globals()[name]: count for name, count in expected.items()})
    wait_until(lambda: sum(reasons(server).values()) >= sum(wanted.values()), 20, what=f"{wanted}: {reasons(server)}")
    server.settled_records()
    assert reasons(server) == wanted


def test_clients_with_nothing_in_common_get_an_alert_and_one_record_each(https):
    server = https()
    for words, alert in ((("-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"), "protocol version"), (("-tls1_2", "-cipher", "AES128-SHA256"), "handshake failure"),
                         (("-tls1_3", "-groups", "P-521"), "handshake failure"), (("-tls1_3", "-sigalgs", "RSA-PSS+SHA256"), "handshake failure"),
                         (("-alpn", "gopher"), "no application protocol")):
        said = s_client(server, *words)
        assert f"alert {alert}" in said, said
    wait_reasons(server, NOTHING_COMMON=5)


def test_tls_1_2_is_switched_off_live(https):
    server = https()
    words = b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    plain, session, incoming, outgoing = secure(server, ssl.TLSVersion.TLSv1_2)
    server.sysctl(tls__only_1_3=1)
    said = s_client(server, "-tls1_2", "-ign_eof", words=words)
    assert "alert protocol version" in said, said
    assert "HTTP/1.1 200" in s_client(server, "-tls1_3", "-ign_eof", words=words)
    drive(plain, incoming, outgoing, lambda: session.write(words))
    assert drive(plain, incoming, outgoing, lambda: session.read(4096)).startswith(b"HTTP/1.1 200"), "who is there stays"
    server.sysctl(tls__only_1_3=0)
    assert "HTTP/1.1 200" in s_client(server, "-tls1_2", "-ign_eof", words=words)
    wait_reasons(server, NOTHING_COMMON=1)


def test_what_is_not_tls_and_who_leaves_or_does_not_trust_us_is_recorded(https):
    server = https()
    connect(server, b"\x00\x01\x02\x03\x04\x05\x06\x07").recv(100)
    connect(server, HELLO + struct.pack(">H", 6) + b"\x01\x00\x00\x02\x03\x03").recv(100)
    connect(server, HELLO).close()
    connect(server).close()  # said nothing: a health check, not a failure
    for version in VERSIONS:
        plain, session, incoming, outgoing = begin(server, version, ssl.create_default_context())  # which does not know our CA
        with pytest.raises(ssl.SSLCertVerificationError):
            drive(plain, incoming, outgoing, session.do_handshake)
        plain.sendall(outgoing.read())  # its alert
        while plain.recv(4096):
            pass
    wait_reasons(server, MALFORMED=2, LEFT=1, ALERT=2)


def test_plain_http_is_answered_in_its_own_words(https):
    server = https()
    answer = fetch(server.https, "/a.txt")
    assert (answer.status, answer.body) == (400, b"This address speaks https; the request came as plain http\n")
    assert [(r["status"], r["substatus"]) for r in server.wait_records(1)] == [(400, 73)]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_damaged_record_ends_the_connection_and_is_recorded(https, version):
    server = https()
    plain, session, _, outgoing = secure(server, version)
    session.write(b"GET /")
    record = bytearray(outgoing.read())
    record[-1] ^= 1
    say_last(plain, record)
    wait_reasons(server, RECORD=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_alerts_after_the_handshake_are_no_damaged_records(https, version):
    server = https()
    plain, session, _, outgoing = secure(server, version)
    with pytest.raises(ssl.SSLWantReadError):
        session.unwrap()  # close_notify: how connections end, and no failure
    say_last(plain, outgoing.read())
    plain, session, incoming, outgoing = secure(server, version)
    incoming.write(b"\x17\x03\x03\x00\x20" + bytes(32))  # what a damaged network may give the client, who says so
    with pytest.raises(ssl.SSLError):
        session.read(4096)
    say_last(plain, outgoing.read())
    wait_reasons(server, ALERT_LATER=1)


@pytest.mark.parametrize("version", VERSIONS)
def test_alerts_within_the_handshake_say_whether_the_client_left_or_found_a_fault(https, version):
    server = https()
    for alerts in (((1, 90), (1, 0)), ((1, 0),), ((2, 40),)):  # user_canceled and close_notify, that alone, handshake_failure
        plain, session, _, outgoing = begin(server, version, ssl.create_default_context())
        with pytest.raises(ssl.SSLWantReadError):
            session.do_handshake()
        say_last(plain, outgoing.read() + b"".join(b"\x15\x03\x03\x00\x02" + bytes(alert) for alert in alerts))
    wait_reasons(server, LEFT=2, ALERT=1)


def test_another_handshake_on_a_connection_is_refused_and_recorded(https):
    server = https()
    said = s_client(server, "-tls1_2", words=b"R\n")
    assert "no renegotiation" in said, said
    wait_reasons(server, RENEGOTIATION=1)


def test_a_handshake_has_its_time_which_is_changed_live(https):
    server = https("tls.handshake_timeout = 1h\n")
    before = connect(server, HELLO)
    server.sysctl(tls__handshake_timeout="100ms")
    for client in (connect(server, HELLO), connect(server), before):
        assert client.recv(1) == b""
    wait_reasons(server, TIMER=3)
    server.sysctl(tls__handshake_timeout="1h")
    assert "HTTP/1.1 200" in s_client(server, "-ign_eof", words=b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def test_handshakes_at_a_time_have_a_limit(https):
    server = https("tls.handshakes_max = 3\n")
    context = ssl.create_default_context(cafile=server.certificate)
    waiting = [connect(server, HELLO) for _ in range(2)]
    with context.wrap_socket(connect(server), server_hostname="localhost") as third:  # done, and so it counts no more
        waiting.append(connect(server, HELLO))
        with pytest.raises(ConnectionResetError):  # it may come before connect(2) returns
            connect(server).recv(1)
        wait_reasons(server, LIMIT=1)
        third.sendall(b"GET /a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert third.recv(4096).startswith(b"HTTP/1.1 200")
    waiting.pop().close()
    wait_reasons(server, LIMIT=1, LEFT=1)
    with context.wrap_socket(connect(server), server_hostname="localhost"):
        pass
    server.sysctl(tls__handshakes_max=2)
    with pytest.raises((ConnectionResetError, ssl.SSLError)):
        context.wrap_socket(connect(server), server_hostname="localhost")
    wait_reasons(server, LIMIT=2, LEFT=1)


def test_an_unknown_name_gets_the_default_certificate_and_no_record_but_its_requests(https):
    server = https()
    said = s_client(server, "-servername", "nobody.example", "-ign_eof", words=b"GET /a.txt HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n")
    assert "HTTP/1.1 200" in said and "CN = localhost" in said
    assert [record["status"] for record in server.wait_records(1)] == [200]
