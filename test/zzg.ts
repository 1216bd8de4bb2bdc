import { loadFile } from "../compiler/check/index.ts";
import { printGraph } from "../compiler/graph/print.ts";
import { silent } from "../compiler/pass.ts";
import { toGraphs } from "../compiler/pipeline.ts";

const [file = "examples/gpt-moe.moe", size = '{"L":1}', W = "2", B = "4"] = process.argv.slice(2);
const p = toGraphs(
  loadFile(file),
  {
    sizes: JSON.parse(size),
    precision: "f32",
    workers: Number(W),
    entries: [{ method: "train", name: "train", sizes: { B: Number(B), T: 32 } }],
  },
  silent(),
);
for (const g of p.graphs) if (g.name !== "init") console.log(printGraph(g));
