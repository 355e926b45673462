"use strict";
// Live pages: after each tick of the server the page fetches itself and takes over what has changed.
(() => {
  const version = document.documentElement.dataset.version;
  // Seconds between two refreshes, less what a tick may be early.
  const every = Math.max(0, Number(document.documentElement.dataset.every || 0) * 1000 - 500);
  const live = document.documentElement.dataset.live === "yes";
  const state = document.getElementById("connection");
  let source = null;
  let busy = false;
  let again = false;
  let wasDown = false;
  let last = performance.now();

  function show(name, text) {
    if (!state || state.dataset.state === name) return;
    state.dataset.state = name;
    state.textContent = text;
    document.documentElement.dataset.connection = name;
  }

  // Takes over attributes and text of `fresh` where they differ, so that focus and scrolling stay.
  function take(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old === document.activeElement && /^(INPUT|SELECT)$/.test(old.nodeName)) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && name !== "tabindex" && name !== "open" && name !== "title") old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const [mine, theirs] = [[...old.childNodes], [...fresh.childNodes]];
    theirs.forEach((child, at) => {
      if (mine[at]) take(mine[at], child);
      else old.append(document.importNode(child, true));
    });
    mine.slice(theirs.length).forEach((child) => child.remove());
  }

  async function refresh() {
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    last = performance.now();
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const [old, main] = [document.getElementById("main"), fresh.getElementById("main")];
      if (old && main) {
        take(old, main);
        take(document.querySelector("header nav"), fresh.querySelector("header nav"));
        document.title = fresh.title;
        prepare();
      }
      document.documentElement.dataset.updated = String(Date.now());
      document.documentElement.dataset.took = String(Math.round(performance.now() - began));
    } catch {
      // The stream of events tells when the server is back.
    } finally {
      busy = false;
    }
    if (again) {
      again = false;
      refresh();
    }
  }

  function connect() {
    source = new EventSource("/events");
    source.addEventListener("hello", (event) => {
      if (event.data !== version) location.reload();
      show("live", "live");
      if (wasDown) refresh();
      wasDown = false;
    });
    source.addEventListener("tick", () => {
      if (!document.hidden && performance.now() - last >= every) refresh();
    });
    source.onerror = () => {
      wasDown = true;
      show("down", "disconnected");
      // Browsers give up on answers that are no stream, such as a proxy's error page.
      if (source.readyState === EventSource.CLOSED) setTimeout(connect, 2000);
    };
  }

  // The grid is one stop for the Tab key; arrows move inside.
  function cells() {
    return [...document.querySelectorAll("table.grid tbody tr")].map((row) => [...row.querySelectorAll("td a")]);
  }

  // Times are in UTC; pointing at one shows the local time.
  function localTimes() {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.title = at.toLocaleString(undefined, { timeZoneName: "short" });
    }
  }

  function prepare() {
    localTimes();
    const all = cells().flat();
    if (all.length === 0) return;
    const current = all.find((cell) => cell.tabIndex === 0 && cell.hasAttribute("tabindex")) || all[0];
    for (const cell of all) cell.tabIndex = cell === current ? 0 : -1;
    tell(all.includes(document.activeElement) ? document.activeElement : null);
  }

  function tell(cell) {
    const out = document.getElementById("readout");
    if (out && cell && out.textContent !== cell.getAttribute("aria-label")) out.textContent = cell.getAttribute("aria-label");
  }

  document.addEventListener("keydown", (event) => {
    const cell = event.target.closest && event.target.closest("table.grid td a");
    if (!cell || event.altKey || event.metaKey) return;
    const rows = cells();
    const row = rows.findIndex((one) => one.includes(cell));
    const column = rows[row].indexOf(cell);
    const last = rows[row].length - 1;
    const to = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? rows.length - 1 : row, last],
      PageUp: [0, column],
      PageDown: [rows.length - 1, column],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const next = rows[to[0]] && rows[to[0]][to[1]];
    if (!next) return;
    cell.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });
  document.addEventListener("focusin", (event) => tell(event.target.closest("table.grid td a")));
  document.addEventListener("pointerover", (event) => tell(event.target.closest("table.grid td a")));

  prepare();
  if (live) {
    connect();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) refresh();
    });
    addEventListener("pagehide", () => source && source.close());
    addEventListener("pageshow", (event) => event.persisted && connect());
  } else {
    show("past", "history");
  }
  document.documentElement.dataset.ready = "yes";
})();
