// Comforts only: every page works without this file. Words come from the markup.
"use strict";

const toasts = document.getElementById("toasts");
const announcement = document.getElementById("announcement");

function announce(text) {
  announcement.textContent = "";
  requestAnimationFrame(() => { announcement.textContent = text; });
}

// The clipboard of the browser exists on https only; many registries live on plain http.
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  const focused = document.activeElement;
  area.className = "visually-hidden";
  area.value = text;
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  if (!copied) throw new Error("the browser refused");
}

function say(button, text, isDone) {
  const label = button.querySelector(".copy-label");
  button.dataset.label ??= label.textContent;
  label.textContent = text;
  button.classList.toggle("done", isDone);
  announce(text);
  clearTimeout(button.timer);
  button.timer = setTimeout(() => {
    label.textContent = button.dataset.label;
    button.classList.remove("done");
  }, 2000);
}

const clicks = {
  "[data-copy]": (button) => copy(button.dataset.copy).then(
    () => say(button, button.dataset.copied, true),
    () => say(button, button.dataset.refused, false)),
  "[data-reveal]": (button) => {
    const input = document.getElementById(button.getAttribute("aria-controls"));
    const isShown = input.type === "password";
    input.type = isShown ? "text" : "password";
    button.setAttribute("aria-pressed", isShown);
  },
  "[data-dismiss]": (button) => button.closest(".toast").remove(),
  "dialog [data-cancel]": (button, event) => {
    event.preventDefault();
    button.closest("dialog").close();
  },
};

document.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(clicks)) {
    const button = event.target.closest(selector);
    if (button) act(button, event);
  }
});

// Successes leave after six seconds, unless somebody is reading or using them. The rest stays.
function expire(toast) {
  setTimeout(() => toast.matches(":hover, :focus-within") ? expire(toast) : toast.remove(), 6000);
}
function expireSuccesses() {
  for (const toast of toasts.querySelectorAll(".toast.ok:not([data-expires])")) {
    toast.dataset.expires = "";
    expire(toast);
  }
}
new MutationObserver(expireSuccesses).observe(toasts, { childList: true });
expireSuccesses();

// A half-composed Korean, Japanese or Chinese word does not search; the finished one does, once.
document.addEventListener("input", (event) => {
  if (event.isComposing) event.stopImmediatePropagation();
}, true);
document.addEventListener("compositionend", (event) => {
  event.target.dispatchEvent(new Event("input", { bubbles: true }));
});

// Lists that htmx replaces: say that they are busy, then what they show.
document.addEventListener("htmx:beforeRequest", (event) => {
  event.detail.target.setAttribute("aria-busy", "true");
});
document.addEventListener("htmx:afterRequest", (event) => {
  event.detail.target.removeAttribute("aria-busy");
});
document.addEventListener("htmx:load", (event) => {
  const text = event.target.id === "list" && event.target.querySelector("[data-announce]")?.textContent;
  if (text) announce(text.trim());
});
document.addEventListener("htmx:sendError", (event) => {
  const { elt: source, target, requestConfig: { verb, path } } = event.detail;
  const toast = document.getElementById("unreachable").content.firstElementChild.cloneNode(true);
  toast.querySelector("[data-retry]").addEventListener("click", () => {
    toast.remove();
    if (source === document.body) location.reload();
    else htmx.ajax(verb, path, { source, target });
  });
  for (const other of document.querySelectorAll(".toast:has([data-retry])")) other.remove();
  // What lies outside of an open dialog can be neither heard nor pressed.
  (source.closest("dialog") ?? toasts).append(toast);
});

// One box ticks all boxes of a form.
document.addEventListener("change", ({ target }) => {
  if (!target.matches("[data-all]")) return;
  for (const box of document.forms[target.dataset.all].elements) {
    if (box.type === "checkbox") box.checked = target.checked;
  }
});

// A second press of a button while the first is on its way is dropped; htmx does so for its own forms.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (form.ariaBusy) return event.preventDefault();
  form.ariaBusy = "true";
  setTimeout(() => { form.ariaBusy = null; }, 10000);
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[aria-busy]")) form.ariaBusy = null;
});

// Questions before a deletion. Each answer takes the place of the one before, so `opener` outlives them.
let opener;
const rowLink = (row) => row.querySelector("a[href]");
const rowLinks = () => [...document.querySelectorAll("#main tbody tr")].map(rowLink).filter((link) => link?.checkVisibility());

function focusFirstOf(addresses) {
  const links = rowLinks();
  const found = addresses.map((address) => links.find((link) => link.href === address)).find(Boolean);
  const heading = document.querySelector("#main h1");
  heading.tabIndex = -1;
  (found ?? heading).focus();
}
document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target.id !== "dialogs") return;
  const source = detail.requestConfig.elt;
  if (!source.closest("dialog")) opener = source;
  detail.target.querySelector("dialog")?.showModal();
});
document.addEventListener("close", ({ target }) => {
  if (!target.matches("#dialogs > dialog")) return;
  target.remove();
  opener?.focus();
}, true);
// The server says that something went which this page shows: read the page anew, and stay where we were.
document.addEventListener("gone", async () => {
  const row = opener.closest("tbody tr");
  const following = row ? [...row.parentElement.rows].slice(row.sectionRowIndex + 1) : [];
  const addresses = following.map((other) => rowLink(other)?.href);
  document.getElementById("dialogs").replaceChildren();
  await htmx.ajax("GET", location.pathname + location.search, {
    target: "#main",
    select: "#main",
    swap: "outerHTML",
    selectOOB: "#toasts:beforeend",
    headers: { "HX-Request": "false" },
  });
  focusFirstOf(addresses);
});

// Keys that press, or focus, what names them in its data-key; j and k walk through the rows.
let pressed = "";
const isTyping = (place) => place.isContentEditable || place.matches("input:not([type=checkbox], [type=radio]), select, textarea");

function walk(step) {
  const links = rowLinks();
  const here = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
  links[here < 0 ? (step > 0 ? 0 : links.length - 1) : here + step]?.focus();
}
function press(keys) {
  const found = document.querySelector(`[data-key="${CSS.escape(keys)}"]`);
  if (found?.matches("input")) found.select();
  else found?.click();
  return Boolean(found);
}
document.addEventListener("keydown", (event) => {
  const isOff = document.documentElement.dataset.shortcuts === "off" || document.querySelector("dialog[open]");
  if (isOff || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isTyping(event.target)) return;
  // On a keyboard of another script the key of the same place counts.
  const key = event.key > "~" && event.code.startsWith("Key") ? event.code.at(-1).toLowerCase() : event.key;
  const keys = pressed + key;
  pressed = "";
  if (keys === "j" || keys === "k") walk(keys === "j" ? 1 : -1);
  else if (press(keys)) event.preventDefault();
  else if (key === "g") {
    pressed = "g ";
    setTimeout(() => { pressed = ""; }, 1500);
  }
});
