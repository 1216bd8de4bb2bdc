// All subcommands, in the order of the help.
import type { Command } from "commander";
import { cacheCommand } from "./commands/cache.ts";
import { chatCommand } from "./commands/chat.ts";
import { checkCommand } from "./commands/check.ts";
import { compileCommand } from "./commands/compile.ts";
import { doctorCommand } from "./commands/doctor.ts";
import { evaluateCommand } from "./commands/evaluate.ts";
import { exportCommand } from "./commands/export.ts";
import { fmtCommand } from "./commands/fmt.ts";
import { generateCommand } from "./commands/generate.ts";
import { importCommand } from "./commands/import.ts";
import { lspCommand } from "./commands/lsp.ts";
import { mergeCommand } from "./commands/merge.ts";
import { profileCommand } from "./commands/profile.ts";
import { reportCommand } from "./commands/report.ts";
import { runCommand } from "./commands/run.ts";
import { trainCommand } from "./commands/train.ts";
import { tuneCommand } from "./commands/tune.ts";

export const commands: readonly (() => Command)[] = [
  checkCommand,
  fmtCommand,
  lspCommand,
  compileCommand,
  runCommand,
  trainCommand,
  evaluateCommand,
  generateCommand,
  chatCommand,
  importCommand,
  exportCommand,
  mergeCommand,
  reportCommand,
  profileCommand,
  tuneCommand,
  doctorCommand,
  cacheCommand,
];
