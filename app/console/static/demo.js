"use strict";
// Keeps the demo page up to date.  The page works without it; reloading then takes its place.
(() => {
  const PAUSE = 1000; // ms between looks
  const TROUBLE = 3000; // ms between looks while the service does not answer
  const { person, after, q } = document.body.dataset;
  const query = new URLSearchParams({ person, after, q });
  const status = document.getElementById("live");
  const shown = new Map(); // region -> the HTML it shows
  let tag = null;
  let lost = false;

  // Without the words for "how long ago": these alone are no news.
  const bare = (html) => html.replace(/<span class="ago">[^<]*<\/span>/g, "");

  // The texts come from the service's own templates, which escape every value.
  function show(region, html) {
    const before = shown.get(region.dataset.live);
    if (before === html) return false;
    shown.set(region.dataset.live, html);
    const focused = region.contains(document.activeElement) ? document.activeElement.id : "";
    region.innerHTML = html;
    if (focused) document.getElementById(focused)?.focus();
    if (before === undefined || bare(before) === bare(html)) return false;
    if ("flash" in region.dataset) {
      region.classList.remove("fresh");
      void region.offsetWidth; // restarts the animation
      region.classList.add("fresh");
    }
    return true;
  }

  function touched(form) {
    const fields = [...form.querySelectorAll("[name^='field.']")];
    return fields.some((f) => f.value !== form.elements["was." + f.name.slice("field.".length)].value);
  }

  async function refreshForms() {
    const response = await fetch("/demo/forms?" + new URLSearchParams({ person }), { cache: "no-store" });
    if (!response.ok) return;
    const forms = await response.json();
    for (const place of document.querySelectorAll("[data-form]")) {
      const html = forms[place.dataset.form];
      const form = place.querySelector("form");
      if (html === undefined || (form && (touched(form) || form.contains(document.activeElement)))) continue;
      const said = form?.querySelector("output")?.textContent;
      place.innerHTML = html;
      const output = place.querySelector("output");
      if (said && output) output.textContent = said;
    }
  }

  async function look() {
    const headers = tag ? { "If-None-Match": tag } : {};
    const response = await fetch("/demo/state?" + query, { headers, cache: "no-store" });
    if (response.status === 304) return;
    if (!response.ok) throw new Error(String(response.status));
    const regions = await response.json();
    tag = response.headers.get("ETag");
    let changed = false;
    for (const region of document.querySelectorAll("[data-live]")) {
      const fresh = show(region, regions[region.dataset.live]);
      changed ||= fresh && region.dataset.live === "detail";
    }
    if (changed) await refreshForms();
  }

  async function follow() {
    let pause = PAUSE;
    try {
      if (!document.hidden) await look();
      if (lost) status.textContent = "Tandem answers again.";
      lost = false;
    } catch {
      if (!lost) status.textContent = "Tandem does not answer; this page shows what was known last.";
      lost = true;
      pause = TROUBLE;
    }
    setTimeout(follow, pause);
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target;
    if (!form.matches("form.edit")) return;
    event.preventDefault();
    const output = form.querySelector("output");
    const button = form.querySelector("button");
    button.disabled = true;
    output.textContent = "Saving …";
    try {
      const response = await fetch(form.action, {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "application/json" },
      });
      const answer = await response.json();
      output.textContent = response.ok ? answer.done : answer.detail;
      if (response.ok) {
        for (const field of form.querySelectorAll("[name^='field.']")) {
          form.elements["was." + field.name.slice("field.".length)].value = field.value;
        }
      }
    } catch {
      output.textContent = "Tandem does not answer.";
    } finally {
      button.disabled = false;
    }
  });

  follow();
})();
