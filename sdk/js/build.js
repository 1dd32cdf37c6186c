// node build.js [FOLDER]: writes w.js and weir.mjs, to dist unless a folder is given.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { minify } from "terser";

const folder = process.argv[2] ?? fileURLToPath(new URL("dist", import.meta.url));
const source = (name) => readFileSync(new URL(`src/${name}`, import.meta.url), "utf8");
const tracker = source("tracker.js");

const build = async (name, module, target) => {
  const whole = source(name).replace("// {{tracker}}", () => tracker);
  const { code } = await minify(whole, {
    ecma: 2020,
    module,
    // What packs best, by trial. `unsafe` has no meaning for what is used here.
    compress: {
      passes: 3,
      unsafe: true,
      unsafe_arrows: true,
      booleans_as_integers: true,
      conditionals: false,
    },
  });
  writeFileSync(`${folder}/${target}`, code.replace(/;$/, ""));
};

mkdirSync(folder, { recursive: true });
await build("script.js", false, "w.js");
await build("module.js", true, "weir.mjs");
