"""What orchestrators ask: is it alive, can it do its work?"""


def test_without_the_registry_it_is_ready_and_says_so(client, app):
    assert (client.get("/readyz").status, client.get("/readyz").text) == (200, "ok\n")
    app.health.check()
    assert (client.get("/readyz").status, client.get("/readyz").text) == (200, "ok, registry away\n")


def test_without_its_store_it_lives_but_is_not_ready(client, app, caplog):
    app.store.database.execute("DROP TABLE revision")
    answer = client.get("/readyz")
    assert (answer.status, answer.text) == (503, "store\n")
    assert "not ready, the store does not answer: no such table: revision" in caplog.text
    answer = client.get("/healthz")
    assert (answer.status, answer.text) == (200, "ok\n")
    assert answer.header("Content-Type") == "text/plain; charset=utf-8"
    assert answer.header("Cache-Control") == "no-store"
