"""What of the two suites is not expected to pass, each with its reason. Nothing else is left out.

NOT_RUN: whole modules about something that is not the loop under test.
EXCEPTED: tests in the others, as patterns of fnmatch for `module.Class.test`, optionally only `on` a predicate of (version, ours).
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
NOT_THE_LOOP = "tests child watchers, which a loop that watches its children itself does not use"


def before(*version):
    return lambda ours: sys.version_info < version


def only_ours(ours):
    return ours


def always(ours):
    return True


EXCEPTED = {
    "cpython": [
        # -- not about the loop that a factory makes
        ("test_*.SelectEventLoopTests.*", SAME_AGAIN, only_ours),
        ("test_*.PollEventLoopTests.*", SAME_AGAIN, only_ours),
        ("test_unix_events.SelectorEventLoopSignalTests.*", MOCKS, only_ours),
        ("test_unix_events.UnixReadPipeTransportTests.*", MOCKS, only_ours),
        ("test_unix_events.UnixWritePipeTransportTests.*", MOCKS, only_ours),
        ("test_unix_events.SelectorEventLoopUnixSockSendfileTests.*", MOCKS, only_ours),
        ("test_unix_events.*Watcher*.*", NOT_THE_LOOP, only_ours),
        ("test_unix_events.PolicyTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.Subprocess*WatcherTests.*watcher*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.SubprocessSafeWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.SubprocessFastWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.SubprocessMultiLoopWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.SubprocessPidfdWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.GenericWatcherTests.*", NOT_THE_LOOP, only_ours),
        ("test_subprocess.SubprocessTransportTests.*", "mocks of asyncio.base_subprocess", only_ours),
        ("test_events.TestCAsyncioGetEventLoopTests*", "the functions of asyncio.events, not a loop", only_ours),
    ],
    "uvloop": [],
}


def reason_of(suite, test, ours):
    """Why this test is left out, or None."""
    for pattern, reason, when in EXCEPTED[suite]:
        if when(ours) and fnmatch.fnmatchcase(test, pattern):
            return reason
    return None
