"""Server time of the lists of repositories and tags in a large store. `python -m tests.bench.lists` runs it."""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from regadmin import options, patterns
from regadmin.app import App
from regadmin.entities import EVERYONE_ID, REGISTERED_ID, Actor
from regadmin.store import Store, trigrams
from tests.rigs.client import Client

PASSWORD = "a good password"
REPOSITORIES, TAGS, LARGE = 10_000, 100_000, 10_000
SIZES = (1_000, 10_000, 100_000)
"""Repositories, with ten times as many tags, a hundredth of them in one, and as many rows in the activity."""

LARGE_NAME = "large/app"
TIMES = 7
_NOW = 1_750_000_000
_DAY = 86_400
_BY = Actor("bench")


def fill(store: Store, repositories: int = REPOSITORIES, tags: int = TAGS, large: int = LARGE) -> None:
    """Write an index of so many repositories, one of which has `large` of the tags."""
    chance = random.Random(1)
    names = [LARGE_NAME, *(f"team-{number % 500:03}/app-{number:05}" for number in range(1, repositories))]
    each, rest = divmod(max(tags - large, 0), max(repositories - 1, 1))
    with _in_bulk(store):
        for position, name in enumerate(names, start=1):
            count = large if position == 1 else each + (position <= rest + 1)
            _fill_repository(store, chance, position, name, count)
        store.repositories.refresh_all()
    store.database.execute("ANALYZE")


@contextmanager
def _in_bulk(store: Store) -> Iterator[None]:
    """Trigram indexes are made at one go, which takes a fraction of the time."""
    connection = store.database.connection
    connection.execute("PRAGMA cache_size = -500000")
    with store.transaction():
        for trigger in ("tag_text_came", "activity_text_came"):
            connection.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        yield
        trigrams.prepare(connection)


def fill_activity(store: Store, rows: int) -> None:
    """One row each half a minute, of 500 people."""
    chance = random.Random(2)
    with _in_bulk(store):
        store.database.connection.executemany(
            """
            INSERT INTO activity (at, actor, event, object, address, repository)
            VALUES (?, ?, ?, ? || ':' || ?, '10.0.' || ? || '.' || ?, ?)
            """,
            (_activity(chance, _NOW - (rows - number) * 30) for number in range(rows)),
        )
    store.database.execute("ANALYZE")


def _activity(chance: random.Random, at: int) -> tuple:
    number = chance.randrange(1, 100_000)
    name = f"team-{number % 500:03}/app-{number:05}"
    event = "push" if chance.random() < 0.25 else "pull"
    where = chance.randrange(256), chance.randrange(256)
    return at, f"user{chance.randrange(500)}", event, name, f"{number % 9}.{number % 99}", *where, name


def _fill_repository(store: Store, chance: random.Random, repository_id: int, name: str, tags: int) -> None:
    """Every fifth tag shares its image with the one before; every tenth is a signature."""
    add = store.database.connection.executemany
    pushed = [_NOW - chance.randrange(400 * _DAY) for _ in range(tags)]
    pulled = [_NOW - chance.randrange(400 * _DAY) for _ in range(tags)]
    add(
        """
        INSERT INTO repositories (id, name, pull_count, last_pulled_at, last_pushed_at, last_pushed_by)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        [(repository_id, name, sum(pulled) % 10_000, max(pulled, default=None), max(pushed, default=None), "alice")],
    )
    first = store.database.one("SELECT COALESCE(max(id), 0) FROM manifests")[0] + 1
    digests = [f"sha256:{chance.getrandbits(256):064x}" for _ in range(max(tags, 1))]
    add(
        """
        INSERT INTO manifests (id, repository_id, digest, media_type, kind, size, platforms, created_at, seen_run)
        VALUES (?, ?, ?, 'application/vnd.oci.image.manifest.v1+json', 'image', ?, '["linux/amd64"]', ?, 0)
        """,
        [
            (first + number, repository_id, digest, chance.randrange(10**9), _NOW - number)
            for number, digest in enumerate(digests)
        ],
    )
    add(
        """
        INSERT INTO tags (repository_id, name, sort_key, manifest_id, digest_start, size, created_at, pushed_at,
                          pushed_by, updated_at, pull_count, last_pulled_at)
        SELECT :repository, :name, natural_key(:name), id, substr(digest, 1, 23), size, created_at, :pushed,
          'alice', :pushed, :pulls, :pulled FROM manifests WHERE id = :manifest
        """,
        [
            {
                "repository": repository_id,
                "name": _tag_name(number, digests),
                "manifest": first + number - (number % 5 == 4),
                "pushed": pushed[number],
                "pulls": chance.randrange(1000),
                "pulled": pulled[number],
            }
            for number in range(tags)
        ],
    )


def _tag_name(number: int, digests: list[str]) -> str:
    if number % 10 == 9:
        return digests[number - 1].replace(":", "-") + ".sig"
    return f"{number // 100}.{number % 100}.{number % 7}"


def add_people(app: App) -> None:
    """A user whose rights come from names, globs and expressions, and what everybody may pull."""
    user = app.users.create(_BY, PASSWORD, login="user", role="user")
    app.users.create(_BY, PASSWORD, login="manager", role="manager")
    crew = app.groups.create(_BY, "crew")
    app.users.update(user.id, _BY, group_ids=[crew.id])

    def allow(owner: int, name: str, is_group: bool = False, action: str = "pull") -> None:
        app.rules.create(_BY, owner, is_group, resource_name=name, action=action)

    for number in range(1, 201):
        allow(user.id, f"team-{number % 500:03}/app-{number * 7:05}")
    for number in range(20):
        allow(user.id, f"team-{number:03}/**", action="push")
        allow(crew.id, f"team-1{number:02}/app-*", is_group=True)
    for number in range(10):
        allow(user.id, f"/team-2{number}[0-9]\\/app-[0-9]+/")
    allow(user.id, "${login}/**")
    allow(user.id, LARGE_NAME)
    allow(REGISTERED_ID, "team-30?/*")
    allow(REGISTERED_ID, "/team-31[0-9]\\/.*/")
    allow(EVERYONE_ID, "team-4*/*")
    allow(EVERYONE_ID, "/team-49[0-9]\\/.*/")
    allow(EVERYONE_ID, LARGE_NAME)


def addresses(is_anonymous: bool) -> dict[str, str]:
    """What is measured, and where it is."""
    repos, tags = "/repos", f"/repos/{LARGE_NAME}"
    found = {
        "first page": repos,
        "100 rows": repos + "?per=100",
        "search": repos + "?q=app-09",
        "search that finds nothing": repos + "?q=nothing",
        "search for a tag": repos + "?q=team-40:1.2",
        "search for a tag everywhere": repos + "?q=:0.1.",
        "search for a tag that is nowhere": repos + "?q=:nothing",
        "deep page": repos + "?page=60",
        **{f"by {sort}": f"{repos}?sort=-{sort}" for sort in ("name", "tags", "size", "pulls", "pushed")},
        "deep page by push": repos + "?sort=-pushed&page=60",
        "namespace": repos + "?namespace=team-401",
        **{f"visibility {value}": f"{repos}?visibility={value}" for value in ("everyone", "registered", "restricted")},
        "not pulled for 90 days": repos + "?idle=90",
        "export": repos + ".csv",
        "tags: first page": tags,
        "tags: 100 rows": tags + "?per=100",
        "tags: search": tags + "?q=7.",
        "tags: deep page": tags + "?page=300",
        **{f"tags: by {sort}": f"{tags}?sort=-{sort}" for sort in ("name", "size", "created", "pushed", "pulls")},
        "tags: deep page by name": tags + "?sort=name&page=300",
        "tags: signatures": tags + "?attached=1",
    }
    return {what: url for what, url in found.items() if not is_anonymous or "visibility" not in what}


@contextmanager
def counted(store: Store) -> Iterator[list[str]]:
    """The statements that this thread's connection runs meanwhile."""
    statements: list[str] = []
    connection = store.database.connection
    connection.set_trace_callback(statements.append)
    try:
        yield statements
    finally:
        connection.set_trace_callback(None)
        # The trigram indexes read their own tables by statements, as many as they need; a snapshot begins and ends.
        own = "'main'.'", "data_version", "BEGIN", "COMMIT"
        statements[:] = [sql for sql in statements if not any(word in sql for word in own)]


def visitor(app: App, login: str) -> Client:
    client = Client(app.wsgi)
    if login:
        answer = client.post("/auth/local/login", form={"user": login, "passwd": PASSWORD})
        assert answer.status == 200, answer.text
    return client


def milliseconds(call: Callable[[], object]) -> float:
    """Of this thread alone: what else the machine does meanwhile does not count."""
    began = time.thread_time()
    call()
    return (time.thread_time() - began) * 1000


def measure(app: App, login: str) -> dict[str, tuple[float, int]]:
    """The median time in milliseconds, and the number of statements."""
    client, found = visitor(app, login), {}
    for what, url in addresses(not login).items():
        median = statistics.median(milliseconds(lambda u=url: client.get(u)) for _ in range(TIMES))
        with counted(app.store) as statements:
            answer = client.get(url)
        assert answer.status == 200, (what, answer.status)
        found[what] = (median, len(statements))
    return found


def build(directory: Path) -> App:
    given = {
        "registry.host": "http://127.0.0.1",
        "registry.port": "1",
        "store.embed.path": str(directory / "data.db"),
        "store.admin-password": PASSWORD,
        "registry.certs.path": str(directory / "certs"),
    }
    settings = options.load(options.parser({}).parse_args([f"--{name}={text}" for name, text in given.items()]), {})
    options.validate(settings)
    return App(settings, lambda: _NOW)


def measure_new_rules(app: App, login: str) -> float:
    """The first page when the rules are no longer those whose answers are remembered."""
    client, times = visitor(app, login), []
    for _ in range(TIMES):
        patterns.matcher.cache_clear()
        times.append(milliseconds(lambda: client.get("/repos")))
    return statistics.median(times)


def table(app: App) -> str:
    logins = ("admin", "user", "")
    found = {login: measure(app, login) for login in logins}
    lines = ["| list | admin ms | user ms | anonymous ms | statements |", "|---|---:|---:|---:|---:|"]
    for what, (_, statements) in found["admin"].items():
        times = [f"{found[login][what][0]:.0f}" if what in found[login] else "-" for login in logins]
        lines.append(f"| {what} | {' | '.join(times)} | {statements} |")
    fresh = [f"{measure_new_rules(app, login):.0f}" for login in logins]
    return "\n".join([*lines, f"| first page after a change of rules | {' | '.join(fresh)} | |"])


def pages(size: int) -> dict[str, str]:
    """What is measured as a store grows: the first page, a search, another order, a deep page."""
    rest, tags = "/api/v1/registry/catalog?range=[0,24]", f"/repos/{LARGE_NAME}"
    middle = f"[{5 * size},{5 * size + 24}]"
    return {
        "repositories": "/repos",
        "repositories, search": "/repos?q=app-009",
        "repositories, search for a tag": "/repos?q=:0.1.",
        "repositories, search for two letters of a tag": "/repos?q=:zz",
        "repositories, by size": "/repos?sort=-size",
        "repositories, deep": f"/repos?page={size // 50}",
        "tags of one": tags,
        "tags of one, search": tags + "?q=7.",
        "tags of one, by size": tags + "?sort=-size",
        "tags of one, deep": f"{tags}?page={size // 50}",
        "REST, repositories": rest,
        "REST, all tags": rest + "&group_by=none",
        "REST, all tags, search": rest + '&group_by=none&filter={"q":"app"}',
        "REST, all tags, by digest, deep": rest.replace("[0,24]", middle) + '&group_by=none&sort=["digest","ASC"]',
        "REST, all tags, by size, deep": rest.replace("[0,24]", middle) + '&group_by=none&sort=["size","DESC"]',
        "activity": "/activity?period=all",
        "activity, search": "/activity?period=all&q=app-009",
        "activity, search for two letters": "/activity?period=all&q=zz",
        "activity, deep": f"/activity?period=all&page={size // 5}",
    }


OTHERS = {"a user with 250 rules": "user", "a stranger": ""}
"""Who sees a part of it only: for them the lists of repositories are measured as well."""


def measure_growth(size: int) -> dict[str, float]:
    """The median time of each page in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        app = build(Path(directory))
        fill(app.store, size, 10 * size, size // 10)
        fill_activity(app.store, 10 * size)
        add_people(app)
        found = _medians(visitor(app, "admin"), pages(size))
        for who, login in OTHERS.items():
            urls = {f"{what}, {who}": url for what, url in pages(size).items() if url.split("?")[0] == "/repos"}
            found |= _medians(visitor(app, login), urls)
        return found


def _medians(client: Client, urls: dict[str, str]) -> dict[str, float]:
    found = {}
    for what, url in urls.items():
        assert client.get(url).status == 200, url
        found[what] = statistics.median(milliseconds(lambda u=url: client.get(u)) for _ in range(TIMES))
    return found


def growth() -> str:
    """Milliseconds of server time for each list page and size."""
    found = {size: measure_growth(size) for size in SIZES}
    lines = ["| list | " + " | ".join(f"{size:,} ms" for size in SIZES) + " |", "|---|" + "---:|" * len(SIZES)]
    for what in found[SIZES[0]]:
        lines.append(f"| {what} | " + " | ".join(f"{found[size][what]:.0f}" for size in SIZES) + " |")
    return "\n".join(lines)


def report(repositories: int = REPOSITORIES, tags: int = TAGS) -> str:
    with tempfile.TemporaryDirectory() as directory:
        app = build(Path(directory))
        fill(app.store, repositories, tags, min(LARGE, tags))
        add_people(app)
        return table(app)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="python -m tests.bench.lists")
    arguments.add_argument("--repositories", type=int, default=REPOSITORIES)
    arguments.add_argument("--tags", type=int, default=TAGS)
    arguments.add_argument("--growth", action="store_true", help="what `make bench` measures: stores of three sizes")
    wanted = arguments.parse_args()
    print(growth() if wanted.growth else report(wanted.repositories, wanted.tags))


if __name__ == "__main__":
    main()
