# SPDX-License-Identifier: Apache-2.0
"""The report: a page that a browser shows without a network, whatever the names in it.

    web .1 (VM <script>)     db .3
      |                        |
    --+------------------------+--  network lan, VLAN 10
"""

import html.parser
import shutil
import subprocess

import pytest

from host import TcpServer

POLICY = """\
zones:
  web: {match: "zone=web"}
  db: {match: "zone=db"}
policies:
  - id: shop
    rules:
      - {id: web-to-db, from: web, to: db, service: tcp/5432, action: allow, log: session}
      - {id: never-used, from: db, to: web, service: tcp/1, action: allow}
baseline: {between_zones: deny, within_zone: allow, log: denied}
"""

HOSTILE = "<script>document.title='owned'</script><img src=http://192.0.2.1/x onerror=alert(1)>\"'&"


class Page(html.parser.HTMLParser):
    """What a page consists of: its elements, their attributes, and the text of each section."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.attributes, self.sections, self.section = [], [], {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs
        if tag == "section":
            self.section = dict(attrs)["id"]

    def handle_data(self, data):
        self.sections[self.section] = self.sections.get(self.section, "") + data + " "


@pytest.fixture(scope="module")
def site(shared):
    switch = shared
    switch.add_network()
    switch.policy(POLICY)
    web = switch.host("web", 1, port_options={"vm_name": HOSTILE})
    db = switch.host("db", 3)
    web.knows(db)
    db.knows(web)
    with TcpServer(db, 5432):
        for version in (4, 6):
            web.connect(db.address(version), 5432).close()
            assert not web.can_connect(db.address(version), 22, 0.3)
    switch.cordon("conn", "flush", "--all")
    switch.wait_log(count=2, kind="end", rule="web-to-db")
    switch.wait_log(count=2, kind="denied", destination_transport_port=22)
    return switch


def shown(path, tmp_path):
    """The page as Chromium has it, in a namespace of its own that has no network."""
    browser = shutil.which("chromium")
    assert browser, "the package chromium is missing"
    result = subprocess.run(["unshare", "--net", browser, "--headless", "--no-sandbox", "--disable-gpu",
                             f"--user-data-dir={tmp_path}/browser", "--dump-dom", f"file://{path}"],
                            capture_output=True, text=True, timeout=60, check=True)
    return result.stdout


def test_a_browser_shows_it_without_a_network(site, tmp_path):
    path = tmp_path / "report.html"
    assert "open it with a browser" in site.try_cordon("report", "-o", path, "--since", "10m").stderr
    text = path.read_text(encoding="utf-8")
    dom = shown(path, tmp_path)
    page = Page(dom)
    assert "Traffic report" in page.sections[""] and "revision 1" in page.sections[""]
    assert {"zones", "denials", "talkers", "new", "spoofed", "simulated", "unused", "gaps"} <= set(page.sections)
    assert page.elements.count("svg") == 2, "the matrix and the denials over time"
    assert "web to db: 2 allowed, 2 denied" in page.sections["zones"]
    assert "2 attempts, in bars" in page.sections["denials"]
    assert "shop/never-used" in page.sections["unused"] and "shop/web-to-db" not in page.sections["unused"]
    assert "There are no gaps." in page.sections["gaps"] and "Nobody." in page.sections["spoofed"]
    # The browser has read what was written, and nothing else.
    assert Page(text).elements == [one for one in page.elements if one != "colgroup"]


def test_names_stay_text_and_nothing_is_fetched(site, tmp_path):
    path = tmp_path / "report.html"
    site.cordon("report", "-o", path)
    text = path.read_text(encoding="utf-8")
    page = Page(shown(path, tmp_path))
    assert HOSTILE in " ".join(page.sections.values()), "as it is, to be read"
    assert not {"script", "img", "link", "iframe", "object", "embed", "a", "form", "base"} & set(page.elements)
    names = {name for name, _ in page.attributes}
    assert not {"src", "href", "style", "xlink:href", "srcset"} & names and not any(name.startswith("on") for name in names)
    assert "url(" not in text and "@import" not in text
    assert "default-src 'none'" in dict(page.attributes).get("content", "") or "default-src 'none'" in text


def test_no_traffic_no_log_and_no_place_to_write(site, tmp_path):
    path = tmp_path / "report.html"
    result = site.try_cordon("report", "-o", path, "--since", "2h", "--until", "1h")
    assert result.returncode == 0 and "nothing of this time" in result.stderr
    assert "Nothing was recorded." in path.read_text(encoding="utf-8")
    path.unlink()
    result = site.try_cordon("report", "-o", path, "--directory", tmp_path / "none")
    assert result.returncode == 3 and "none: No such file" in result.stderr and not path.exists()
    (tmp_path / "empty").mkdir()
    site.cordon("report", "-o", path, "--directory", tmp_path / "empty")
    assert "Nothing was recorded." in path.read_text(encoding="utf-8")
    assert site.try_cordon("report").returncode == 2
    assert site.try_cordon("report", "-o", path, "--since", "1h", "--until", "2h").returncode == 2
    result = site.try_cordon("report", "-o", tmp_path / "none" / "report.html")
    assert result.returncode == 1 and "No such file" in result.stderr
    assert site.cordon("report", "-o", "-").startswith("<!DOCTYPE html>")


def test_of_one_zone(site, tmp_path):
    path = tmp_path / "report.html"
    site.cordon("report", "-o", path, "--zone", "db")
    assert "zone db" in path.read_text(encoding="utf-8")
    site.cordon("report", "-o", path, "--zone", "nowhere")
    assert "Nothing was recorded." in path.read_text(encoding="utf-8")
