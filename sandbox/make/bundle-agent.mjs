// Joins the thousands of small modules that a gateway starts from into a few large ones, by the bundler esbuild.
//
//   node bundle-agent.mjs APP     APP: the directory with node_modules, changed in place
//
// Two fifths of a start were the finding, reading and linking of modules: 5,000 for the gateway, up to 2,000 more for
// each of its threads. What runs is the same code. An entry keeps its name and place, and each module goes on to see
// its own address as import.meta.url, so that what is found by place is found. A package that is not in this image
// fails when it is asked for, as before. warm.mjs tries the outcome.
import { build } from "esbuild";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

// The gateway, and those of its threads and helpers that every start or first turn begins. Not those that import more
// by a path which they are told (infra/sqlite-store.worker.js), since they would have some modules twice; nor those
// that would bring all of the gateway along (config/sessions/session-transcript.worker.js).
const ENTRIES = [
  "entry.js",
  "config/sessions/disk-budget.worker.js",
  "infra/git-operation.worker.js",
  "process/spawn-broker/worker.js",
  "state/openclaw-agent-schema-inspection.worker.js",
  "state/openclaw-database-verify.worker.js",
  "state/openclaw-state-read.worker.js",
];

const dist = path.join(process.argv[2], "node_modules/openclaw/dist");
const ADDRESS = { url: "__address", filename: "__filename_", dirname: "__dirname_" };

const addresses = {
  name: "addresses",
  setup(bundler) {
    bundler.onLoad({ filter: /\.m?js$/ }, ({ path: file }) => {
      const text = readFileSync(file, "utf8").replace(/^#!.*/, "");
      if (!text.includes("import.meta.")) return { contents: text, loader: "js" };
      const own = { url: pathToFileURL(file).href, filename: file, dirname: path.dirname(file) };
      const lines = Object.entries(ADDRESS).map(([key, name]) => `const ${name} = ${JSON.stringify(own[key])};`);
      return { contents: lines.join("") + text, loader: "js" };
    });
  },
};

const absences = {
  name: "absences",
  setup(bundler) {
    bundler.onResolve({ filter: /^[^./]/ }, async ({ path: name, pluginData, ...rest }) => {
      if (pluginData === absences || name.startsWith("node:")) return undefined;
      const found = await bundler.resolve(name, { ...rest, pluginData: absences });
      return found.errors.length ? { path: name, namespace: "absent" } : found;
    });
    bundler.onLoad({ filter: /.*/, namespace: "absent" }, ({ path: name }) => ({
      contents: `module.exports = {}; throw Object.assign(new Error("Cannot find package '${name}'"), { code: "ERR_MODULE_NOT_FOUND" });`,
    }));
  },
};

async function bundle(entry) {
  const file = path.join(dist, entry);
  if (!existsSync(file)) throw new Error(`openclaw has no ${entry} any more: look through the list in bundle-agent.mjs`);
  const outcome = await build({
    entryPoints: [file],
    outfile: `${file}.new`,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node26",
    minifyWhitespace: true, // in ASCII and without spaces: the whole text stays in memory
    define: Object.fromEntries(Object.entries(ADDRESS).map(([key, name]) => [`import.meta.${key}`, name])),
    banner: { js: 'import { createRequire as __requireOf } from "node:module"; const require = __requireOf(import.meta.url);' },
    external: ["*.node"],
    plugins: [absences, addresses],
    metafile: true,
    logLevel: "error",
  });
  const [[, { bytes, inputs }]] = Object.entries(outcome.metafile.outputs);
  console.log(`bundle: ${entry}: ${Object.keys(inputs).length} modules, ${(bytes / 1e6).toFixed(1)} MB`);
  return file;
}

const made = [];
for (const entry of ENTRIES) made.push(await bundle(entry));
// Only now: each is made from the modules as they were.
for (const file of made) {
  rmSync(file);
  renameSync(`${file}.new`, file);
}
