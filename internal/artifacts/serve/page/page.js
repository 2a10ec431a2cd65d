"use strict";
// Puts what the server tells (/events) into the rows that are there. What has not changed is not touched.
(() => {
  const byId = (id) => document.getElementById(id);

  function put(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  function fill(row, data) {
    for (const element of row.querySelectorAll("[data-f]")) {
      const value = data[element.dataset.f];
      if (element.localName === "progress") {
        if (element.value !== value) element.value = value;
        continue;
      }
      put(element, value);
      if ("mark" in element.dataset && element.dataset.mark !== data.mark) element.dataset.mark = data.mark;
    }
  }

  // patch makes a table's rows those of list, in its order.
  function patch(table, template, list) {
    const body = table.tBodies[0];
    const known = new Map();
    for (const row of body.rows) known.set(row.dataset.id, row);
    let place = body.firstElementChild;
    for (const data of list) {
      let row = known.get(data.id);
      if (!row) {
        row = template.content.firstElementChild.cloneNode(true);
        row.dataset.id = data.id;
      }
      known.delete(data.id);
      fill(row, data);
      if (row === place) place = place.nextElementSibling;
      else body.insertBefore(row, place);
    }
    for (const row of known.values()) row.remove();
    table.hidden = list.length === 0;
  }

  function showFetches(now) {
    patch(byId("fetches"), byId("fetch"), now.rows);
    put(byId("summary"), now.summary);
    byId("more").hidden = now.more === 0;
    put(byId("more"), `and ${now.more} more`);
  }

  function showBoots(boots) {
    patch(byId("boots"), byId("boot"), boots);
    byId("no-boots").hidden = boots.length > 0;
  }

  let source = null;
  let retry = 0;

  function state(text) {
    byId("live").hidden = false;
    put(byId("live"), text);
  }

  function listen() {
    clearTimeout(retry);
    if (source || document.hidden) return;
    source = new EventSource("/events");
    source.addEventListener("open", () => state("live"));
    source.addEventListener("fetches", (e) => showFetches(JSON.parse(e.data)));
    source.addEventListener("boots", (e) => showBoots(JSON.parse(e.data)));
    source.addEventListener("published", (e) => {
      byId("news").hidden = JSON.parse(e.data) === document.body.dataset.key;
    });
    source.addEventListener("error", () => {
      state("not connected; trying again");
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      source = null;
      retry = setTimeout(listen, 10000);
    });
  }

  // A browser has few connections to a server: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden && source) {
      source.close();
      source = null;
    }
    listen();
  });
  addEventListener("pagehide", () => {
    if (source) source.close();
    source = null;
  });
  addEventListener("pageshow", listen);

  for (const map of document.querySelectorAll(".map")) {
    const caption = map.querySelector(".caption");
    const tell = (e) => {
      const cell = e.target.closest(".cell");
      if (cell) put(caption, cell.getAttribute("aria-label"));
    };
    map.addEventListener("focusin", tell);
    map.addEventListener("mouseover", tell);
  }

  // Over plain HTTP there is no navigator.clipboard.
  const button = byId("copy");
  if (button) {
    button.hidden = false;
    button.addEventListener("click", () => {
      getSelection().selectAllChildren(byId("snippet"));
      put(button, document.execCommand("copy") ? "Copied" : "Press Ctrl+C");
      setTimeout(() => put(button, "Copy"), 2000);
    });
  }
  listen();
})();
