import { join } from "node:path";
import { Command } from "commander";
import { readRunLog } from "../../runtime/report/log.ts";
import { reportPage } from "../../runtime/report/page.ts";
import { writeUserFile } from "../../runtime/storage/files.ts";
import { examples, json, out } from "../flags.ts";
import { print, printJson } from "../output.ts";

export const reportCommand = (): Command =>
  new Command("report")
    .description("Write a training run as one self-contained HTML page: losses, expert load, speed, memory.")
    .argument("<folder>", "the folder of a training run")
    .addOption(out("file", "the HTML file; default: report.html in the folder"))
    .addOption(json())
    .addHelpText("after", examples("moec report runs/gpt-moe", "moec report runs/gpt-moe -o gpt.html"))
    .action(report);

function report(folder: string, options: { out?: string; json?: boolean }): void {
  const run = readRunLog(folder);
  const page = options.out ?? join(folder, "report.html");
  writeUserFile(page, reportPage(run));
  const { step, loss } = run.steps.at(-1) ?? {};
  if (options.json) printJson({ page, model: run.config.model, step, loss });
  else print(`wrote ${page}: open it in a browser`);
}
