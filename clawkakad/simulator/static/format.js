// WhatsApp's own formatting, turned into DOM nodes. Text only ever becomes text nodes: nothing in a message can become
// markup, a script or an attribute, but for http(s) addresses, which become links.

const INLINE = { "*": "strong", "_": "em", "~": "s" };
const URL_AT = /https?:\/\/[^\s<>"]+/y;
const WORD = /[\p{L}\p{N}]/u;
const ONLY_EMOJI = /^(?:\p{Extended_Pictographic}(?:️|‍\p{Extended_Pictographic}|\p{Emoji_Modifier})*\s?){1,3}$/u;

/** A message's text as a fragment. */
export function render(text) {
  const fragment = document.createDocumentFragment();
  text.split(/```/).forEach((part, index, parts) => {
    // A fence that nobody closed is three characters.
    const isCode = index % 2 === 1 && index < parts.length - 1;
    if (isCode) fragment.append(element("pre", element("code", part.replace(/^\n|\n$/g, ""))));
    else fragment.append(...lines(index % 2 === 1 ? "```" + part : part));
  });
  return fragment;
}

/** Whether a message is shown large. */
export function isOnlyEmoji(text) {
  return ONLY_EMOJI.test(text.trim());
}

/** A message in one line, for a list. */
export function plain(text) {
  return text.replace(/```/g, "").replace(/(^|\s)[*_~`>]+|[*_~`]+(?=\s|$)/g, "$1").replace(/\s+/g, " ").trim();
}

function lines(text) {
  const nodes = [];
  let list = null;
  for (const line of text.replace(/^\n+|\n+$/g, "").split("\n")) {
    const bullet = /^[-*•] +(.*)$/.exec(line), number = /^(\d{1,3})\. +(.*)$/.exec(line), quote = /^> ?(.*)$/.exec(line);
    if (bullet || number) {
      const kind = bullet ? "ul" : "ol";
      if (!list || list.localName !== kind) {
        list = element(kind);
        if (number) list.start = Number(number[1]);
        nodes.push(list);
      }
      list.append(element("li", ...inline(bullet ? bullet[1] : number[2])));
      continue;
    }
    list = null;
    const last = nodes[nodes.length - 1];
    if (quote) {
      if (last && last.localName === "blockquote") last.append(element("p", ...inline(quote[1])));
      else nodes.push(element("blockquote", element("p", ...inline(quote[1]))));
    } else if (line || nodes.length) {
      nodes.push(element("p", ...inline(line)));
    }
  }
  return nodes;
}

function inline(text) {
  const nodes = [];
  let plainText = "";
  const flush = () => { if (plainText) nodes.push(document.createTextNode(plainText)); plainText = ""; };
  for (let at = 0; at < text.length;) {
    URL_AT.lastIndex = at;
    const url = text[at] === "h" && URL_AT.exec(text);
    if (url) {
      const address = withoutTail(url[0]);
      flush();
      nodes.push(link(address));
      at += address.length;
      continue;
    }
    const end = text[at] in INLINE || text[at] === "`" ? closing(text, at) : -1;
    if (end > 0) {
      const inside = text.slice(at + 1, end);
      flush();
      nodes.push(text[at] === "`" ? element("code", inside) : element(INLINE[text[at]], ...inline(inside)));
      at = end + 1;
      continue;
    }
    plainText += text[at++];
  }
  flush();
  return nodes;
}

// A marker hugs what it marks, and stands beside no letter: 2 * 3 * 4 and snake_case_names stay as they are.
function closing(text, at) {
  const mark = text[at];
  if (at > 0 && WORD.test(text[at - 1])) return -1;
  if (!text[at + 1] || /\s/.test(text[at + 1]) || text[at + 1] === mark) return -1;
  for (let end = text.indexOf(mark, at + 2); end !== -1; end = text.indexOf(mark, end + 1)) {
    const after = text[end + 1];
    if (!/\s/.test(text[end - 1]) && !(after && (WORD.test(after) || after === mark))) return end;
  }
  return -1;
}

// Dots and brackets behind an address belong to the sentence, unless the bracket was opened in the address.
function withoutTail(address) {
  let text = address.replace(/[.,;:!?'"*_~]+$/, "");
  while (text.endsWith(")") && text.split("(").length < text.split(")").length) text = text.slice(0, -1);
  return text;
}

function link(address) {
  const node = element("a", address);
  node.href = address;
  node.target = "_blank";
  node.rel = "noopener noreferrer nofollow";
  return node;
}

export function element(name, ...children) {
  const node = document.createElement(name);
  node.append(...children);
  return node;
}
