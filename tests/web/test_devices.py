"""What a User-Agent header is taken for."""

import pytest

from regadmin.web.pages.devices import device

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/120.0.0.0 Safari/537.36", "Chrome on Windows"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/120.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/120.0 Safari/537.36 Edg/120.0", "Edge on Windows"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 14_0) Version/17.0 Safari/605.1", "Safari on macOS"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17 Mobile Safari/604.1", "Safari on iOS"),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/120.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.1.2", "curl 8.1.2"),
        ("docker/24.0.5 go/go1.20 git-commit/a os/linux", "docker 24.0.5"),
        ("", "not known"),
        ("x" * 255, "x" * 60),
        ("<script>alert(1)</script>", "<script>alert(1)< script>"),
    ],
)
def test_a_device_is_named_in_a_few_words(user_agent, expected):
    assert device(user_agent) == expected
