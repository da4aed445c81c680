"""Attacks that try to talk to someone."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.interpreter.conftest import ON_AARCH64, Attack


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_UNIX", "AF_NETLINK", "AF_PACKET", "AF_ALG", "AF_VSOCK"])
def test_no_socket_can_be_opened(attack: Attack, family: str) -> None:
    execution = attack(f"import socket; socket.socket(socket.{family}, socket.SOCK_DGRAM); print('opened')")
    assert (execution.status, execution.stdout) == ("error", "")


def test_service_of_the_host_cannot_be_reached(attack: Attack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        port = server.getsockname()[1]
        reached = []

        def accept() -> None:
            try:
                reached.append(server.accept())
            except TimeoutError:
                return

        listener = threading.Thread(target=accept)
        listener.start()
        assert attack(f"import socket; socket.create_connection(('127.0.0.1', {port}))").status == "error"
        listener.join()
    assert reached == []


def test_names_are_not_resolved(attack: Attack) -> None:
    assert attack("import socket; socket.getaddrinfo('localhost', 80); print('resolved')").stdout in ("", "resolved\n")


def test_web_page_cannot_be_fetched(attack: Attack) -> None:
    assert attack("import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')").status == "error"


def test_interfaces_cannot_be_listed(attack: Attack) -> None:
    assert attack("import socket; print([n for _, n in socket.if_nameindex() if n != 'lo'])").stdout in ("", "[]\n")


def test_abstract_socket_cannot_be_reached(attack: Attack) -> None:
    code = "import socket; socket.socket(socket.AF_UNIX).connect(b'\\0bus')"
    assert attack(code).status == "error"


def test_socket_pair_of_another_family_is_refused(attack: Attack) -> None:
    assert attack("import socket; socket.socketpair(socket.AF_INET)").status == "error"


def test_own_socket_pair_still_works(attack: Attack) -> None:
    code = "import socket; a, b = socket.socketpair(); a.send(b'x'); print(b.recv(1))"
    assert attack(code).stdout == "b'x'\n"


def test_inherited_channel_cannot_carry_descriptors_in(attack: Attack) -> None:
    code = """
        import socket
        channel = socket.socket(fileno=250)
        channel.settimeout(0.3)
        try: print(socket.recv_fds(channel, 100, 4))
        except OSError: print("nothing")
    """
    assert attack(code).stdout == "nothing\n"


def test_io_uring_is_not_there(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)))"
    assert attack(code).stdout == "-1\n"


def test_system_v_shared_memory_is_refused(attack: Attack) -> None:
    assert attack("import ctypes; print(ctypes.CDLL(None).shmget(4711, 4096, 0o1666))").stdout == "-1\n"


def test_system_v_message_queue_is_refused(attack: Attack) -> None:
    assert attack("import ctypes; print(ctypes.CDLL(None).msgget(4711, 0o1666))").stdout == "-1\n"


def test_system_v_semaphore_is_refused(attack: Attack) -> None:
    assert attack("import ctypes; print(ctypes.CDLL(None).semget(4711, 1, 0o1666))").stdout == "-1\n"


def test_posix_message_queue_is_refused(attack: Attack) -> None:
    code = "import ctypes; print(ctypes.CDLL('librt.so.1').mq_open(b'/mine', 0o102, 0o600, None))"
    assert attack(code).stdout in ("-1\n", "")


def test_kernel_keyring_is_refused(attack: Attack) -> None:
    number = 217 if ON_AARCH64 else 248
    code = f"import ctypes; print(ctypes.CDLL(None).syscall({number}, b'user', b'k', b'v', 1, -3))"
    assert attack(code).stdout == "-1\n"
