"use strict";
// Keys for who likes them, and nothing that a page needs.  Every page works without it.
(() => {
  const GO = "g"; // g, then a page's letter
  let going = false;

  const typing = (target) => target.matches("input, select, textarea, [contenteditable]");
  const items = () => [...document.querySelectorAll("[data-item]")];

  // Move among the things of a list: j and k, as in many lists.
  function move(by) {
    const all = items();
    if (!all.length) return;
    const at = all.findIndex((one) => one.contains(document.activeElement));
    const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
    (next.matches("a, button, [tabindex]") ? next : next.querySelector("a, button, input")).focus();
  }

  function help() {
    const dialog = document.createElement("dialog");
    const title = document.createElement("h2");
    title.textContent = "Keys";
    const list = document.createElement("ul");
    const say = (keys, words) => {
      const line = document.createElement("li");
      for (const key of keys.split(" ")) {
        const kbd = document.createElement("kbd");
        kbd.textContent = key;
        line.append(kbd, " ");
      }
      line.append(words);
      list.append(line);
    };
    for (const link of document.querySelectorAll("[data-key]")) say(`${GO} ${link.dataset.key}`, link.textContent);
    say("j k", "down and up in a list");
    for (const one of document.querySelectorAll("[data-press]")) say(one.dataset.press, one.dataset.words ?? one.textContent);
    say("/", "search");
    const close = document.createElement("form");
    close.method = "dialog";
    const button = document.createElement("button");
    button.textContent = "Close";
    close.append(button);
    dialog.append(title, list, close);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    if (going) {
      going = false;
      const link = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
      if (link) { event.preventDefault(); link.click(); }
      return;
    }
    const pressed = document.querySelector(`[data-press="${CSS.escape(event.key)}"]`);
    if (pressed) { event.preventDefault(); pressed.click(); return; }
    if (event.key === GO) going = true;
    else if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "?") help();
    else if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (search) { event.preventDefault(); search.focus(); }
    }
  });

  // Nobody looks at a page in the background: it need not ask for news.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });

  // On a narrow screen the menu begins closed; without this script it is simply open.
  if (window.matchMedia("(max-width: 52rem)").matches) document.querySelector(".menu details")?.removeAttribute("open");
})();
