"""What a User-Agent header says, in a few words"""

import re

from regadmin.messages import Message

# The first that fits: most browsers also claim to be those that came before them.
_BROWSERS = {
    "Edge": r"\bEdgA?/",
    "Opera": r"\bOPR/",
    "Samsung Internet": r"\bSamsungBrowser/",
    "Firefox": r"\b(?:Firefox|FxiOS)/",
    "Chrome": r"\b(?:(?:Headless)?Chrome|Chromium|CriOS)/",
    "Safari": r"\bSafari/",
}
_SYSTEMS = {
    "Android": r"\bAndroid\b",
    "iOS": r"\b(?:iPhone|iPad)\b",
    "Windows": r"\bWindows\b",
    "macOS": r"\bMac OS X\b",
    "ChromeOS": r"\bCrOS\b",
    "Linux": r"\bLinux\b",
}
_LONGEST = 60


def device(user_agent: str) -> str:
    """`Firefox on Linux` for browsers, name and version for programs. It is a claim: anybody can send any text."""
    browser, system = _first(_BROWSERS, user_agent), _first(_SYSTEMS, user_agent)
    if browser and system:
        return Message("%(browser)s on %(system)s", browser=browser, system=system)
    product = user_agent.partition(" ")[0].replace("/", " ", 1)
    return browser or product[:_LONGEST] or Message("not known")


def _first(known: dict[str, str], text: str) -> str:
    return next((name for name, pattern in known.items() if re.search(pattern, text)), "")
