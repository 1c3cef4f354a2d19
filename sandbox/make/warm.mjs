// Boots the gateway once, as a sandbox will, and talks to it, so that V8's compile cache (NODE_COMPILE_CACHE) is
// full of exactly the code that a start and a first turn need. Fails the build when any of it does not work.
//
//   node warm.mjs DIRECTORY     DIRECTORY: a place for its state, thrown away
//
// Ports are free ones: the build may share the host's network.
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { once } from "node:events";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const CACHE = "/app/.v8cache";
const TOKEN = randomUUID();
const READY_WITHIN_MS = 240_000;
const TURN_WITHIN_MS = 120_000;
const STOP_WITHIN_MS = 60_000;
const FEWEST_CACHED_MODULES = 200;

const directory = process.argv[2];

async function freePort() {
  const server = createTcpServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

// A model that runs one command and then says so.
function answer(body) {
  const toldResult = body.messages.some((message) => message.role === "tool");
  if (toldResult) return [{ content: "Done." }];
  return [{
    tool_calls: [{ index: 0, id: "call_1", type: "function", function: { name: "exec", arguments: '{"command":"date"}' } }],
  }];
}

async function startModel() {
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const chunk of request) text += chunk;
    response.writeHead(200, { "content-type": "text/event-stream" });
    const deltas = answer(JSON.parse(text || '{"messages":[]}'));
    const reason = deltas[0].tool_calls ? "tool_calls" : "stop";
    const choices = deltas.map((delta) => ({ index: 0, delta: { role: "assistant", ...delta }, finish_reason: null }));
    choices.push({ index: 0, delta: {}, finish_reason: reason });
    for (const choice of choices) {
      const chunk = { id: "warm", object: "chat.completion.chunk", created: 1, model: "warm", choices: [choice] };
      response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    }
    response.end("data: [DONE]\n\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}

function config(port, modelPort) {
  return {
    gateway: {
      mode: "local", port, bind: "loopback", auth: { mode: "token", token: TOKEN },
      controlUi: { enabled: false }, terminal: { enabled: false }, reload: { mode: "off" },
    },
    discovery: { mdns: { mode: "off" } },
    update: { checkOnStart: false },
    models: {
      mode: "replace",
      providers: {
        host: {
          baseUrl: `http://127.0.0.1:${modelPort}/v1`, apiKey: "none", api: "openai-completions",
          models: [{
            id: "warm", name: "warm", reasoning: false, input: ["text", "image"], contextWindow: 128000, maxTokens: 8192,
            cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
          }],
        },
      },
    },
    agents: {
      defaults: {
        workspace: `${directory}/workspace`, skipBootstrap: true, model: { primary: "host/warm" },
        heartbeat: { every: "0m", target: "none" },
      },
    },
    tools: { loopDetection: { enabled: true }, exec: { mode: "full" } },
    browser: { enabled: false },
    plugins: {
      allow: ["memory-core"],
      entries: { "memory-core": { enabled: true, config: { dreaming: { enabled: false } } } },
    },
    skills: { workshop: { autonomous: { mode: "off" } }, allowBundled: [] },
  };
}

function startGateway(port, modelPort) {
  for (const name of ["home", "state", "workspace"]) mkdirSync(`${directory}/${name}`, { recursive: true });
  const configPath = `${directory}/openclaw.json`;
  writeFileSync(configPath, JSON.stringify(config(port, modelPort)));
  return spawn(process.execPath, ["/app/node_modules/openclaw/openclaw.mjs", "gateway", "run"], {
    stdio: ["ignore", "inherit", "inherit"],
    cwd: directory,
    env: {
      PATH: process.env.PATH, LANG: "C.UTF-8", HOME: `${directory}/home`, NODE_ENV: "production", NODE_COMPILE_CACHE: CACHE,
      OPENCLAW_STATE_DIR: `${directory}/state`, OPENCLAW_CONFIG_PATH: configPath, OPENCLAW_CONFIG_READONLY: "1",
      OPENCLAW_DISABLE_BONJOUR: "1", OPENCLAW_NO_RESPAWN: "1", OPENCLAW_PACKAGED_COMPILE_CACHE_RESPAWNED: "1",
    },
  });
}

// One WebSocket that has said hello; requests by id, events to listeners.
class Client {
  #socket;
  #waiting = new Map();
  #listeners = new Set();

  constructor(socket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
  }

  #take(frame) {
    if (frame.type === "event") for (const listener of this.#listeners) listener(frame);
    if (frame.type !== "res") return;
    const { resolve, reject } = this.#waiting.get(frame.id);
    this.#waiting.delete(frame.id);
    if (frame.ok) resolve(frame.payload);
    else reject(new Error(`${frame.error?.code}: ${frame.error?.message}`));
  }

  request(method, params) {
    const id = randomUUID();
    const result = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#socket.send(JSON.stringify({ type: "req", id, method, params }));
    return within(TURN_WITHIN_MS, result, method);
  }

  final(matches) {
    const result = new Promise((resolve) => {
      const listener = ({ event, payload }) => {
        if (event !== "chat" || !matches(payload) || !["final", "error"].includes(payload.state)) return;
        this.#listeners.delete(listener);
        resolve(payload);
      };
      this.#listeners.add(listener);
    });
    return within(TURN_WITHIN_MS, result, "the final of a turn");
  }

  close() {
    this.#socket.close();
  }
}

async function within(limitMs, promise, what) {
  const stop = new AbortController();
  const late = sleep(limitMs, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`no ${what} within ${limitMs / 1000} s`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

async function connectOnce(port) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("refused"));
    socket.onclose = () => reject(new Error("closed"));
  });
  const client = new Client(socket);
  const closed = new Promise((_, reject) => { socket.onclose = () => reject(new Error("closed")); });
  closed.catch(() => {});
  const hello = client.request("connect", {
    minProtocol: 4, maxProtocol: 4, role: "operator", caps: [], auth: { token: TOKEN },
    client: { id: "gateway-client", version: "1", platform: "linux", mode: "backend" },
    scopes: ["operator.read", "operator.write", "operator.admin"],
  });
  hello.catch(() => {});
  await Promise.race([hello, closed]);
  return client;
}

async function connect(port, gateway) {
  const started = Date.now();
  while (Date.now() - started < READY_WITHIN_MS) {
    if (gateway.exitCode !== null) throw new Error(`the gateway ended with ${gateway.exitCode}`);
    try {
      const client = await connectOnce(port);
      console.log(`warm: hello-ok after ${((Date.now() - started) / 1000).toFixed(1)} s`);
      return client;
    } catch {
      await sleep(300);
    }
  }
  throw new Error("the gateway did not become ready");
}

async function chat(client, message) {
  const key = randomUUID();
  const final = client.final((payload) => payload.runId === key);
  await client.request("chat.send", {
    sessionKey: "main", message, idempotencyKey: key, suppressCommandInterpretation: true,
  });
  const { state, message: reply } = await final;
  if (state !== "final" || !reply) throw new Error(`a turn ended with ${state} and ${reply ? "a" : "no"} message`);
}

async function converse(client) {
  await client.request("sessions.messages.subscribe", { key: "main" });
  await chat(client, "What day is it?");
  await chat(client, "And now?");
  await client.request("chat.history", { sessionKey: "main", limit: 5 });
  const proactive = client.final(() => true);
  await client.request("wake", { mode: "now", text: "anything to tell?", sessionKey: "agent:main:main" });
  await proactive;
}

async function stop(gateway) {
  const exit = once(gateway, "exit");
  gateway.kill("SIGTERM");
  const [code] = await within(STOP_WITHIN_MS, exit, "exit");
  if (code !== 0) throw new Error(`the gateway ended with ${code} on SIGTERM`);
}

function checkCache() {
  const entries = readdirSync(CACHE, { recursive: true }).length;
  console.log(`warm: ${entries} modules cached`);
  if (entries < FEWEST_CACHED_MODULES) throw new Error("the compile cache is nearly empty");
}

const model = await startModel();
const port = await freePort();
const gateway = startGateway(port, model.address().port);
try {
  const client = await connect(port, gateway);
  await converse(client);
  client.close();
  await stop(gateway);
  checkCache();
} finally {
  gateway.kill("SIGKILL");
  model.closeAllConnections();
  model.close();
}
