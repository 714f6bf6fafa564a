"""Trying pictures as a reader does: the numbers on screen are those of the API."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from models.bundle import load_bundle
from models.preprocessing import preprocess
from tests.e2e.page.conftest import ROOT, OpenPage, serve

pytestmark = pytest.mark.systems
AXE = (Path(__file__).with_name("axe.min.js")).read_text(encoding="utf-8")
EXAMPLES = ROOT / "service" / "api" / "page" / "web" / "examples"
MAX_FIRST_VIEW_BYTES = 150_000
MAX_LAYOUT_SHIFT = 0.05
# Gives a file to the page as a drop or a paste does.
GIVE = """([kind, bytes, name, type]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
  const event = kind === "drop"
    ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
    : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph-sized picture of one of the test images, as a JPEG turned by its EXIF."""
    image = Image.open(EXAMPLES / "ship.png").resize((480, 480)).crop((0, 60, 480, 420))
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.jpg"
    image.save(path, exif=exif)
    return path


def answers_on_screen(page: Page, cards: int = 1) -> dict[str, list[tuple[str, str]]]:
    """What the newest card shows: by network the labels and percentages."""
    expect(page.locator(".card")).to_have_count(cards)
    card = page.locator(".card").first
    expect(card.locator(".answer").first).to_be_visible()
    found = {}
    for answer in card.locator(".answer").all():
        name = answer.locator("h4").inner_text().split()[0]
        rows = answer.locator("li").all()
        found[name] = [
            (row.locator(".label").inner_text(), row.locator(".number").inner_text())
            for row in rows
        ]
    return found


def answers_of_the_api(server: str, content: bytes, kind: str, names: list[str]) -> dict:
    answer = httpx.post(
        f"{server}/v1/compare?models={','.join(names)}",
        content=content,
        headers={"Content-Type": kind},
    ).json()
    return {
        one["model"]["name"]: [
            (top["label"], f"{100 * top['probability']:.1f}%")
            for top in one["predictions"][0]["top"]
        ]
        for one in answer["models"]
    }


@pytest.mark.parametrize("way", ["file", "drop", "paste", "example"])
def test_a_picture_is_answered_by_every_network_as_by_the_api(
    server: str, open_page: OpenPage, photo: Path, way: str
) -> None:
    page, content, kind = open_page(server), photo.read_bytes(), "image/jpeg"
    page.get_by_text("Try a picture").wait_for()
    if way == "file":
        page.locator("input[multiple]").set_input_files(photo)
    elif way == "example":
        content, kind = (EXAMPLES / "frog.png").read_bytes(), "image/png"
        page.get_by_role("button", name="Example: frog").click()
    else:
        page.evaluate(GIVE, [way, list(content), "photo.jpg", kind])
    shown = answers_on_screen(page)
    assert list(shown) == ["keras-bn", "air-tiny", "air94", "keras-baseline"]
    assert shown == answers_of_the_api(server, content, kind, list(shown))
    if way == "example":
        assert page.locator("h3").inner_text() == "frog.png it is: frog"


def test_what_the_networks_see_is_shown_as_their_decoder_gives_it(
    server: str, open_page: OpenPage, photo: Path
) -> None:
    page = open_page(server)
    page.locator("input[multiple]").set_input_files(photo)
    answers_on_screen(page)
    shown = page.locator("canvas.pixels").evaluate(
        "(canvas) => [...canvas.getContext('2d')"
        ".getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    manifest = load_bundle(ROOT / "models" / "artifacts" / "keras-bn-1.1.0").manifest
    with Image.open(photo) as image:
        expected = preprocess(image, manifest.input)
    assert np.array_equal(np.array(shown).reshape(32, 32, 4)[..., :3], expected)


def test_networks_are_chosen_and_the_address_keeps_them(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    page.get_by_label("air94", exact=True).uncheck()
    page.get_by_label("keras-bn-unfolded").check()
    assert page.url.endswith(
        "#/try?models=keras-bn%2Cair-tiny%2Ckeras-baseline%2Ckeras-bn-unfolded"
    )
    page.reload()
    page.get_by_role("button", name="Example: cat").click()
    shown = answers_on_screen(page)
    assert list(shown) == ["keras-bn", "air-tiny", "keras-baseline", "keras-bn-unfolded"]
    assert shown["keras-bn"] == shown["keras-bn-unfolded"]


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"no picture", "notes.png", "Undecodable image"),
        (b"\0" * (16 * 2**20 + 1), "large.bmp", "at most 16,777,216"),
        (b"\0\0\0\x18ftypheic", "phone.heic", "send an intact PNG, JPEG"),
    ],
)
def test_a_file_at_fault_gets_the_service_s_own_words_beside_it(
    server: str, open_page: OpenPage, tmp_path: Path, content: bytes, name: str, says: str
) -> None:
    page = open_page(server)
    (tmp_path / name).write_bytes(content)
    page.locator("input[multiple]").set_input_files(tmp_path / name)
    page.get_by_role("button", name="Example: dog").click()
    expect(page.locator(".card .error")).to_contain_text(re.compile(says, re.IGNORECASE))
    expect(page.locator(".card .answer").first).to_be_visible()  # the other one is answered


def test_the_request_is_given_for_a_program_and_works(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    page.get_by_text("The same request by a program").click()
    code = page.locator(".snippets code").all_inner_texts()[1]
    url = re.search(r'"(http[^"]+)"', code)
    assert url is not None
    answer = httpx.post(
        url[1],
        content=(EXAMPLES / "frog.png").read_bytes(),
        headers={"Content-Type": "image/png"},
    )
    names = [one["model"]["name"] for one in answer.json()["models"]]
    assert names == ["keras-bn", "air-tiny", "air94", "keras-baseline"]


def test_by_keyboard_alone(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    page.get_by_text("Try a picture").wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.ariaLabel") == "Example: horse":
            break
    page.keyboard.press("Enter")
    assert list(answers_on_screen(page)) == ["keras-bn", "air-tiny", "air94", "keras-baseline"]
    expect(page.locator("p.hidden[role=status]")).to_contain_text("horse.png: keras-bn says")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(server: str, open_page: OpenPage, scheme: str) -> None:
    page = open_page(server, color_scheme=scheme)
    page.get_by_role("button", name="Example: bird").click()
    answers_on_screen(page)
    page.get_by_text("The same request by a program").click()
    page.evaluate(f"{AXE};0")
    found = page.evaluate("() => axe.run(document).then((result) => result.violations)")
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_the_first_view_is_small_and_does_not_jump(server: str, open_page: OpenPage) -> None:
    page = open_page(server)
    page.get_by_role("button", name="Example: truck").wait_for()
    page.wait_for_load_state("networkidle")
    bytes_sent = page.evaluate(
        "() => [...performance.getEntriesByType('resource'), "
        "...performance.getEntriesByType('navigation')]"
        ".reduce((sum, entry) => sum + entry.encodedBodySize, 0)"
    )
    assert 20_000 < bytes_sent < MAX_FIRST_VIEW_BYTES
    shift = page.evaluate(
        "() => new Promise((done) => new PerformanceObserver((list) => "
        "done(list.getEntries().reduce((sum, entry) => sum + entry.value, 0)))"
        ".observe({ type: 'layout-shift', buffered: true }) || setTimeout(() => done(0), 500))"
    )
    assert shift <= MAX_LAYOUT_SHIFT


def test_without_scripts_the_numbers_are_there(server: str, open_page: OpenPage) -> None:
    page = open_page(server, java_script_enabled=False)
    row = page.get_by_role("row", name=re.compile("keras-bn 1"))
    test = load_bundle(ROOT / "models" / "artifacts" / "keras-bn-1.1.0").manifest.measured.test
    low, high = test.accuracy_interval_95
    expect(row).to_contain_text(f"{test.accuracy:.2%} ({low:.2%} to {high:.2%})")
    expect(page.get_by_text("Trying a picture needs JavaScript")).to_be_visible()


def test_a_server_of_one_network_answers_too(tmp_path: Path, open_page: OpenPage) -> None:
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "keras-baseline-1.1.0").symlink_to(
        ROOT / "models" / "artifacts" / "keras-baseline-1.1.0"
    )
    with serve(tmp_path, folder) as process:
        page = open_page(process.wait_for("serving")["url"])
        for name in ("keras-baseline-int8",):
            page.get_by_label(name).uncheck()
        page.get_by_role("button", name="Example: deer").click()
        assert list(answers_on_screen(page)) == ["keras-baseline"]


def test_two_versions_of_a_network_and_labels_of_any_kind_stand_side_by_side(
    tmp_path: Path, open_page: OpenPage
) -> None:
    source = ROOT / "models" / "artifacts" / "keras-baseline-1.1.0"
    hostile = "<img src=x onerror=alert(1)>"
    for version in ("1.1.0", "1.0.0"):
        copy = tmp_path / "artifacts" / f"keras-baseline-{version}"
        shutil.copytree(source, copy)
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["version"] = version
        manifest["labels"][4] = hostile
        (copy / "manifest.json").write_text(json.dumps(manifest))
    with serve(tmp_path, tmp_path / "artifacts") as process:
        page = open_page(f"{process.wait_for('serving')['url']}/#/try")
        page.get_by_label("keras-baseline@1.0.0", exact=True).check()
        page.get_by_role("button", name="Example: deer").click()
        shown = answers_on_screen(page)
        assert list(shown) == ["keras-baseline", "keras-baseline@1.0.0"]
        assert shown["keras-baseline"] == shown["keras-baseline@1.0.0"]
        assert hostile in {label for label, _ in shown["keras-baseline"]}


def test_the_documentation_is_drawn_from_the_package(server: str, open_page: OpenPage) -> None:
    page = open_page(f"{server}/docs")
    expect(page.get_by_text("/v1/predict", exact=True)).to_be_visible()
    assert httpx.get(f"{server}/redoc").headers["location"] == "/docs"


def test_photographs_of_every_kind_are_answered(server: str, open_page: OpenPage) -> None:
    page, image = open_page(server), Image.open(EXAMPLES / "cat.png").resize((90, 70))
    files = []
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "GIF"):
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, kind)
        files.append(
            {
                "name": f"cat.{kind.lower()}",
                "mimeType": f"image/{kind.lower()}",
                "buffer": buffer.getvalue(),
            }
        )
    page.locator("input[multiple]").set_input_files(files)
    expect(page.locator(".card .answer")).to_have_count(4 * len(files))
