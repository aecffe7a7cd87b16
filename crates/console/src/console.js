// What only a script can do: keys, copying, time zones, the brush. Everything else works without it.
"use strict";
(() => {
  const all = (what, of = document) => Array.from(of.querySelectorAll(what));
  const said = document.getElementById("said");

  // Time zones: every moment carries its UTC; it is written anew in the zone that was chosen, on axes too.
  const zone = document.getElementById("zone");
  const pad = (n, w = 2) => String(n).padStart(w, "0");
  const write = (at, form, name) => {
    const utc = at.getAttribute("datetime") || at.getAttribute("data-t");
    const date = new Date(utc);
    if (Number.isNaN(date.getTime())) return;
    if (!at.dataset.utc) at.dataset.utc = at.textContent;
    if (name === "UTC") { at.textContent = at.dataset.utc; return; }
    const parts = {};
    new Intl.DateTimeFormat("en-GB", { timeZone: name, hourCycle: "h23", year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "longOffset" })
      .formatToParts(date).forEach(p => { parts[p.type] = p.value; });
    const offset = parts.timeZoneName.replace("GMT", "") || "+00:00";
    const time = `${parts.hour}:${parts.minute}:${parts.second}`;
    const day = `${parts.month}-${parts.day}`;
    const fraction = (utc.match(/\.(\d+)Z$/) || ["", ""])[1];
    at.textContent = form === "time" ? time + (at.tagName === "TIME" ? offset : "")
      : form === "minute" ? `${day} ${parts.hour}:${parts.minute}`
      : form === "year" ? `${parts.year}-${day} ${time}${offset}`
      : form === "day" ? `${day} ${time}${offset}`
      : `${parts.year}-${day}T${time}${fraction ? "." + fraction : ""}${offset}`;
  };
  const apply = name => {
    all("time[datetime], text[data-t]").forEach(at => write(at, at.dataset.form, name));
    document.documentElement.dataset.zone = name;
  };
  if (zone) {
    const here = Intl.DateTimeFormat().resolvedOptions().timeZone;
    const known = typeof Intl.supportedValuesOf === "function" ? Intl.supportedValuesOf("timeZone") : [];
    [here, ...known].filter((n, i, list) => n && n !== "UTC" && list.indexOf(n) === i).forEach(n => {
      const option = document.createElement("option");
      option.value = option.textContent = n;
      zone.append(option);
    });
    let kept = "UTC";
    try { kept = localStorage.getItem("zone") || "UTC"; } catch { /* not kept then */ }
    zone.value = kept;
    if (zone.value !== kept) zone.value = "UTC";
    apply(zone.value);
    zone.addEventListener("change", () => {
      try { localStorage.setItem("zone", zone.value); } catch { /* not kept then */ }
      apply(zone.value);
    });
  }

  // A running sensor says how it goes; a page that has become old is made anew, unless somebody writes in it.
  const goes = document.getElementById("goes");
  if (goes) {
    let events = null;
    const writes = () => all("textarea, input").some(field => field.value !== field.defaultValue) || document.activeElement.matches("input, textarea, select");
    const tell = event => {
      const told = JSON.parse(event.data);
      goes.parentElement.classList.remove("gone");
      goes.textContent = told.line;
      if (told.mark === goes.dataset.mark) return;
      if (writes()) document.getElementById("anew").hidden = false;
      else location.reload();
    };
    const gone = () => { goes.parentElement.classList.add("gone"); goes.textContent = "the console is gone: this page stands still"; };
    // A browser has few connections to a host: only the page that is looked at holds one.
    const listen = () => {
      if (document.hidden) { if (events) events.close(); events = null; return; }
      if (events) return;
      events = new EventSource("/events");
      events.onmessage = tell;
      events.onerror = gone;
    };
    document.addEventListener("visibilitychange", listen);
    listen();
  }

  // Copying.
  document.addEventListener("click", event => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const done = () => { said.textContent = "copied"; button.textContent = "copied"; };
    navigator.clipboard.writeText(button.dataset.copy).then(done, () => { window.prompt("copy", button.dataset.copy); });
  });

  // Keys.
  const keys = document.getElementById("keys");
  let row = -1;
  const go = to => {
    const rows = all("[data-row]");
    if (rows.length === 0) return;
    rows.forEach(r => r.classList.remove("here"));
    row = Math.max(0, Math.min(rows.length - 1, to));
    const now = rows[row];
    now.classList.add("here");
    const link = now.matches("a") ? now : now.querySelector('a[href^="/flow/"]') || now.querySelector("a");
    if (link) link.focus({ preventScroll: true });
    now.scrollIntoView({ block: "nearest" });
  };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input, textarea, select");
    if (event.key === "Escape" && typing) { event.target.blur(); return; }
    if (typing) return;
    const search = document.getElementById("search");
    if (event.key === "j") go(row + 1);
    else if (event.key === "k") go(row - 1);
    else if (event.key === "/" && search) { event.preventDefault(); search.focus(); search.select(); }
    else if (event.key === "?" && keys) keys.showModal();
    else if (event.key === "b") location.href = "/";
  });

  // The brush: a time chosen over the lanes goes into the address, and everything follows it.
  all("[data-brush] svg[data-from]").forEach(svg => {
    const [left, right] = [Number(svg.dataset.left), Number(svg.dataset.right)];
    const [from, to] = [BigInt(svg.dataset.from), BigInt(svg.dataset.to)];
    const x = event => {
      const box = svg.getBoundingClientRect();
      const at = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      return Math.max(left, Math.min(right, at));
    };
    const moment = at => from + (to - from) * BigInt(Math.round((at - left) / (right - left) * 1e6)) / 1000000n;
    let start = null, drawn = null;
    svg.addEventListener("pointerdown", event => { if (event.button === 0 && !event.target.closest("a")) { start = x(event); event.preventDefault(); } });
    svg.addEventListener("pointermove", event => {
      if (start === null) return;
      if (!drawn) {
        drawn = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        drawn.setAttribute("class", "chosen");
        drawn.setAttribute("y", "0");
        drawn.setAttribute("height", String(svg.viewBox.baseVal.height - 34));
        svg.append(drawn);
      }
      const now = x(event);
      drawn.setAttribute("x", String(Math.min(start, now)));
      drawn.setAttribute("width", String(Math.abs(now - start)));
    });
    window.addEventListener("pointerup", event => {
      if (start === null) return;
      const [a, b] = [start, x(event)].sort((m, n) => m - n);
      start = null;
      if (b - a < 4) { if (drawn) drawn.remove(); drawn = null; return; }
      location.href = `${svg.closest("[data-brush]").dataset.brush}?from=${moment(a)}&to=${moment(b)}`;
    });
  });
})();
