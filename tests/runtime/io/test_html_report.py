"""The page: whole, alone in one file, and working in a browser."""

from __future__ import annotations

import base64
import html
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from deepmask.runtime.io.html_report import HtmlReport, picture_section
from deepmask.runtime.io.overlay import colour
from deepmask.runtime.io.results import ResultsError
from deepmask.runtime.io.written import RECORD, Written
from tests.runtime.io.blobs import encoded

_NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, _NAMES)), "")
NASTY = '</script><b>&"\u2028\udc80'
#: Appended to a page: does what a person does, and leaves what is seen in the page's `<pre>`.
_PERSON = """
<script>
{
const seen = {};
const press = key => document.body.dispatchEvent(new KeyboardEvent("keydown",
  {key, bubbles: true, cancelable: true}));
const shown = kind => [...document.querySelectorAll(kind)]
  .filter(each => !each.classList.contains("hidden")).map(each => each.dataset.number);
const marked = () => [...document.querySelectorAll(".on")].map(each => each.dataset.number);
const count = () => document.getElementById("count").textContent;
const name = () => document.getElementById("name").textContent;
function walk() {
  seen.options = document.getElementById("pictures").length;
  seen.first = [name(), shown("path"), shown("li"), count()];
  const photo = document.getElementById("photo").getBoundingClientRect();
  seen.size = [photo.width / photo.height, photo.width > 300];
  const at = (x, y) => document.elementFromPoint(photo.left + x * photo.width,
                                                 photo.top + y * photo.height);
  seen.under = [at(.25, .25), at(.6, .6), at(.9, .1)].map(each => each.dataset.number ?? "none");
  at(.25, .25).dispatchEvent(new PointerEvent("pointerenter"));
  seen.entered = marked();
  at(.25, .25).dispatchEvent(new PointerEvent("pointerleave"));
  seen.left = marked();
  press("ArrowDown"); press("ArrowDown");
  seen.down = marked();
  press("ArrowUp"); press("ArrowUp");
  seen.around = marked();
  const slider = document.getElementById("score");
  slider.value = .7;
  slider.dispatchEvent(new Event("input"));
  seen.filtered = [shown("path"), shown("li"), count(), marked()];
  press("ArrowRight");
  seen.second = [name(), shown("li"), count()];
  press("ArrowRight");
  seen.end = name();
  document.getElementById("before").click();
  seen.back = [name(), shown("li")];
  press("h");
  seen.bare = getComputedStyle(document.querySelector("path")).opacity;
  press("h");
}
window.addEventListener("load", () => setTimeout(() => {
  try { walk(); } catch (error) { seen.error = String(error.stack); }
  document.body.innerHTML = "<pre></pre>";
  document.querySelector("pre").textContent = JSON.stringify(seen);
}, 300));
}
</script>
"""


def picture(width: int = 200, height: int = 100) -> npt.NDArray[np.uint8]:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows, columns, rows + columns], axis=2).astype(np.uint8)


def two_masks() -> list[Any]:
    """A large one, and a small one inside of it that ranks first."""
    large, small = np.zeros((2, 100, 200), np.bool_)
    large[10:90, 20:140] = True
    small[15:35, 40:60] = True
    return [encoded(small), encoded(large)]


def write_page(path: Path) -> None:
    scores = np.array([0.8, 0.6], np.float32)
    with HtmlReport(path) as page:
        page.add(picture_section("first.jpg", picture(), two_masks(), scores))
        page.add(picture_section(NASTY, picture(), two_masks()[:1], scores[:1]))


def pictures_in(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return [json.loads(part) for part in re.findall(r'class="picture".*?>(.*)</script>', text)]


def test_a_page_holds_its_pictures_and_needs_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "new" / "report.html"
    write_page(page)
    first, second = pictures_in(page)
    assert (first["name"], second["name"]) == ("first.jpg", NASTY)
    assert (first["width"], first["height"]) == (200, 100)
    assert [one["number"] for one in first["objects"]] == [1, 2]
    assert [one["score"] for one in first["objects"]] == pytest.approx([0.8, 0.6])
    assert [one["area"] for one in first["objects"]] == [400, 9600]
    assert first["objects"][0]["path"].startswith("M")
    assert first["objects"][1]["colour"] == "rgb({},{},{})".format(*colour(1).astype(int))
    data = base64.b64decode(first["source"].removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as inside:
        assert inside.size == (200, 100)
    text = page.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[\w./]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in text
    assert Written().has(page)
    assert {one.name for one in page.parent.iterdir()} == {page.name, RECORD}


def test_large_pictures_are_made_smaller(tmp_path: Path) -> None:
    nothing = np.empty(0, np.float32)
    section = picture_section("a", picture(3000, 900), [], nothing)
    found = re.search(r"base64,([^\"]*)", section)
    assert found is not None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as inside:
        assert inside.size == (1400, 420)


def test_a_page_that_was_cut_short_is_whole(tmp_path: Path) -> None:
    page = tmp_path / "report.html"

    def interrupted() -> None:
        with HtmlReport(page) as report:
            report.add(picture_section("a", picture(), two_masks(), np.ones(2, np.float32)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pictures_in(page)) == 1
    assert page.read_text(encoding="utf-8").endswith("</html>\n")
    with HtmlReport(tmp_path / "none.html"):
        pass
    assert {one.name for one in tmp_path.iterdir()} == {page.name, RECORD}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot be written"):
        HtmlReport(tmp_path / "file" / "report.html")


@pytest.mark.skipif(not BROWSER, reason="no chromium here (apt install chromium)")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_page(page)
    page.write_text(page.read_text(encoding="utf-8") + _PERSON, encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'u'}"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"]
    done = subprocess.run(
        [BROWSER, *options, *offline, "--window-size=1200,700", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = re.search(r"<pre>({.*})</pre>", done.stdout)
    assert found is not None, done.stdout[-2000:] + done.stderr[-2000:]
    seen = json.loads(html.unescape(found[1]))
    assert "error" not in seen, seen["error"]
    assert seen["options"] == 2
    assert seen["first"] == ["first.jpg", ["2", "1"], ["1", "2"], "2 of 2 objects"]
    assert seen["size"] == [pytest.approx(2, abs=0.01), True]
    assert seen["under"] == ["1", "2", "none"]  # the small one lies on top of the large one
    assert seen["entered"] == ["1", "1"]
    assert seen["left"] == []
    assert seen["down"] == ["2", "2"]
    assert seen["around"] == ["2", "2"]
    assert seen["filtered"] == [["1"], ["1"], "1 of 2 objects", []]
    assert seen["second"] == [NASTY, ["1"], "1 of 1 objects"]
    assert seen["end"] == NASTY
    assert seen["back"] == ["first.jpg", ["1"]]
    assert seen["bare"] == "0"
