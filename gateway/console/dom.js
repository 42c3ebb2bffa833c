// A few words for building the page. Text is only ever set as text.

export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no #${id}`);
  return found;
}

export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Only where it changed: a live region is not read again, a selection is not lost. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** tone: "note", "warn" or "bad". No text hides it. */
export function notify(node, text, tone = "bad") {
  node.dataset.tone = tone;
  node.hidden = !text;
  setText(node, text || "");
}

/** Keep the end of `box` in view, unless the reader has scrolled away from it. On a small screen it is the page that scrolls. */
export function followEnd(box, change) {
  const below = () => box.getBoundingClientRect().bottom - innerHeight;
  const following = box.scrollHeight - box.scrollTop - box.clientHeight < 80 && below() < 80;
  change();
  if (!following) return;
  box.scrollTop = box.scrollHeight;
  // Room for what is fixed to the bottom of the page.
  if (below() > -90 && document.documentElement.scrollHeight > innerHeight) scrollBy(0, below() + 90);
}

export const ms = (seconds) => (Number.isFinite(seconds) ? `${Math.round(seconds * 1000)}` : "–");
