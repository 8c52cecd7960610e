"""The page's files as the server sends them."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from sam3_tvm.serve import Access
from tests.serve.conftest import client, model, serving  # noqa: F401 - fixtures

NAMES = sorted(one.name for one in (resources.files("sam3_tvm.serve") / "page").iterdir())

TYPES = {"css": "text/css", "html": "text/html", "js": "text/javascript", "svg": "image/svg+xml"}


def test_the_page_may_load_from_its_server_alone(client):  # noqa: F811
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)=.https?:", answer.text)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_its_type_and_is_sent_once(client, name):  # noqa: F811
    answer = client.get(f"/page/{name}")
    assert answer.headers["content-type"].startswith(TYPES[name.rpartition(".")[2]])
    assert answer.headers["x-content-type-options"] == "nosniff"
    tag = answer.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}'):
        again = client.get(f"/page/{name}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/page/{name}", headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize("name", ["app.py", "..%2Fapp.py", "%2e%2e/app.py", "index.htm", ""])
def test_nothing_else_is_a_file_of_the_page(client, name):  # noqa: F811
    assert client.get(f"/page/{name}").status_code == 404


def test_every_file_that_is_named_is_there():
    folder = resources.files("sam3_tvm.serve") / "page"
    for name in NAMES:
        text = (folder / name).read_text()
        for named in re.findall(r'from "\./([^"]+)"|"/page/([^"]+)"', text):
            assert (named[0] or named[1]) in NAMES, name


def test_with_a_token_the_page_is_open_and_what_it_asks_is_not(serving):  # noqa: F811
    with serving(access=Access("secret", local=False)) as asking:
        assert asking.get("/").status_code == 200
        assert asking.get("/page/main.js").status_code == 200
        assert asking.get("/v1").status_code == 401
