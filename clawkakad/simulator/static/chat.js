// The chat page. It shows what the simulator says and says what the person does; what counts is kept there.
// A message that was typed stays here, under an id of its own, until the simulator has it: a lost connection loses nothing.

import { element, isOnlyEmoji, plain, render } from "./format.js";

const $ = (id) => document.getElementById(id);
const EMOJI = "😀 😂 🙂 😉 😍 🥳 😎 🤔 😴 😅 😢 😡 👍 👎 🙏 👏 💪 🙌 ❤️ 🔥 🎉 ✅ ⏰ 💸 ☕️ 🍽️ 🚕 🛒 🏠 🏃".split(" ");
const SUGGESTIONS = ["Uber to office 280", "had 2 dosas for breakfast", "remind me in 1 minute to stretch", "how much today?"];
const NEAR_END = 120; // pixels from the newest message that still count as reading it
const LONG_TYPING_MS = 6000; // before the first reply ever: then a sandbox is being made
const FIRST_RETRY_MS = 300, LAST_RETRY_MS = 5000;

const state = {
  people: new Map(), // wa_id → {wa_id, name, number}
  chats: new Map(), // wa_id → messages, oldest first
  typing: new Set(),
  waitingSince: new Map(), // wa_id → when the assistant began with its first reply ever
  unread: new Map(),
  drafts: new Map(),
  unsent: [], // what the simulator has not confirmed
  current: null,
  connected: false,
  atEnd: true,
  adding: false,
};
let socket = null, retryMs = FIRST_RETRY_MS, saidOnce = false;

// ---- the connection

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/socket`);
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = () => {
    state.connected = false;
    showConnection();
    setTimeout(connect, retryMs);
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  };
}

function say(frame) {
  if (state.connected) socket.send(JSON.stringify(frame));
}

const HANDLERS = {
  hello(event) {
    state.connected = true;
    saidOnce = true;
    retryMs = FIRST_RETRY_MS;
    state.people = new Map(event.people.map((person) => [person.wa_id, person]));
    state.chats = new Map(Object.entries(event.chats));
    state.typing = new Set(event.typing);
    state.typing.forEach(wait);
    for (const wa_id of state.unread.keys()) if (!state.people.has(wa_id)) state.unread.delete(wa_id);
    $("title").textContent = event.business.name;
    const confirmed = new Set([...state.chats.values()].flat().map((message) => message.client_id));
    state.unsent = state.unsent.filter((message) => !confirmed.has(message.client_id));
    if (!state.people.has(state.current)) state.current = asked() ?? remembered() ?? event.people[0]?.wa_id ?? null;
    if (!state.people.size) openDialog();
    showConnection();
    showPeople();
    showChat();
    look();
    state.unsent.forEach(send);
  },
  person(event) {
    state.people.set(event.wa_id, event);
    if (!state.chats.has(event.wa_id)) state.chats.set(event.wa_id, []);
    if (state.adding) {
      state.adding = false;
      $("dialog").close();
      open(event.wa_id);
    }
    showPeople();
  },
  message(event) {
    state.unsent = state.unsent.filter((message) => !event.client_id || message.client_id !== event.client_id);
    const chat = state.chats.get(event.wa_id) ?? [];
    state.chats.set(event.wa_id, chat);
    if (chat.some((message) => message.id === event.id)) return;
    chat.push(event);
    const fromAssistant = event.author === "assistant";
    if (fromAssistant) {
      state.typing.delete(event.wa_id);
      state.waitingSince.delete(event.wa_id);
    }
    if (fromAssistant && !isLookingAt(event.wa_id)) state.unread.set(event.wa_id, (state.unread.get(event.wa_id) ?? 0) + 1);
    showPeople();
    if (event.wa_id === state.current) showChat();
  },
  state(event) {
    const message = state.chats.get(event.wa_id)?.find((known) => known.id === event.id);
    if (!message) return;
    message.state = event.state;
    document.querySelector(`[data-id="${CSS.escape(event.id)}"] .ticks`)?.replaceWith(ticks(event.state));
    showPeople();
  },
  typing(event) {
    state.typing[event.on ? "add" : "delete"](event.wa_id);
    if (event.on) wait(event.wa_id);
    showPeople();
    if (event.wa_id === state.current) showChat();
  },
  problem(event) {
    if (!state.adding) return;
    state.adding = false;
    showProblem(event.text);
  },
};

function receive(event) {
  HANDLERS[event.type]?.(event);
}

// ---- what the person does

function write(text) {
  const person = state.people.get(state.current);
  if (!person || !text.trim()) return;
  const message = {
    client_id: newId(), wa_id: person.wa_id, author: "person", text: text.trim(), at: new Date().toISOString(), state: "pending",
  };
  state.unsent.push(message);
  state.atEnd = true;
  send(message);
  showChat();
  showPeople();
}

// crypto.randomUUID is missing where the page is not served from localhost or over TLS.
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function send(message) {
  say({ type: "write", wa_id: message.wa_id, text: message.text, client_id: message.client_id });
}

function open(wa_id) {
  if (state.current !== wa_id) {
    state.drafts.set(state.current, $("text").value);
    $("text").value = state.drafts.get(wa_id) ?? "";
  }
  state.current = wa_id;
  state.atEnd = true;
  $("app").dataset.view = "chat";
  grow();
  remember(wa_id);
  showPeople();
  showChat();
  look();
  if (matchMedia("(hover: hover)").matches) $("text").focus();
}

function isLookingAt(wa_id) {
  return wa_id === state.current && document.visibilityState === "visible" && isChatShown() && state.atEnd;
}

function isChatShown() {
  return $("app").dataset.view === "chat" || matchMedia("(min-width: 760px)").matches;
}

/** Tell the simulator which chat is in sight: what is seen counts as read. */
function look() {
  const seen = state.current && document.visibilityState === "visible" && isChatShown() ? state.current : null;
  if (seen && state.atEnd) state.unread.delete(seen);
  say({ type: "look", wa_id: seen });
  showPeople();
  showJump();
}

// ---- what is shown

function showPeople() {
  const rows = [...state.people.values()].map(personRow);
  $("people").replaceChildren(...rows);
  const unread = [...state.unread.values()].reduce((sum, count) => sum + count, 0);
  document.title = `${unread ? `(${unread}) ` : ""}clawkakad · simulated chat`;
}

function personRow(person) {
  const messages = chatOf(person.wa_id), last = messages[messages.length - 1], unread = state.unread.get(person.wa_id) ?? 0;
  const button = element("button", avatar(person), span("row-main", rowText(person, last), rowEnd(last, unread)));
  button.type = "button";
  button.className = "row";
  button.onclick = () => open(person.wa_id);
  button.setAttribute("aria-current", String(person.wa_id === state.current));
  return element("li", button);
}

function rowText(person, last) {
  const below = element("span");
  below.className = "preview";
  if (state.typing.has(person.wa_id)) {
    below.append("typing…");
    below.classList.add("typing");
  } else if (last) {
    if (last.author === "person") below.append(ticks(last.state));
    below.append(span("preview-text", plain(last.text)));
  } else {
    below.append(person.number);
  }
  const name = element("span", person.name);
  name.className = "name";
  return span("row-text", name, below);
}

function rowEnd(last, unread) {
  const end = span("row-end", last ? span("when", shortDate(last.at)) : "");
  if (unread) {
    const badge = span("badge", String(unread));
    badge.setAttribute("aria-label", `${unread} unread`);
    end.append(badge);
  }
  return end;
}

function avatar(person) {
  const initials = person.name.split(/\s+/).map((word) => [...word][0]).slice(0, 2).join("").toUpperCase();
  const node = span(`avatar tint-${[...person.wa_id].reduce((sum, digit) => sum + Number(digit), 0) % 6}`, initials);
  node.setAttribute("aria-hidden", "true");
  return node;
}

function chatOf(wa_id) {
  return [...(state.chats.get(wa_id) ?? []), ...state.unsent.filter((message) => message.wa_id === wa_id)];
}

function showChat() {
  const person = state.people.get(state.current), messages = person ? chatOf(person.wa_id) : [];
  const wanted = [["note", note]];
  let before = null;
  for (const message of messages) {
    const isNewDay = !before || day(before.at) !== day(message.at);
    const isFirst = isNewDay || before.author !== message.author;
    if (isNewDay) wanted.push([`day ${longDate(message.at)}`, () => span("day", element("time", longDate(message.at)))]);
    wanted.push([`${message.client_id ?? message.id} ${isFirst}`, () => bubble(message, isFirst), message]);
    before = message;
  }
  if (person && !messages.length) wanted.push(["suggestions", suggestions]);
  if (person && state.typing.has(person.wa_id)) wanted.push(isStarting(person.wa_id) ? ["starting", startingBubble] : ["typing", typingBubble]);
  place(wanted.map(([key, make, message]) => [`${state.current} ${key}`, make, message]));
  $("holder").textContent = person ? `as ${person.name}` : "";
  $("holder").title = person ? `You are ${person.name}, ${person.number}` : "";
  for (const id of ["text", "send", "smile"]) $(id).disabled = !person;
  showPresence();
  if (state.atEnd) toEnd();
  showJump();
}

/** Bring the log to the wanted nodes and keep those that are there: nothing flickers, and nothing is read out twice. */
function place(wanted) {
  const log = $("log"), known = new Map([...log.children].map((node) => [node.dataset.key, node]));
  const nodes = wanted.map(([key, make, message]) => {
    const node = known.get(key) ?? make();
    node.dataset.key = key;
    if (message) refresh(node, message);
    return node;
  });
  const kept = new Set(nodes);
  for (const node of known.values()) if (!kept.has(node)) node.remove();
  nodes.forEach((node, index) => { if (log.children[index] !== node) log.insertBefore(node, log.children[index] ?? null); });
}

function refresh(node, message) {
  if (message.id) node.dataset.id = message.id;
  const shown = node.querySelector(".ticks");
  if (shown && !shown.classList.contains(message.state)) shown.replaceWith(ticks(message.state));
}

function note() {
  const lock = icon("lock");
  return span("note", lock, " A simulated WhatsApp. Messages stay on this computer, unless your assistant’s model is elsewhere.");
}

function bubble(message, isFirst) {
  const body = element("div", render(message.text));
  body.className = isOnlyEmoji(message.text) ? "body big" : "body";
  const time = element("time", clock(message.at));
  time.dateTime = message.at;
  const meta = span("meta", time);
  if (message.author === "person") meta.append(ticks(message.state));
  makeRoom(body, message);
  const node = element("div", ...quoted(message), body, meta);
  node.className = `bubble ${message.author}${isFirst ? " first" : ""}`;
  return node;
}

// The time stands in the last line if there is room, else below it.
function makeRoom(body, message) {
  const last = body.lastElementChild, line = last?.matches("ul, ol") ? last.lastElementChild : last;
  if (!line?.matches("p, li") || body.classList.contains("big")) return body.classList.add("above-meta");
  const room = span(`room ${message.author}`);
  room.dataset.time = clock(message.at);
  line.append(room);
}

function quoted(message) {
  const original = message.reply_to && state.chats.get(message.wa_id)?.find((known) => known.id === message.reply_to);
  if (!original) return [];
  const node = element("div", span("quoted-name", original.author === "person" ? "You" : $("title").textContent), plain(original.text));
  node.className = "quoted";
  return [node];
}

const TICKS = {
  pending: ["clock", "not sent yet"],
  sent: ["tick", "sent"],
  delivered: ["ticks", "delivered"],
  read: ["ticks", "read"],
  failed: ["failed", "not delivered"],
};

function ticks(name) {
  const [symbol, label] = TICKS[name];
  const node = span(`ticks ${name}`, icon(symbol));
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", label);
  node.title = label;
  return node;
}

function typingBubble() {
  const node = element("div", span("dot"), span("dot"), span("dot"));
  node.className = "bubble assistant first dots";
  node.setAttribute("aria-label", "typing");
  return node;
}

function startingBubble() {
  const node = typingBubble();
  node.append(span("starting", "starting your assistant, 15 to 30 seconds"));
  node.setAttribute("aria-label", "starting your assistant, 15 to 30 seconds");
  return node;
}

/** Note when the assistant began with its first reply ever to somebody, and look again when that has taken long. */
function wait(wa_id) {
  if (state.waitingSince.has(wa_id) || chatOf(wa_id).some((message) => message.author === "assistant")) return;
  state.waitingSince.set(wa_id, Date.now());
  setTimeout(showChat, LONG_TYPING_MS);
}

function isStarting(wa_id) {
  return Date.now() - state.waitingSince.get(wa_id) >= LONG_TYPING_MS;
}

function suggestions() {
  const box = element("div", span("say", "Try one of these"), ...SUGGESTIONS.map((text) => {
    const chip = element("button", text);
    chip.type = "button";
    chip.onclick = () => write(text);
    return chip;
  }));
  box.className = "suggestions";
  return box;
}

function showPresence() {
  const isTyping = state.typing.has(state.current);
  $("presence").textContent = isTyping ? "typing…" : "online";
  $("presence").classList.toggle("typing", isTyping);
}

function showConnection() {
  $("connection").hidden = state.connected;
  $("connection").textContent = saidOnce ? "Connection lost. Trying again…" : "Connecting…";
}

function showJump() {
  const unread = state.unread.get(state.current) ?? 0;
  $("jump").hidden = state.atEnd;
  $("jump-count").hidden = !unread;
  $("jump-count").textContent = unread;
}

function toEnd() {
  $("scroller").scrollTop = $("scroller").scrollHeight;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

function span(className, ...children) {
  const node = element("span", ...children);
  node.className = className;
  return node;
}

// ---- times, in the reader's own words

const day = (at) => new Date(at).toDateString();
const clock = (at) => new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function daysAgo(at) {
  return Math.round((new Date(day(new Date())) - new Date(day(at))) / 86_400_000);
}

function longDate(at) {
  const ago = daysAgo(at);
  if (ago < 2) return ago === 1 ? "Yesterday" : "Today";
  return new Date(at).toLocaleDateString([], ago < 7 ? { weekday: "long" } : { day: "numeric", month: "long", year: "numeric" });
}

function shortDate(at) {
  const ago = daysAgo(at);
  if (ago < 1) return clock(at);
  return ago === 1 ? "Yesterday" : new Date(at).toLocaleDateString([], { day: "numeric", month: "short" });
}

// ---- what is remembered between visits: whose phone one held

function remember(wa_id) {
  try { localStorage.setItem("person", wa_id); } catch { /* a private window: then not */ }
  if (location.search) history.replaceState(null, "", `/?as=${wa_id}`); // the address follows, and a reload stays here
}

/** The person that the address names: /?as=919876543210 */
function asked() {
  const wa_id = new URLSearchParams(location.search).get("as");
  return state.people.has(wa_id) ? wa_id : null;
}

function remembered() {
  try {
    const wa_id = localStorage.getItem("person");
    return state.people.has(wa_id) ? wa_id : null;
  } catch { return null; }
}

// ---- the controls

function grow() {
  const text = $("text");
  text.style.height = "auto";
  text.style.height = `${Math.min(text.scrollHeight, 140)}px`;
  $("composer").classList.toggle("has-text", Boolean(text.value.trim()));
}

function submit() {
  write($("text").value);
  $("text").value = "";
  grow();
}

function openDialog() {
  $("person").reset();
  showProblem("");
  if (!$("dialog").open) $("dialog").showModal();
  $("name").focus();
}

function showProblem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

function showEmoji(wanted) {
  $("emoji").hidden = !wanted;
  $("smile").setAttribute("aria-expanded", String(wanted));
}

$("composer").onsubmit = (event) => { event.preventDefault(); submit(); $("text").focus(); };
$("text").oninput = grow;
$("text").onkeydown = (event) => {
  // Enter chooses a word while an input method is open; on a touch keyboard it is the way to a new line's button.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
};
$("smile").onclick = () => showEmoji($("emoji").hidden);
$("emoji").append(...EMOJI.map((sign) => {
  const button = element("button", sign);
  button.type = "button";
  button.onclick = () => {
    const text = $("text"), chosen = text.selectionEnd - text.selectionStart;
    if (text.value.length - chosen + sign.length > text.maxLength) return; // the browser limits only what is typed
    text.setRangeText(sign, text.selectionStart, text.selectionEnd, "end");
    grow();
  };
  return button;
}));
$("add").onclick = openDialog;
$("cancel").onclick = () => $("dialog").close();
$("person").onsubmit = (event) => {
  event.preventDefault();
  if (!state.connected) return showProblem("There is no connection right now.");
  state.adding = true;
  say({ type: "add", name: $("name").value, number: $("number").value || null });
};
$("back").onclick = () => { $("app").dataset.view = "people"; look(); };
$("jump").onclick = () => { state.atEnd = true; toEnd(); look(); };
$("scroller").onscroll = () => {
  const box = $("scroller"), atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
  if (atEnd === state.atEnd) return;
  state.atEnd = atEnd;
  if (atEnd) look(); else showJump();
};
document.onvisibilitychange = look;
document.onkeydown = (event) => { if (event.key === "Escape") showEmoji(false); };
new ResizeObserver(() => { if (state.atEnd) toEnd(); }).observe($("scroller"));

showConnection();
showChat();
connect();
