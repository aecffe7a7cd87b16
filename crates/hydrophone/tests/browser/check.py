"""Opens report and console in Chromium, as people do, in light and dark, wide and narrow.

Usage: check.py HYDROPHONE CHROMIUM CASE CONSOLE_URL STORE_URL SECURE_URL PICTURES
Ends with 1 and says what is wrong if anything is.
"""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

HYDROPHONE, CHROMIUM, CASE, URL, STORE_URL, SECURE_URL, PICTURES = sys.argv[1:8]
BASE = URL.split("/?")[0]
STORE = STORE_URL.split("/?")[0]
HOST = "10.20.0.13"
WRONG = []
# What the manual shows; the others are not kept.
SHOWN = {
    "story-1440-light", "host-1440-dark", "board-1440-light", "flow-1440-light", "packet-1440-light",
    "calendar-1440-light", "mail-volume-1440-light", "peers-1440-dark", "host-380-light", "network-1440-light", "remote-1440-light",
}
pictures = pathlib.Path(PICTURES)
pictures.mkdir(parents=True, exist_ok=True)


def wrong(what):
    WRONG.append(what)
    print("WRONG", what)


def check(holds, what):
    if not holds:
        wrong(what)


def picture(what, name):
    if name in SHOWN:
        what.screenshot(path=pictures / f"{name}.png")


def accessible(page, where):
    """No fault that axe calls serious or critical."""
    for v in Axe().run(page).response["violations"]:
        if v["impact"] in ("serious", "critical"):
            wrong(f"{where}: {v['id']}: {v['help']}: {[n['target'] for n in v['nodes']][:4]}")


def fits(page, where, width):
    wide = page.evaluate("document.documentElement.scrollWidth")
    check(wide <= width, f"{where}: {wide} pixels wide on a window of {width}")


def watch(page, where):
    """Nothing leaves the machine, and nothing is complained of."""
    def asked(request):
        if not request.url.startswith((BASE, STORE, SECURE_URL, "file:", "data:", "blob:")):
            wrong(f"{where}: asks for {request.url}")

    def said(message):
        if message.type in ("error", "warning"):
            wrong(f"{where}: console: {message.text}")

    page.on("request", asked)
    page.on("console", said)
    page.on("pageerror", lambda e: wrong(f"{where}: {e}"))


def report(page, name, width):
    page.goto(f"file://{CASE}/report.html")
    for heading in ("Hosts", "What the capture is worth", "Method and limits"):
        check(page.get_by_role("heading", name=heading, exact=True).count() == 1, f"report: no heading {heading}")
    check(page.locator(f"#host-{HOST.replace('.', '-')} svg").count() == 2, "report: lanes and waterfall of the bot")
    check(page.locator("script").count() == 0, "report: it has a script")
    fits(page, f"report {name}", width)
    accessible(page, f"report {name}")
    page.evaluate("document.querySelector('section.host').scrollIntoView()")
    picture(page, f"story-{name}")


def console(page, name, width):
    def at(where):
        fits(page, f"{where} {name}", width)
        accessible(page, f"{where} {name}")

    page.goto(URL)
    check("token" not in page.url, "console: the token stays in the address")
    expect(page.get_by_role("heading", name="Which hosts are bots?")).to_be_visible()
    at("board")
    picture(page, f"board-{name}")
    page.get_by_text("The network over time").first.click()
    expect(page.get_by_role("img", name="Bytes of each group of protocols")).to_be_visible()
    at("network")
    picture(page, f"network-{name}")

    # Keys: search, rows, help.
    page.keyboard.press("/")
    check(page.evaluate("document.activeElement.id") == "search", "keys: / goes to the search")
    page.keyboard.type("verdict:infected stage:act")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=verdict*")
    check(page.locator("tr[data-row]").count() == 1, "search: one host is infected")
    page.keyboard.press("j")
    check(page.evaluate("document.activeElement.textContent") == HOST, "keys: j goes to the first host")
    page.keyboard.press("?")
    expect(page.locator("dialog#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.goto(BASE + "/?q=stage:nonsense")
    expect(page.get_by_role("alert")).to_contain_text("nonsense")

    # Host → story → evidence → flow → packet.
    page.goto(BASE)
    page.get_by_role("link", name=HOST, exact=True).click()
    expect(page.locator("section.host .level").first).to_contain_text("dB")
    at("host")
    picture(page, f"host-{name}")
    page.locator("ol.story a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("probe")
    at("evidence")
    page.get_by_text("Expect this").click()
    expect(page.locator("pre").first).to_contain_text("[[expect]]")
    at("expect this")
    page.locator("a[href^='/flow/']").first.click()
    expect(page.locator("tr.marked").first).to_be_visible()
    at("flow")
    page.get_by_role("link", name="Follow the stream").click()
    expect(page.locator("#said ~ *").first).to_be_visible()
    page.locator("tr.marked a").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("packet")
    at("packet")

    # A packet whose payload was looked at.
    page.goto(f"{BASE}/host/{HOST}/web?q=detail:POST*")
    page.locator("a[href^='/packet/']").first.click()
    check(page.locator("pre.hex mark").count() > 16, "packet: nothing is marked")
    picture(page, f"packet-{name}")

    # Every other view.
    for view in ("flow", "dns?q=rcode:3", "web", "mail", "beacon", "mail-volume", "peers"):
        page.goto(f"{BASE}/host/{HOST}/{view}")
        at(view)
        picture(page, f"{view.split('?')[0]}-{name}")
    page.locator("tr[data-row] a[href^='/remote/']").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Who met")
    check(page.locator(f"a[href^='/host/{HOST}']").count() > 0, "remote: the host that met it is not there")
    at("remote")
    picture(page, f"remote-{name}")
    page.goto(f"{BASE}/host/{HOST}/web?q=kind:http")
    with page.expect_download() as got:
        page.get_by_role("link", name="CSV").click()
    check(got.value.suggested_filename.endswith("-web.csv"), "web: the table is not handed out as CSV")
    page.goto(f"{BASE}/host/{HOST}/flow?q=nonsense:1")
    expect(page.get_by_role("alert")).to_contain_text("no column")

    # The time zone applies everywhere, on axes too.
    page.goto(f"{BASE}/host/{HOST}")
    tick = page.locator("svg text[data-t]").first
    moment = page.locator("time").first
    before = (tick.text_content(), moment.text_content())
    page.select_option("#zone", "Asia/Tokyo")
    check(moment.text_content().endswith("+09:00"), f"zone: {moment.text_content()}")
    check(tick.text_content() != before[0], "zone: the axis stays as it was")
    utc = [t for t in page.locator("main time").all_text_contents() if t.endswith("Z")]
    check(not utc, f"zone: still in UTC: {utc[:3]}")
    page.goto(f"{BASE}/host/{HOST}/flow")
    check(page.locator("td time").first.text_content().endswith("+09:00"), "zone: it is forgotten on the next page")
    page.select_option("#zone", "UTC")

    # The brush goes into the address and the table follows.
    page.goto(f"{BASE}/host/{HOST}")
    box = page.locator("svg[data-from]").first.bounding_box()
    top = box["y"] + 8
    page.mouse.move(box["x"] + 120, top)
    page.mouse.down()
    page.mouse.move(box["x"] + 260, top, steps=6)
    page.mouse.up()
    page.wait_for_url("**from=*")
    expect(page.locator("p.warn").first).to_contain_text("Only from")
    page.get_by_role("link", name="flows", exact=True).last.click()
    check("from=" in page.url, "brush: the flows do not follow")
    count = lambda: int(page.locator("p.soft").first.text_content().split()[0].replace(",", ""))
    some = count()
    at_time = page.url.split("?")[1]
    page.get_by_role("link", name="Everything").click()
    check(some < count(), "brush: as many flows as without it")
    for view in ("beacon", "mail-volume", "peers", "dns", "web", "mail"):
        page.goto(f"{BASE}/host/{HOST}/{view}?{'&'.join(p for p in at_time.split('&') if p[0] in 'ft')}")
        expect(page.locator("p.warn").first).to_contain_text("Only from")

    # What somebody says is kept.
    page.goto(f"{BASE}/host/{HOST}")
    page.fill("input[name=who]", "Ada")
    page.select_option("select[name=state]", "escalated")
    page.fill("textarea[name=note]", f"<b>looked at</b> {name}")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#triage li").last).to_contain_text(f"<b>looked at</b> {name}")

    # The bundle is what verify says it is.
    with page.expect_download() as download:
        page.get_by_role("link", name="bundle").click()
    path = pictures / f"bundle-{name}.zip"
    download.value.save_as(path)
    done = subprocess.run([HYDROPHONE, "verify", str(path)], capture_output=True, text=True)
    check(done.returncode == 0, f"bundle: {done.stdout}{done.stderr}")
    with zipfile.ZipFile(path) as bundle:
        told = json.loads(bundle.read("manifest.json"))["notes"]
        check("xarf.json" not in bundle.namelist() and any("--source" in note for note in told), f"bundle: a private address is reported: {told}")
    path.unlink()


def days(page, name, width):
    """A store: hosts over days, and from a day to what the host did on it."""
    page.goto(STORE_URL)
    page.get_by_role("link", name="days", exact=True).click()
    row = page.locator("tr", has=page.get_by_role("rowheader", name=HOST, exact=True))
    texts = row.locator("td").all_text_contents()
    check([t[:1] for t in texts] == ["I", "I", "I", "", "I"], f"calendar: the bot's days are {texts}")
    check(page.locator("tbody td", has_text="·").count() == 0, "calendar: a host of which nothing was told")
    fits(page, f"calendar {name}", width)
    accessible(page, f"calendar {name}")
    picture(page, f"calendar-{name}")
    row.locator("td a").nth(1).click()
    expect(page.locator("p.warn").first).to_contain_text("Only from 2008-04-09")
    check(page.locator("table.days").count() == 1, "calendar: the host's own days")
    page.fill("input[name=who]", "Ada")
    page.get_by_role("button", name="Keep").click()
    page.goto(f"{STORE}/calendar?q=verdict:quiet")
    expect(page.locator("p.soft").first).to_contain_text("hosts, of which something was told")
    page.goto(f"{STORE}/calendar?q=colour:red")
    expect(page.get_by_role("alert")).to_contain_text("nothing to search for")


def handed_over():
    """A bundle for an abuse desk."""
    path = pictures / "bundle.zip"
    made = [HYDROPHONE, "bundle", CASE, HOST, "-o", str(path), "--source", "203.0.113.9"]
    done = subprocess.run(made, capture_output=True, text=True)
    check(done.returncode == 0, f"bundle: {done.stdout}{done.stderr}")
    schemas(path)
    path.unlink()


def beyond(browser):
    """The console of a name and a password, over TLS: what is said of a host is said by whoever has come in."""
    def known_as(**credentials):
        context = browser.new_context(ignore_https_errors=True, http_credentials=credentials or None)
        return context

    for credentials in ({}, {"username": "anna", "password": "wrong"}):
        context = known_as(**credentials)
        check(context.request.get(SECURE_URL).status == 401, f"with {credentials} somebody came in")
        context.close()
    context = known_as(username="anna", password="listening: all day")
    page = context.new_page()
    watch(page, "beyond")
    page.goto(SECURE_URL)
    page.get_by_role("link", name=HOST, exact=True).click()
    who = page.locator("form.triage input[name=who]")
    check((who.input_value(), who.get_attribute("readonly")) == ("anna", ""), "it does not know who came in")
    page.evaluate("document.querySelector('form.triage input[name=who]').value = 'boss'")
    page.locator("form.triage textarea").fill("taken off the network")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("#triage li").last).to_contain_text("by anna")
    context.close()


def printed(page):
    """Who prints the report has two pages of it: the answer, and what the host did."""
    page.goto(f"file://{CASE}/report.html")
    pages = re.findall(rb"/Type\s*/Page[^s]", page.pdf(format="A4"))
    check(0 < len(pages) <= 2, f"report: {len(pages)} pages in print")


def schemas(path):
    """STIX against its schema, XARF against its schema, the mail against the parts that RFC 5965 asks for."""
    import email
    import email.policy

    import jsonschema
    import referencing
    import stix2validator
    import xarf

    with zipfile.ZipFile(path) as bundle:
        stix = bundle.read("stix.json").decode()
        report = json.loads(bundle.read("xarf.json"))
        mail = email.message_from_bytes(bundle.read("abuse.eml"), policy=email.policy.default)
    result = stix2validator.validate_string(stix, stix2validator.ValidationOptions(version="2.1"))
    if not result.is_valid:
        wrong(f"STIX: {[str(e) for e in result.errors][:4]}")
    folder = pathlib.Path(xarf.__file__).parent / "schemas"
    registry = referencing.Registry()
    for file in folder.rglob("*.json"):
        resource = referencing.Resource.from_contents(json.loads(file.read_text()))
        registry = registry.with_resource(resource.id() or file.name, resource)
    schema = json.loads((folder / "types" / "infrastructure-botnet.json").read_text())
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    for e in jsonschema.Draft202012Validator(schema, registry=registry, format_checker=checker).iter_errors(report):
        wrong(f"XARF: {e.message}")
    kinds = [p.get_content_type() for p in mail.iter_parts()]
    check(mail.get_content_type() == "multipart/report" and "message/feedback-report" in kinds, f"mail: {kinds}")
    check(mail["Date"] is not None and mail["Date"].datetime is not None, "mail: no date")
    check(mail.get_param("report-type", header="content-type") == "feedback-report", "mail: no report-type")


def ocsf():
    """Detection Findings against the published model of their class."""
    from py_ocsf_models.events.findings.detection_finding import DetectionFinding

    samples = pathlib.Path(__file__).parents[4] / "samples"
    said = subprocess.run(
        [HYDROPHONE, "read", samples / "kraken-new.pcapng", samples / "kraken-mutated.pcapng", "--format", "ocsf", "--quiet"],
        capture_output=True, text=True, check=True,
    ).stdout
    findings = [line for line in map(json.loads, said.splitlines()) if line["class_uid"] == 2004]
    check(len(findings) >= 1, "OCSF: no finding")
    for finding in findings:
        try:
            DetectionFinding.model_validate(finding)
        except ValueError as e:
            wrong(f"OCSF: {e}")


ocsf()
handed_over()
with sync_playwright() as p:
    browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
    for width, scheme in ((1440, "light"), (1440, "dark"), (380, "light"), (380, "dark")):
        name = f"{width}-{scheme}"
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, timezone_id="Europe/Berlin", accept_downloads=True
        )
        stranger = context.new_page()
        stranger.goto(BASE)
        check("token" in stranger.inner_text("body"), "console: without the token somebody came in")
        stranger.close()
        page = context.new_page()
        watch(page, name)
        report(page, name, width)
        console(page, name, width)
        days(page, name, width)
        if name == "1440-light":
            printed(page)
        context.close()
    beyond(browser)
    browser.close()
print(f"{len(WRONG)} things are wrong" if WRONG else "everything is as it should be")
sys.exit(1 if WRONG else 0)
