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
};

document.addEventListener("click", (event) => {
  for (const [selector, act] of Object.entries(clicks)) {
    const button = event.target.closest(selector);
    if (button) act(button);
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
  const source = event.detail.elt;
  const toast = document.getElementById("unreachable").content.firstElementChild.cloneNode(true);
  toast.querySelector("[data-retry]").addEventListener("click", () => {
    toast.remove();
    if (source.matches("form")) source.requestSubmit();
    else source.click();
  });
  toasts.replaceChildren(...[...toasts.children].filter((other) => !other.querySelector("[data-retry]")), toast);
});
