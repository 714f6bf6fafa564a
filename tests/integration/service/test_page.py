"""The page as a browser gets it: whole, from here alone, kept for ever where it cannot change."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import pytest

from models.bundle import load_bundle
from service.api.page.assets import WEB, Assets, MissingAssetsError
from tests.asgi_client import AppClient

ADDRESS = re.compile(r'(?:src|href)="(assets/[0-9a-f]{16}/[^"]+)"')


def test_the_page_names_every_network_with_its_accuracy(client: AppClient, artifacts: Path) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for kind in ("bn", "plain"):
        manifest = load_bundle(artifacts / f"tiny-{kind}-1.0.0").manifest
        assert f"tiny-{kind} 1.0.0" in answer.text
        assert f"{manifest.measured.test.accuracy:.2%}" in answer.text
    assert "{{" not in answer.text


def test_a_page_that_is_known_is_not_sent_again(client: AppClient) -> None:
    tag = client.get("/").headers["etag"]
    again = client.get("/", headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get("/", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_what_a_page_loads_is_there_and_kept_for_ever(client: AppClient, page: str) -> None:
    found = ADDRESS.findall(client.get(page).text)
    assert len(found) >= 3
    for address in found:
        answer = client.get(f"/{address}")
        assert answer.status_code == 200, address
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_module_imports_files_that_there_are() -> None:
    imported = re.compile(r'from ?"(\.[^"]+)"')
    modules = [path for path in WEB.rglob("*") if path.suffix in (".js", ".mjs")]
    addresses = [
        (module.parent / address).resolve()
        for module in modules
        if module.name != "swagger-ui-bundle.js"
        for address in imported.findall(module.read_text(encoding="utf-8"))
    ]
    assert len(addresses) > 10
    assert [path for path in addresses if not path.is_file()] == []


def test_files_are_compressed_for_those_who_can_read_it(client: AppClient) -> None:
    tree = Assets().tree
    plain = client.get(f"/assets/{tree}/js/app.js", headers={"accept-encoding": "identity"})
    packed = client.get(f"/assets/{tree}/js/app.js", headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    content = (WEB / "js" / "app.js").read_bytes()
    assert plain.content == content
    assert packed.content in (content, gzip.compress(content, 9, mtime=0))  # decoded or not


@pytest.mark.parametrize(
    "path", ["{tree}/js/gone.js", "0123456789abcdef/js/app.js", "{tree}/../assets.py", "{tree}/"]
)
def test_another_file_or_tree_is_not_found_and_not_kept(client: AppClient, path: str) -> None:
    answer = client.get(f"/assets/{path.format(tree=Assets().tree)}")
    assert (answer.status_code, answer.headers.get("cache-control", "no-store")) == (
        404,
        "no-store",
    )


def test_the_policy_lets_nothing_in_from_elsewhere_and_nothing_inline(client: AppClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert {value for name, value in rules.items() if name.endswith("-src")} == {"'none'", "'self'"}
    docs = client.get("/docs").headers["content-security-policy"]
    assert docs == policy.replace("img-src 'self'", "img-src 'self' data:")


def test_pages_have_no_inline_script_and_no_style() -> None:
    for page in ("index.html", "docs.html"):
        text = (WEB / page).read_text(encoding="utf-8")
        assert re.findall(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|https?://", text) == []


def test_redoc_leads_to_the_documentation(client: AppClient) -> None:
    answer = client.get("/redoc", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (308, "/docs")


def test_a_package_without_its_page_says_so(tmp_path: Path) -> None:
    with pytest.raises(MissingAssetsError, match=r"has no index\.html: the package was built"):
        Assets(tmp_path)


def test_the_tree_changes_with_any_file(tmp_path: Path) -> None:
    for name in ("index.html", "docs.html", "a.js"):
        (tmp_path / name).write_text(name)
    first = Assets(tmp_path)
    (tmp_path / "a.js").write_text("b")
    second = Assets(tmp_path)
    assert first.tree != second.tree
    assert first.find(second.tree, "a.js") is None
    found = second.find(second.tree, "a.js")
    assert found is not None
    assert hashlib.sha256(found.content).digest() == hashlib.sha256(b"b").digest()
