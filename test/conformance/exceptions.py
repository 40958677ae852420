"""What of the two suites is not expected to pass, each with its reason. Nothing else is left out.

NOT_RUN: whole modules about something that is not the loop under test.
EXCEPTED: tests in the others: a pattern of fnmatch for `module.Class.test`, the reason, and when it holds. What concerns only the
stock loop's insides is run when that is the loop under test.
"""

import fnmatch
import sys

NOT_RUN = {
    "cpython": {
        "test_base_events": "tests asyncio.base_events itself with mocks in place of its parts",
        "test_selector_events": "tests the selector loop's private transports with mocks",
        "test_proactor_events": "Windows' loop",
        "test_windows_events": "Windows' loop",
        "test_windows_utils": "Windows' loop",
        "test_transports": "abstract classes only, no loop",
        "test_protocols": "abstract classes only, no loop",
        "test_staggered": "no loop of ours in it before 3.13, and then a function of asyncio on plain tasks",
    },
    "uvloop": {
        "test_aiohttp": "needs aiohttp; our own tests of web frameworks cover it",
        "test_cython": "a function that is compiled into uvloop",
        "test_fs_event": "uvloop's own API for watching files",
        "test_libuv_api": "uvloop's own C API",
        "test_sourcecode": "flake8 and mypy over uvloop's sources",
        "test_testbase": "uvloop's own test helpers",
    },
}

MOCKS = "looks into the selector loop: mocks its private methods or a module it uses"
SAME_AGAIN = "the same tests again for another selector, which makes no other loop here"
CONTEXTS = "in which context the methods of protocols run is uvloop's own rule; stock asyncio keeps another"
NOT_THE_LOOP = "the same tests again with another child watcher, which a loop that watches its children itself does not use"


def only_ours(ours):
    return ours


def always(ours):
    return True


def since(*version):
    return lambda ours: sys.version_info >= version


def before(*version):
    return lambda ours: sys.version_info < version


EXCEPTED = {
    "cpython": [
        # -- not about the loop that a factory makes
        ("test_*.SelectEventLoopTests.*", SAME_AGAIN, only_ours),
        ("test_*.PollEventLoopTests.*", SAME_AGAIN, only_ours),
        ("test_unix_events.SelectorEventLoopSignalTests.*", MOCKS, only_ours),
        ("test_unix_events.SelectorEventLoopUnixSockSendfileTests.*", MOCKS, only_ours),
        ("test_subprocess.Subprocess[!T]*WatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.GenericWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.*.test_popen_error*", "puts a mock in the place of subprocess.Popen", only_ours),
        ("test_events.*.test_timeout_rounding", MOCKS, only_ours),
        ("test_events.*.test_internal_fds", MOCKS, only_ours),
        ("test_runners.*.test_loop_factory_default_event_loop", "asyncio.EventLoop is the stock loop", only_ours),
    ],
    "uvloop": [
        ("test_runner.*.test_uvloop_run_2", "wants another loop of the default policy, which gives the one under test here", always),
        ("test_base.*.test_thread_name_prefix_in_default_executor", "asserts that threads are named after uvloop", always),
        ("test_base.*.test_loop_create_task_eager_start", "a keyword that asyncio's loops take from 3.14 on", always),
        ("test_sockets.*.test_pseudosocket", "uvloop's own class for sockets of transports", always),
        ("test_sockets.*.test_socket_sync_remove", "uvloop's own _get_backend_id", always),
        ("test_sockets.*.test_socket_*_and_close", "asyncio leaves open what a sock_ method does when its socket is closed meanwhile", always),
        ("test_sockets.*.test_socket_cancel_sock_recv_2", "closes the socket of a waiting sock_recv and cancels that later: ours has raised OSError by then", only_ours),
        ("test_signals.*.test_signals_no_SIGCHLD", "uvloop refuses a handler for SIGCHLD; asyncio allows it, and so do we", always),
        ("test_context.*.test_create_connection_protocol", CONTEXTS, always),
        ("test_context.*.test_create_*server_manual_connection_lost", CONTEXTS, always),
        ("test_context.*.test_create_ssl_server_connection_protocol", CONTEXTS, always),
        ("test_context.*.test_datagram_protocol", CONTEXTS, always),
        ("test_context.*.test_start_tls", CONTEXTS, always),
        ("test_process.*.test_process_double_close", "lists which descriptors uvloop duplicates and closes", always),
        ("test_process.Test_UV_Process_Delayed.*", "an argument for uvloop's own tests, which other loops pass on to Popen", always),
        ("test_tcp.*.test_create_server_buffered_2", "the words in which uvloop wraps an exception of get_buffer()", always),
        ("test_tcp.*.test_tcp_handle_abort_in_connection_made", "get_extra_info('socket') gives nothing after the end; asyncio gives a closed one", always),
        ("test_tcp.*.test_flush_before_shutdown", "reaches into uvloop's TLS protocol", always),
        ("test_tcp.*.test_shutdown_timeout_handler_not_set", "asyncio keeps what came before the end until the application reads on; uvloop drops it", always),
        ("test_unix.*.test_create_unix_server_path_stream_bittype", "a keyword that asyncio's loops take from 3.13 on", before(3, 13)),
        ("test_unix.*.test_epollhup", "a server's wait_closed() waits for its connections from 3.12 on", before(3, 12)),
        ("test_udp.*.test_create_datagram_endpoint_reuse_address_*", "an option that Python 3.11 has removed", since(3, 11)),
        ("test_udp.*.test_create_datagram_endpoint_wrong_sock", "the words of uvloop's message", always),
        ("test_udp.*.test_udp_sendto_dns", "uvloop refuses names in sendto; asyncio lets the socket resolve them", always),
    ],
}


def reason_of(suite, test, ours):
    """Why this test is left out, or None."""
    for pattern, reason, when in EXCEPTED[suite]:
        if when(ours) and fnmatch.fnmatchcase(test, pattern):
            return reason
    return None
